"""Courses of failures as whole logs: read from a file and followed live."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.detection.line_parser import parse_line
from monitor.detection.timestamps import StampMemory, resolve
from monitor.incidents import GroupState, next_deadline
from monitor.incidents.messages import Flush, Heard, IncidentFound, IncidentRetracted, Line, TimePassed
from state.codec import from_json, to_json
from tests.reference.ollama_log import DETECTOR, Follower, scan

DATA = Path(__file__).parents[1] / "data" / "episodes.txt"


@dataclass(frozen=True, slots=True)
class Episode:
    """A course: its name, its lines, and the incidents that its heading expects."""

    name: str
    lines: tuple[str, ...]
    incidents: tuple[str, ...]


def episodes() -> Iterator[Episode]:
    for block in DATA.read_text("utf-8").split("\n### ")[1:]:
        heading, *lines = block.rstrip("\n").split("\n")
        name, _, incidents = heading.rpartition(":")
        yield Episode(name, tuple(lines), tuple(incidents.split()))


def found(lines: list[str]) -> tuple[str, ...]:
    return tuple(
        f"{one.kind.value}/{one.cause.value}{'+' if one.counts else ''}" for one in scan(lines).incidents
    )


def times(lines: Sequence[str]) -> list[float]:
    """When each line was printed; one without a stamp just before the next that has one."""
    memory, known = StampMemory(), list[float | None]()
    for line in lines:
        parsed = parse_line(line)
        time, memory = resolve(parsed.own, parsed.outer, memory)
        known.append(time if parsed.own or parsed.outer else None)
    after = memory.last or 0.0
    for number in range(len(known) - 1, -1, -1):
        after = known[number] = known[number] or after
    return [time or 0.0 for time in known]


class Live(Follower):
    """A follower that gets each line moments after it was printed, with the time that goes by between."""

    def __init__(self, *, stamped: bool, restarted: bool) -> None:
        super().__init__()
        self.stamped, self.restarted, self.now = stamped, restarted, 0.0

    def line(self, text: str, at: float) -> None:
        self.wait(max(self.now, at + 0.002))
        if list(DETECTOR.candidates(text.encode())):
            self.see(Line(text, at if self.stamped else None, self.now))
        else:
            self.see(Heard(self.now))
        if self.restarted:
            self.state = from_json(GroupState, json.loads(json.dumps(to_json(self.state))))

    def wait(self, until: float) -> None:
        while (due := next_deadline(self.state, self.rules)) is not None and due <= until:
            self.see(TimePassed(max(due, self.now)))
        self.now = until

    @property
    def closed_causes(self) -> tuple[str, ...]:
        named = sorted(self.closed, key=lambda incident: int(incident.id.partition("-")[0]))
        return tuple(f"{i.kind.value}/{i.cause.value}{'+' if i.counts else ''}" for i in named)

    @property
    def count(self) -> int:
        """Return what counts at the end, as the policy reckons it: found, less what was taken back since."""
        counting: set[str] = set()
        for one in self.outcomes:
            if isinstance(one, IncidentFound) and one.incident.counts:
                counting.add(one.incident.id)
            elif isinstance(one, IncidentRetracted):
                counting.discard(one.incident.id)
        return len(counting)


def follow(
    lines: Sequence[str], *, stamped: bool, restarted: bool, printed: Sequence[float] | None = None
) -> Live:
    """Return the follower after a whole log and the silence after it; `printed` replaces the times in the lines."""
    live = Live(stamped=stamped, restarted=restarted)
    for line, at in zip(lines, printed or times(lines), strict=True):
        live.line(line, at)
    live.wait(live.now + 1000.0)
    found_before_the_end = len(live.found)
    live.see(Flush())
    assert len(live.found) == found_before_the_end, "an incident was found at the log's end only"
    return live
