"""The local backtest: expressions are evaluated on a panel and judged as BRAIN would judge them.

    panel, synthetic, loading/, derived, gaps  what is known: dates x instruments
    operators, operators_more, semantics   what the language means, as steps of a graph (pure)
    manual                               docs/operators.md, from the catalogue and these tables
    compiler, graph, schedule            trees to steps, steps to phases and buffers (pure)
    primitives, kernels, engine          steps to numbers, on a few threads
    settings, portfolio, metrics, checks positions and their figures (pure)
    reasons                              why figures are missing
    evaluate                             all of it: evaluate(), backtest(), engine_for()
    plot                                 the running PnL as a picture

The calls that others build on:

    load_panel(path, shelf=) -> Panel                       loading; PanelError tells all faults at once
    synthetic_panel(days, instruments, seed) -> Panel       synthetic
    Engine(panel, dtype=, threads=, semantics=)             engine; .values(trees) -> [float64 matrix, ...]
    evaluate(trees, panel, settings, engine=, kept=)        evaluate; -> [Evaluation | EvaluationError, ...]
    backtest(values, panel, settings, kept=) -> Performance evaluate

Nothing is imported here: the kernels bring numba with them, which only those who evaluate should pay for.
"""
