"""The running PnL of alphas as a PNG. matplotlib is imported on the first call and needs no display."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from generator.backtest.result.evaluate import Performance

_LONGEST = 60


def draw(path: Path, lines: Sequence[tuple[str, Performance]]) -> None:
    """Write a PNG with the running PnL (a share of half the book) and the drawdown of each alpha.

    Raises OSError if the file cannot be written. An alpha without positions is in the legend and has no line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for expression, performance in lines:
        _line(upper, lower, expression, performance)
    synthetic = any(performance.source == "synthetic" for _, performance in lines)
    upper.set_title("Running PnL" + (" on the synthetic panel" if synthetic else ""))
    upper.set_ylabel("share of half the book")
    lower.set_ylabel("drawdown")
    for axes in (upper, lower):
        axes.grid(visible=True, alpha=0.3)
        axes.yaxis.set_major_formatter("{x:.1%}")
        axes.margins(x=0)
    upper.axhline(0.0, color="black", linewidth=0.6)
    if lines:
        upper.legend(loc="upper left", fontsize="small", framealpha=0.85)
    with path.open("wb") as stream:  # savefig would choose the format by the name's ending
        figure.savefig(stream, format="png", dpi=110)


def _line(upper: Any, lower: Any, expression: str, performance: Performance) -> None:
    total = 2 * np.cumsum(performance.pnl)
    fall = total - np.maximum(np.maximum.accumulate(total), 0.0) if len(total) else total
    figures = performance.figures
    found = (
        f"Sharpe {figures.sharpe:.2f}, turnover {figures.turnover:.1%}" if figures.days else "no positions"
    )
    label = f"{_short(expression)}  ({found})"
    [line] = upper.plot(performance.dates, total, linewidth=1.2, label=_plain(label))
    lower.fill_between(performance.dates, fall, 0.0, color=line.get_color(), alpha=0.35, linewidth=0)


def _short(expression: str) -> str:
    one_line = " ".join(expression.split())
    return one_line if len(one_line) <= _LONGEST else one_line[: _LONGEST - 1] + "…"


def _plain(label: str) -> str:
    """Return a label that matplotlib shows unchanged: `$` begins a formula, a leading underscore hides the label."""
    return " " + label.replace("$", r"\$")
