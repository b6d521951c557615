"""`python -m tools.threshold_picture`: draws docs/pictures/threshold.svg, the dynamic threshold by the size of a model.

The production function, `Rules.threshold`, computes each point.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import PolicySettings
from fleet.policy.rules import Rules
from fleet.runtime.home import ROOT
from fleet.runtime.units import MEGABYTE

PICTURE = ROOT / "docs" / "pictures" / "threshold.svg"
BASES = (10, 6, 3)
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 320, 56, 30, 52, 46
_DOUBLINGS, _STEPS = 6, 96
_SMALLEST = 400 * MEGABYTE
_INK, _FAINT, _LINE = "#1f2328", "#59636e", "#d1d9e0"
_COLOURS = ("#0969da", "#8250df", "#1a7f37")


def threshold(base: int, ratio: float) -> int:
    """Return the threshold of a model that is `ratio` times as large as the ladder's smallest."""
    rungs = (Rung(0, "large", round(_SMALLEST * ratio)), Rung(1, "small", _SMALLEST))
    ladder = Ladder(rungs)
    return Rules(ladder, PolicySettings(threshold=base, dynamic_threshold=True)).threshold(ladder[0])


def points(base: int) -> list[tuple[float, int]]:
    """Return ratios, a fixed number a doubling, with their thresholds."""
    ratios = [2.0 ** (step * _DOUBLINGS / _STEPS) for step in range(_STEPS + 1)]
    return [(ratio, threshold(base, ratio)) for ratio in ratios]


def _x(ratio: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log2(ratio) / _DOUBLINGS


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / max(BASES)


def _path(course: Sequence[tuple[float, int]]) -> str:
    """Return the SVG path of a staircase."""
    parts = [f"M{_x(course[0][0]):.1f},{_y(course[0][1]):.1f}"]
    for (_, before), (ratio, value) in pairwise(course):
        if value != before:
            parts.append(f"H{_x(ratio):.1f}V{_y(value):.1f}")
    return "".join([*parts, f"H{_x(course[-1][0]):.1f}"])


def _text(x: float, y: float, text: str, *, fill: str = _FAINT, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}">{text}</text>'


def _lines() -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">'
    )
    yield "<title>Failures until a downgrade, by the size of a model</title>"
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
    yield _text(_LEFT, 22, "failures until a downgrade, with dynamic_threshold", fill=_INK, anchor="start")
    for value in range(0, max(BASES) + 1, 2):
        yield f'<path d="M{_LEFT},{_y(value):.1f}H{_WIDTH - _RIGHT}" stroke="{_LINE}"/>'
        yield _text(_LEFT - 10, _y(value) + 4, str(value), anchor="end")
    for power in range(_DOUBLINGS + 1):
        yield _text(_x(2.0**power), _HEIGHT - _BOTTOM + 20, f"{2**power}x")
    yield _text(_x(2.0 ** (_DOUBLINGS / 2)), _HEIGHT - 8, "size of the model, in sizes of the smallest one")
    for base, colour in zip(BASES, _COLOURS, strict=True):
        course = points(base)
        yield f'<path d="{_path(course)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        label = f"threshold = {base}"
        yield _text(_LEFT + 6, _y(base) - 6, label, fill=colour, anchor="start")
    yield "</svg>"


def picture() -> str:
    """Return the SVG."""
    return "\n".join(_lines()) + "\n"


def main() -> int:
    """Write the picture."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    target.write_text(picture(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
