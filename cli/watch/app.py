"""The live view in a terminal: a Textual application over the status and the history."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from cli.status import collect_status
from cli.subcommand import run_command
from cli.target import Fleet
from cli.watch import panels
from fleet.policy.events import Event
from fleet.runtime.logging import plain_text
from fleet.runtime.totals import counters
from fleet.runtime.units import Seconds
from state.history import read_history

_EVENTS = 100
_MOST_SAMPLES = 600
_RATE_SAMPLES = 30
_ASKED = {
    "pause": "Free the GPU until `resume`?",
    "resume": "End the pause?",
    "downgrade": "Go one rung down, to a smaller model?",
    "reset": "Go to the top of the ladder?",
}
_KEYS = {"p": "pause", "r": "resume", "d": "downgrade", "t": "reset"}


@dataclass(frozen=True, slots=True)
class Look:
    """One view of the fleet."""

    time: float
    row: dict[str, Any]
    events: list[Event]


def look(fleet: Fleet) -> Look:
    """Return the present view of the fleet."""
    return Look(time.time(), collect_status(fleet), read_history(fleet.home.history, _EVENTS))


class Question(ModalScreen[bool]):
    """A question that is answered with y or n."""

    DEFAULT_CSS = """
    Question { align: center middle; }
    Question > Static { width: auto; max-width: 76; border: round $accent; padding: 1 2; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Show the question."""
        yield Static(f"{self._text}\n\ny  yes    n  no", markup=False)

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)


class WatchApp(App[None]):
    """The live view; it ends with q or Ctrl-C."""

    CSS = """
    #title { height: 2; padding: 0 1; }
    #upper { height: auto; max-height: 10; }
    #ladder { width: 36; padding: 0 1; height: auto; }
    #memory_part { width: 1fr; height: auto; }
    #memory { width: 1fr; padding: 0 1; height: auto; }
    #work { height: auto; max-height: 7; padding: 0 1; }
    #events { height: 1fr; padding: 0 1; border-top: solid $primary; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("q", "quit", "quit"),
    ]

    def __init__(
        self, fleet: Fleet, *, interval: Seconds, actions: list[str], see: Callable[[Fleet], Look] = look
    ) -> None:
        super().__init__()
        self._fleet = fleet
        self._interval = interval
        self._see = see
        self._samples: deque[panels.Sample] = deque(maxlen=_MOST_SAMPLES)
        self._tokens: deque[tuple[float, float]] = deque(maxlen=_RATE_SAMPLES)
        for key, name in _KEYS.items():
            if name in actions:
                self.bind(key, f"ask('{name}')", description=name)

    def compose(self) -> ComposeResult:
        """Lay out the parts."""
        yield Static("the fleet is asked …", id="title", markup=False)
        with Horizontal(id="upper"):
            yield Static(id="ladder", markup=False)
            with Vertical(id="memory_part"):
                yield Static(id="memory", markup=False)
        yield Static(id="work", markup=False)
        yield Static(id="events", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._look_once()
        self.set_interval(self._interval, self._look_once)

    @work(thread=True, exclusive=True)
    def _look_once(self) -> None:
        seen = self._see(self._fleet)
        self.call_from_thread(self.show, seen)

    def show(self, seen: Look) -> None:
        """Draw one look."""
        row, found = seen.row, seen.row["gpu_memory"]
        self._samples.append((seen.time, None if found is None else found["used_bytes"]))
        made = counters((row["generator"] or {}).get("counters"), "generation_tokens", 1)
        self._tokens.append((seen.time, sum(made.values())))
        self._part("#title", panels.title(row))
        self._part("#ladder", panels.ladder_lines(row, seen.time))
        width, pulls = self.size.width - 2, panels.pull_lines(row, seen.events)
        self._part("#memory", panels.memory(row, list(self._samples), seen.events, max(width - 38, 10)))
        self._part("#work", panels.work(row, self._speed(), pulls, width))
        self._part("#events", panels.event_lines(seen.events, max(self.size.height - 10, 3), width))

    def _part(self, name: str, content: Any) -> None:
        # Also below a question. As the view ends there is no screen, or an empty one.
        for screen in self.screen_stack[:1]:
            for part in screen.query(name).results(Static):
                part.update(content)

    def _speed(self) -> float | None:
        (start, first), (end, last) = self._tokens[0], self._tokens[-1]
        return None if end <= start or last < first else (last - first) / (end - start)

    def action_ask(self, name: str) -> None:
        """Ask before an action, and carry it out."""

        def answered(yes: bool | None) -> None:
            if yes:
                self._act(name)

        self.push_screen(Question(_ASKED[name]), answered)

    @work(exclusive=True, group="action")
    async def _act(self, name: str) -> None:
        self.notify(f"{name} is being done …")
        result = await run_command(self._fleet.home, name)
        said = plain_text(f"{name}: {result.sentence}")
        self.notify(said, severity="information" if result.done else "error", markup=False)
