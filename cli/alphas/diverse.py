"""`alphas --diverse N`: of the best alphas, those that add most to each other by their daily PnL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.alphas.listing import alpha_row
from cli.target import Fleet
from fleet.runtime.errors import FleetError
from fleet.runtime.logging import plain_text
from generator.storage.read import AlphaRow, Filters, best_alphas, database_location, open_database

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from generator.backtest.panel import Panel
    from generator.backtest.result.evaluate import Performance

CANDIDATES = 60
"""The best alphas that are backtested again, kept ones first."""

_YEAR = 252


def diverse_alphas(fleet: Fleet, count: int, filters: Filters) -> list[dict[str, Any]]:
    """Return the chosen alphas in the order of their choice, with `correlation` and `set_sharpe`, both of the train days.

    `correlation` is the highest with another chosen one, None for a single one. `set_sharpe` is that of the set so far
    with equal risks. Raise FleetError if no candidate can be backtested.
    """
    place = database_location(fleet.settings.generator.database, fleet.home)
    found = list(best_alphas(place, CANDIDATES, filters=filters))
    found.sort(key=lambda alpha: not alpha.kept)
    known = [(alpha, pnl) for alpha, pnl in _backtested(found, fleet) if pnl is not None]
    if not known:
        raise FleetError(
            "no alpha has a daily PnL on this panel", hint="Mine on, or give [panel] path; see `alphas`."
        )
    import numpy as np  # noqa: PLC0415  # the other listings do without

    matrix = np.stack([pnl for _, pnl in known])
    return [
        {**alpha_row(known[choice.place][0]), "correlation": choice.correlation, "set_sharpe": choice.sharpe}
        for choice in choose(matrix, count)
    ]


def diverse_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the chosen alphas as a table for a terminal."""
    lines = ["    id  Sharpe  of the set  correlation"]
    for row in rows:
        correlation = "none" if row["correlation"] is None else f"{row['correlation']:+.2f}"
        sharpe = "none" if row["sharpe"] is None else f"{row['sharpe']:+.2f}"
        lines.append(
            f"{row['id']:>6}  {sharpe:>6}  {row['set_sharpe']:>+10.2f}  {correlation:>11}  {plain_text(row['expression'])}"
        )
    return lines


@dataclass(slots=True)
class Choice:
    """A chosen row of the matrix: its place, the set's Sharpe ratio with it, its highest correlation in the set."""

    place: int
    sharpe: float
    correlation: float | None = None


def choose(pnl: "NDArray[np.float64]", count: int) -> list[Choice]:
    """Return up to `count` rows of daily PnL, each the best addition to the set's Sharpe ratio (pure).

    Each row has unit risk in the set. Rows without risk are never chosen.
    """
    import numpy as np  # noqa: PLC0415

    risks = pnl.std(axis=1)
    rows = np.flatnonzero(risks > 0)
    unit = pnl[rows] / risks[rows, None]
    chosen: list[Choice] = []
    total, left = np.zeros(pnl.shape[1]), list(range(len(rows)))
    while left and len(chosen) < count:
        sums = total + unit[left]
        spread = sums.std(axis=1)
        ratios = np.where(spread > 0, sums.mean(axis=1) / np.where(spread > 0, spread, 1.0), -np.inf)
        best = int(np.argmax(ratios))
        chosen.append(Choice(left[best], float(ratios[best] * np.sqrt(_YEAR))))
        total = sums[best]
        del left[best]
    correlations = np.corrcoef(unit[[one.place for one in chosen]]) if len(chosen) > 1 else None
    for number, one in enumerate(chosen):
        if correlations is not None:
            others = np.delete(correlations[number], number)
            one.correlation = float(others.max())
        one.place = int(rows[one.place])
    return chosen


def _backtested(
    alphas: Sequence[AlphaRow], fleet: Fleet
) -> "list[tuple[AlphaRow, NDArray[np.float64] | None]]":
    """Return each alpha with its daily PnL on the train days, None if the panel cannot backtest it.

    No rule reads validation and test days. A panel without a split has train days alone.
    """
    from generator.backtest.errors import EvaluationError  # noqa: PLC0415  # imports numba
    from generator.backtest.result.evaluate import evaluate  # noqa: PLC0415
    from generator.backtest.split import split_ends  # noqa: PLC0415
    from generator.catalogue import load_catalogue  # noqa: PLC0415
    from generator.catalogue.available import with_fields  # noqa: PLC0415
    from generator.evaluators.local import backtest_settings, open_panel  # noqa: PLC0415
    from generator.evaluators.panel_fields import panel_fields  # noqa: PLC0415
    from generator.evaluators.panel_split import panel_name, split_of  # noqa: PLC0415
    from generator.language import ExpressionError, read  # noqa: PLC0415
    from generator.pool.stored import stored_split  # noqa: PLC0415

    settings = fleet.settings.panel
    panel = open_panel(settings.path, gaps=settings.gaps)
    catalogue = with_fields(load_catalogue(), panel_fields(panel))
    readable = []
    for alpha in alphas:
        try:
            readable.append((alpha, read(alpha.expression, catalogue).tree))
        except ExpressionError:
            continue
    if not readable:
        return []
    place = database_location(fleet.settings.generator.database, fleet.home)
    with open_database(place) as rows:
        split = split_of(panel, settings, stored_split(rows, panel_name(settings)) if rows else None)
    train = len(panel.dates) if split is None else split_ends(split, panel.dates)[0]
    results = evaluate([tree for _, tree in readable], panel, backtest_settings(settings))
    return [
        (alpha, None if isinstance(result, EvaluationError) else _aligned(result.performance, panel)[:train])
        for (alpha, _), result in zip(readable, results, strict=True)
    ]


def _aligned(performance: "Performance", panel: "Panel") -> "NDArray[np.float64]":
    """Return the PnL of each of the panel's days, 0 on days without one."""
    import numpy as np  # noqa: PLC0415

    whole = np.zeros(len(panel.dates))
    whole[np.searchsorted(panel.dates, performance.dates)] = np.nan_to_num(performance.pnl)
    return whole
