"""Every course of `tests/data/episodes.txt`, bare and as log drivers wrap it, against what its heading says."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.detection.line_parser import parse_line
from monitor.detection.timestamps import StampMemory, resolve
from monitor.incidents import GroupState, next_deadline
from monitor.incidents.messages import Flush, Heard, IncidentHealed, Line, TimePassed
from tests.reference.ollama_log import DETECTOR, Follower, scan

DATA = Path(__file__).parents[3] / "data" / "episodes.txt"


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


def times(lines: tuple[str, ...]) -> list[float]:
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


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def docker_json(line: str, at: float) -> str:
    return json.dumps({"log": f"{line}\n", "stream": "stderr", "time": iso(at)})


WRAPPINGS: dict[str, Callable[[str, float], str]] = {
    "compose": lambda line, _: f"ollama-1  | {line}",
    "coloured": lambda line, _: f"\x1b[36mollama    |\x1b[0m {line}",
    "terminal": lambda line, _: line.replace("| POST    ", "|\x1b[97;46m POST    \x1b[0m").replace(
        "| 500 |", "|\x1b[97;41m 500 \x1b[0m|"
    ),
    "kubectl": lambda line, _: f"[pod/ollama-0/ollama] {line}",
    "tty": lambda line, _: f"{line}\r",
    "docker": lambda line, at: f"{iso(at)} {line}",
    "containerd": lambda line, at: f"{iso(at)} stderr F {line}",
    "json-file": docker_json,
    "journald": lambda line, at: f"{iso(at)[:19]}+0000 box ollama[9]: {line}",
}


@pytest.mark.parametrize("episode", list(episodes()), ids=lambda episode: episode.name)
def test_a_course_holds_what_its_heading_says(episode: Episode) -> None:
    assert found(list(episode.lines)) == episode.incidents


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_course_says_the_same_however_it_is_wrapped(wrapping: str) -> None:
    wrap = WRAPPINGS[wrapping]
    wrong = {}
    for episode in episodes():
        if wrapping in ("journald", "json-file") and episode.name.lower().startswith("docker"):
            continue  # what only Docker does, and only its fine stamps can tell
        pairs = zip(episode.lines, times(episode.lines), strict=True)
        got = found([wrap(line, at) for line, at in pairs])
        if got != episode.incidents:
            wrong[episode.name] = got
    assert not wrong


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
            self.state = GroupState.from_json(json.loads(json.dumps(self.state.to_json())))

    def wait(self, until: float) -> None:
        while (due := next_deadline(self.state, self.rules)) is not None and due <= until:
            self.see(TimePassed(max(due, self.now)))
        self.now = until

    @property
    def told(self) -> tuple[str, ...]:
        named = sorted(self.closed, key=lambda incident: int(incident.id.partition("-")[0]))
        return tuple(f"{i.kind.value}/{i.cause.value}{'+' if i.counts else ''}" for i in named)


@pytest.mark.parametrize("stamped", [False, True], ids=["bare", "stamped"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_a_course_followed_live_counts_as_one_read_later(*, stamped: bool, restarted: bool) -> None:
    wrong = {}
    for episode in episodes():
        live = Live(stamped=stamped, restarted=restarted)
        for line, at in zip(episode.lines, times(episode.lines), strict=True):
            live.line(line, at)
        live.wait(live.now + 1000.0)
        told = len(live.found)
        live.see(Flush())
        assert len(live.found) == told, f"{episode.name}: told by the log's end only"
        healed = {one.incident.id for one in live.outcomes if isinstance(one, IncidentHealed)}
        counted = sum(incident.counts and incident.id not in healed for incident in live.found)
        if live.told != episode.incidents or counted != sum("+" in one for one in episode.incidents):
            wrong[episode.name] = live.told
    assert not wrong
