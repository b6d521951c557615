"""Every course of `tests/data/episodes.txt`, bare and as log drivers wrap it, against what its heading says."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.logline import parse_line
from monitor.stamps import StampMemory, resolve
from tests.ollama_log import scan

DATA = Path(__file__).parents[2] / "data" / "episodes.txt"


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
        if wrapping == "journald" and episode.name.startswith("Docker"):
            continue  # what only Docker does, and only its fine stamps can tell
        pairs = zip(episode.lines, times(episode.lines), strict=True)
        got = found([wrap(line, at) for line, at in pairs])
        if got != episode.incidents:
            wrong[episode.name] = got
    assert not wrong
