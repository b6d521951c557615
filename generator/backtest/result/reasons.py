"""Why an alpha has no figures: one sentence, derived from its values and those of its subexpressions."""

import contextlib

import numpy as np

from generator.backtest.errors import EvaluationError
from generator.backtest.panel import Matrix
from generator.backtest.result.metrics import Figures
from generator.backtest.run.engine import Engine
from generator.backtest.settings import AlphaSettings, Neutralization
from generator.language.ast import Call, Node, Number
from generator.language.print import show


def reason_of(
    tree: Node,
    figures: Figures,
    pnl: Matrix,
    settings: AlphaSettings,
    engine: Engine,
    *,
    days: int | None = None,
) -> str:
    """Return why figures are missing; empty if none is. `settings` must be those of the backtest.

    The figures are those of the first `days` of the panel; later days do not count.
    """
    if np.isfinite(figures.sharpe):
        return ""
    if len(engine.panel.dates) == 1:
        return "the panel has one date, and positions earn from one date to the next"
    if figures.days == 0:
        return _without_positions(tree, settings, _Values(engine, days))
    if figures.days == 1:
        return "positions earn on one day, and a deviation takes two"
    if not pnl.any():
        return f"positions earn nothing on any of {figures.days} days"
    return f"positions earn the same on each of {figures.days} days, and the deviation is 0"


class _Values:
    """Values of expressions on the first days of a panel."""

    def __init__(self, engine: Engine, days: int | None) -> None:
        self._engine = engine
        self.dates = engine.panel.dates[:days]
        count = len(self.dates)
        self.end = "the panel ends" if days is None else "the train days end"
        self.count = f"the panel's {count}" if days is None else f"the {count} train days"
        self.single = len(engine.panel.symbols) == 1

    def of(self, tree: Node) -> Matrix:
        """Return an expression's values."""
        return self._engine.values([tree])[0][: len(self.dates)]


def _without_positions(tree: Node, settings: AlphaSettings, source: _Values) -> str:
    """Return why a tree's values give no positions."""
    values = source.of(tree)
    known = np.isfinite(values)
    if not known.any():
        return _without_values(tree, values, source)
    days = source.dates
    first = int(known.any(axis=1).argmax())
    if first + settings.delay >= len(days) - 1:
        return f"its first value is of {days[first]}, and {source.end} on {days[-1]}"
    if not values[known].any():
        return "its values are 0"
    if settings.neutralization is Neutralization.NONE:
        return "its values are missing on the days that earn"
    if source.single:
        return "the panel has one instrument, and its value less the mean is 0; neutralization none keeps it"
    groups = settings.neutralization.value
    return f"its values are the same within each {groups} on every day, and less their mean they are 0"


def _without_values(tree: Node, values: Matrix, source: _Values) -> str:
    """Return why a tree has no finite value; it names the innermost subexpression without one."""
    part, values = _innermost_without_values(tree, values, source)
    text = show(part)
    if np.isinf(values).any():
        return f"{text} is infinite wherever it has a value"
    days = len(source.dates)
    windows = [one.value for one in _parts(part) if isinstance(one, Number) and one.value >= days]
    if windows:
        return f"{text} has no value on any day: {windows[0]:g} days are more than {source.count}"
    if source.single:
        return f"{text} has no value on any day: the panel has one instrument, and no other to compare"
    return f"{text} has no value on any day"


def _innermost_without_values(tree: Node, values: Matrix, source: _Values) -> tuple[Node, Matrix]:
    """Return the innermost subexpression without a finite value, and its values."""
    for part in _parts(tree):
        if isinstance(part, Number):
            continue
        with contextlib.suppress(EvaluationError):  # a grouping, or an option's name
            inner = source.of(part)
            if not np.isfinite(inner).any():
                return _innermost_without_values(part, inner, source)
    return tree, values


def _parts(tree: Node) -> list[Node]:
    return [*tree.args, *(part for _, part in tree.named)] if isinstance(tree, Call) else []
