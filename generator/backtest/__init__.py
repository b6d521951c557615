"""The local backtest: evaluates expressions on a panel and judges them by BRAIN's rules.

    panel, synthetic, loading/      data: dates x instruments
    settings                        the settings of a simulation, and the open choices of the semantics
    plan/operators, operators_more  each operator as steps of a graph (pure)
    plan/compiler, graph            expression trees to steps (pure)
    plan/folding, schedule          steps to phases and buffers (pure)
    plan/primitives, kernels/, run/ steps to numbers, on a few threads
    result/portfolio, metrics       positions, figures and checks (pure)
    result/reasons                  why figures are missing
    result/evaluate                 the whole backtest
    result/plot                     the running PnL as a picture

The calls for other packages:

    load_panel(path, cache=) -> Panel                        loading; PanelError lists all faults at once
    synthetic_panel(days, instruments, seed) -> Panel        synthetic
    Engine(panel, dtype=, threads=, semantics=)              run.engine; .values(trees) -> [float64 matrix, ...]
    evaluate(trees, panel, settings, engine=, kept=)         result.evaluate; -> [Evaluation | EvaluationError, ...]
    backtest(values, panel, settings, kept=) -> Performance  result.evaluate

This module imports nothing: the kernels load numba, which costs time and memory that only an evaluation needs.
"""
