"""`python -m tools.demo_picture HOME`: draws docs/pictures/demo.svg, the run of `make demo` that HOME holds.

The picture shows the generator's rung of the ladder, second by second, with each incident, switch and alpha.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from fleet.config.ladder import Rung
from fleet.config.load import load_settings
from fleet.policy.events import Event, EventKind
from fleet.runtime.home import ROOT, Home
from fleet.runtime.units import Seconds
from generator.storage.read import recent_alphas
from state.history import read_history

PICTURE = ROOT / "docs" / "pictures" / "demo.svg"
_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BAR = 860, 150, 30, 64, 58, 18
_AXIS_STEPS: Sequence[Seconds] = (5, 10, 20, 30, 60)
_LABELS_ON_AXIS = 8
_INK, _FAINT, _LINE = "#1f2328", "#59636e", "#d1d9e0"
_FAILS, _WORKS, _ALPHA = "#e5a29b", "#57ab5a", "#1a7f37"
_INCIDENT = "#cf222e"


@dataclass(frozen=True, slots=True)
class Stay:
    """A time on one rung; `why` names the reason of the switch that ended it, empty for the last one."""

    model: str
    start: Seconds
    end: Seconds
    why: str


@dataclass(frozen=True, slots=True)
class Run:
    """A demonstration, in seconds since its first incident less one."""

    ladder: Sequence[Rung]
    stays: Sequence[Stay]
    incidents: Sequence[tuple[Seconds, str]]
    alphas: Sequence[Seconds]
    end: Seconds


def run_of(ladder: Sequence[Rung], events: Sequence[Event], alphas: Sequence[float]) -> Run:
    """Return the run's course for the picture; raise ValueError without a switch."""
    switches = [event for event in events if event.kind is EventKind.SWITCH_COMMITTED]
    incidents = [
        event for event in events if event.kind is EventKind.INCIDENT and event.fields.get("counted")
    ]
    if not switches or not incidents:
        raise ValueError("the history holds no switch: run `make demo` first")
    origin = min(event.time for event in [*incidents, *switches]) - 1
    end = max([event.time for event in events] + list(alphas)) - origin + 2
    bounds = [0.0, *(event.time - origin for event in switches), end]
    models = [str(switches[0].fields["from"]), *(str(event.fields["to"]) for event in switches)]
    reasons = [*(str(event.fields["why"]) for event in switches), ""]
    stays = [
        Stay(model, start, after, why)
        for model, start, after, why in zip(models, bounds, bounds[1:], reasons, strict=False)
    ]
    return Run(
        ladder,
        stays,
        [(event.time - origin, str(event.fields["model"])) for event in incidents],
        [time - origin for time in alphas],
        end,
    )


class _Canvas:
    """The picture's coordinates, and its elements in order."""

    def __init__(self, run: Run) -> None:
        self._scale = (_WIDTH - _LEFT - _RIGHT) / run.end
        self._rows = {rung.model: number for number, rung in enumerate(run.ladder)}
        self.height = _TOP + _ROW * len(run.ladder) + 44

    def x(self, at: Seconds) -> float:
        return round(_LEFT + at * self._scale, 1)

    def y(self, model: str) -> float:
        """Return the middle of a model's row."""
        return _TOP + _ROW * (self._rows[model] + 0.5)


def _text(at: tuple[float, float], words: str, size: int, colour: str = _INK, more: str = "") -> str:
    x, y = at
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}"{more}>{escape(words)}</text>'


def _ladder(run: Run, canvas: _Canvas) -> Iterator[str]:
    for rung in run.ladder:
        y = canvas.y(rung.model)
        yield f'<path d="M{_LEFT} {y}H{_WIDTH - _RIGHT}" stroke="{_LINE}" stroke-dasharray="2 5"/>'
        yield _text((18, y + 5), rung.model, 14, _INK, ' font-weight="600"')


def _stays(run: Run, canvas: _Canvas) -> Iterator[str]:
    for stay in run.stays:
        left, right, y = canvas.x(stay.start), canvas.x(stay.end), canvas.y(stay.model)
        colour = _FAILS if stay.why else _WORKS
        yield (
            f'<rect x="{left}" y="{y - _BAR / 2}" width="{round(right - left, 1)}" height="{_BAR}" rx="4" '
            f'fill="{colour}"/>'
        )
    for before, after in zip(run.stays, run.stays[1:], strict=False):
        x, top, bottom = (
            canvas.x(after.start),
            canvas.y(before.model) + _BAR / 2,
            canvas.y(after.model) - _BAR / 2,
        )
        yield f'<path d="M{x} {top}V{bottom - 6}" stroke="{_INK}" stroke-width="1.6" marker-end="url(#head)"/>'
        beyond_the_middle = after.start > run.end / 2
        place, anchor = (x - 9, ' text-anchor="end"') if beyond_the_middle else (x + 9, "")
        yield _text((place, (top + bottom) / 2 + 3), f"downgrade: {before.why}", 12, _INK, anchor)


def _marks(run: Run, canvas: _Canvas) -> Iterator[str]:
    for at, model in run.incidents:
        x, y = canvas.x(at), canvas.y(model)
        yield f'<path d="M{x - 5} {y - 5}l10 10m0 -10l-10 10" stroke="{_INCIDENT}" stroke-width="2.4"/>'
    last = run.stays[-1]
    y = canvas.y(last.model)
    for at in run.alphas:
        yield f'<circle cx="{canvas.x(at)}" cy="{y}" r="4" fill="{_ALPHA}" stroke="#fff"/>'
    if run.alphas:
        yield _text((canvas.x(last.end), y + 27), f"{len(run.alphas)} alphas", 12, _INK, ' text-anchor="end"')


def _axis(run: Run, canvas: _Canvas) -> Iterator[str]:
    y = _TOP + _ROW * len(run.ladder) + 12
    step = next((step for step in _AXIS_STEPS if run.end / step <= _LABELS_ON_AXIS), _AXIS_STEPS[-1])
    yield f'<path d="M{_LEFT} {y - 6}H{_WIDTH - _RIGHT}" stroke="{_FAINT}"/>'
    for number in range(int(run.end // step) + 1):
        x = canvas.x(number * step)
        yield f'<path d="M{x} {y - 6}v5" stroke="{_FAINT}"/>'
        yield _text((x, y + 14), f"{number * step:g} s", 12, _FAINT, ' text-anchor="middle"')


def _legend() -> Iterator[str]:
    yield f'<path d="M{_LEFT} 42l10 10m0 -10l-10 10" stroke="{_INCIDENT}" stroke-width="2.4"/>'
    yield _text((_LEFT + 17, 52), "GPU-memory incident", 12, _FAINT)
    yield f'<circle cx="{_LEFT + 164}" cy="47" r="4" fill="{_ALPHA}"/>'
    yield _text((_LEFT + 175, 52), "alphas (random: a stand-in answers in Ollama's place)", 12, _FAINT)


def draw(run: Run) -> str:
    """Return the picture as SVG."""
    canvas = _Canvas(run)
    title = "A run of make demo: down the ladder until a model finds room on the GPU"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {canvas.height}" width="{_WIDTH}" '
        f'height="{canvas.height}" role="img" aria-label="{escape(title)}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
    )
    parts = [
        head,
        '<defs><marker id="head" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="5" markerHeight="5" orient="auto">',
        f'<path d="M0 0L8 4L0 8z" fill="{_INK}"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{canvas.height}" rx="8" fill="#ffffff" stroke="{_LINE}"/>',
        _text((18, 28), title, 15, _INK, ' font-weight="600"'),
        *_legend(),
        *_ladder(run, canvas),
        *_stays(run, canvas),
        *_marks(run, canvas),
        *_axis(run, canvas),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main() -> int:
    """Draw the run of a home; return 2 for wrong usage, 1 if the home holds no demonstration."""
    if len(sys.argv) != 2:  # noqa: PLR2004  # the program and one argument
        sys.stderr.write("usage: python -m tools.demo_picture HOME\n")
        return 2
    home = Home(Path(sys.argv[1]).absolute())
    ladder = list(load_settings(None, {}).ladder)
    rows = recent_alphas(home.database, 1000) if home.database.exists() else []
    try:
        run = run_of(ladder, read_history(home.history), [row.time for row in rows if row.sharpe is not None])
    except ValueError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(run), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
