"""Short runs of `make fuzz`: some inputs of each channel, and 20 000 (or FLEET_FUZZ) in the long tests."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.fuzz import channels
from tests.fuzz.lines import Fuzzer, fuzz, hostile, real_lines
from tests.fuzz.run import feed

INPUTS = int(os.environ.get("FLEET_FUZZ", "20000"))
NAMES = tuple(channels.channels([b"x"]))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mutated_lines_raise_nothing_and_pass_the_prefilter_where_they_say_something() -> None:
    fuzz(INPUTS, seed=7)


def test_hostile_lines_are_taken() -> None:
    fuzzer = Fuzzer(random.Random(7))
    for line in list(hostile())[::9]:
        fuzzer.feed(line)


@pytest.mark.parametrize("name", NAMES)
def test_some_odd_inputs_end_in_a_readable_state(name: str) -> None:
    feed(name, channels.channels(real_lines())[name], 150, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_many_odd_inputs_end_in_a_readable_state(name: str) -> None:
    feed(name, channels.channels(real_lines())[name], INPUTS, seed=7)


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_that_raises_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard of numbers an odd one reaches the state, or ends its reader."""
    for target in (
        "monitor.api_calls",
        "monitor.detection.detector",
        "fleet.clients.ollama",
        "fleet.clients.supervisor",
        "monitor.watch.spill",
    ):
        for guard in ("whole_number", "finite"):
            monkeypatch.setattr(f"{target}.{guard}", _unguarded, raising=False)
    monkeypatch.setattr("state.codec._finite", float)
    monkeypatch.setattr(channels, "finite", _unguarded)
    monkeypatch.setattr("monitor.sources.journal.entries.whole_number", _unguarded)
    monkeypatch.setattr(channels, "read_json", lambda path: {"heartbeat": path.read_bytes().decode()})
    with pytest.raises(Exception):  # noqa: B017  # whatever the reader does with it
        feed(name, channels.channels(list(_numbers()))[name], 3000, seed=1)


def _unguarded(value: object) -> float:
    return float(value)  # type: ignore[arg-type]


def _numbers() -> Iterator[bytes]:
    yield b'time=2026-11-23T22:22:42.331Z level=INFO msg="inference compute" library=CUDA total="12.0 GiB"'
