"""What `history` and `report` are asked for, and what the card's tools answer."""

import json
from pathlib import Path
from typing import BinaryIO, cast

import orjson
import pytest

from cli.render import select
from fleet.clients.gpu import Card, parse_nvidia, parse_rocm
from fleet.policy.events import Event, EventKind
from fleet.runtime.clock import parse_since
from fleet.runtime.errors import ConfigError, FleetError
from fleet.runtime.units import MEGABYTE
from state.history import HistoryFile, each_event, read_history, rotated

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - 7200),
        ("30s", NOW - 30),
        ("1970-01-02", 86400.0),
        ("1970-01-02T01:00", 90000.0),
        ("1970-01-02T01:00+01:00", 86400.0),
    ],
)
def test_a_moment(text: str, moment: float) -> None:
    assert parse_since(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "2", "2026-13-01", "-1h"])
def test_no_moment(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_since(text, NOW)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "history.jsonl"
    kinds = (EventKind.INCIDENT, EventKind.SWITCH_PLANNED, EventKind.SWITCH_DONE)
    HistoryFile(rotated(path)).append(
        [Event(n, NOW + n, kinds[n % 3], {"text": "x" * 900}) for n in range(1, 31)]
    )
    HistoryFile(path).append([Event(n, NOW + n, kinds[n % 3], {}) for n in range(31, 41)])
    return path


@pytest.mark.parametrize("last", [1, 9, 10, 11, 40, 99])
def test_the_last_events_are_those_of_the_whole(history: Path, last: int) -> None:
    assert read_history(history, last) == read_history(history)[-last:]


def test_no_last_events(history: Path) -> None:
    assert read_history(history, 0) == []
    assert read_history(history.with_name("none"), 5) == []


@pytest.mark.parametrize("chunk", [1, 100, 1000, 10**6])
def test_a_long_history_is_read_in_parts(history: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rotated(history).write_bytes(rotated(history).read_bytes() + b'{"partial\n')
    monkeypatch.setattr("state.history._CHUNK", chunk)
    assert [event.number for event in each_event(history)] == list(range(1, 41))


@pytest.mark.parametrize(
    "odd",
    [
        b'{"number": 41, "time": 5.0, "kind": "unpinned", "x": NaN}',
        b'{"number": 41, "time": 5.0, "kind": "unpinned", "x": "\\ud800"}',
        b'{"number": 41, "time": 5.0, "kind": "unpinned", "x": ' + b"9" * 40 + b"}",
        b'{"number": 41, "time": 5.0, "kind": "unpinned", "x": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"number": 41, "time": 1e999, "kind": "unpinned"}',
        b'{"number": 41, "time": 5.0, "kind": "of another version"}',
        b'{"partial',
        b"[]",
        b"\xff",
    ],
)
def test_another_decoder_of_json_finds_the_same_events(history: Path, odd: bytes) -> None:
    rotated(history).write_bytes(rotated(history).read_bytes() + odd + b"\n")
    found = [event.number for event in each_event(history, orjson.loads)]
    assert found == [event.number for event in each_event(history)]
    assert {*range(1, 41)} <= {*found} <= {*range(1, 42)}


def test_a_rotation_while_the_history_is_opened_shows_no_event_twice(
    history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def rotating(path: Path, *arguments: str) -> BinaryIO:
        stream = opened(path, *arguments)
        if path == history:
            history.replace(rotated(history))
        return cast("BinaryIO", stream)

    monkeypatch.setattr(Path, "open", rotating)
    assert [event.number for event in each_event(history)] == list(range(31, 41))


def numbers(
    path: Path, *, last: int = 99, kinds: tuple[str, ...] = (), since: str | None = None
) -> list[int]:
    return [event.number for event in select(path, last=last, kinds=kinds, since=since, now=NOW + 40)]


def test_kinds_and_moments_are_picked(history: Path) -> None:
    assert numbers(history, last=2) == [39, 40]
    assert numbers(history, last=3, kinds=("incident",)) == [33, 36, 39]
    assert numbers(history, last=3, kinds=("switch",)) == [37, 38, 40]
    assert numbers(history, last=2, kinds=("switch.done",)) == [35, 38]
    assert numbers(history, since="5s") == [35, 36, 37, 38, 39, 40]
    with pytest.raises(ConfigError, match="no kind of event"):
        numbers(history, kinds=("switc",))


def test_the_cards_of_nvidia() -> None:
    text = "NVIDIA GeForce RTX 3060, 1234, 12288\nTesla T4, [N/A], 15360\n\nQuadro, one, 0, 8192\n"
    assert parse_nvidia(text) == [
        Card("NVIDIA GeForce RTX 3060", 1234 * MEGABYTE, 12288 * MEGABYTE),
        Card("Quadro, one", 0, 8192 * MEGABYTE),
    ]


def test_the_cards_of_amd() -> None:
    row = {"VRAM Total Memory (B)": "17163091968", "VRAM Total Used Memory (B)": "24576000"}
    assert parse_rocm(json.dumps({"card0": row, "system": {}})) == [Card("card0", 24576000, 17163091968)]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"card0": {}}', '{"card0": 1}'])
def test_what_is_no_answer_of_amd(text: str) -> None:
    with pytest.raises(FleetError):
        parse_rocm(text)
