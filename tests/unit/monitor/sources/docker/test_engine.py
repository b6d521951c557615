"""The Engine's descriptions of containers, and docker-py's stream behind a thread."""

import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from urllib3.exceptions import SSLError

from monitor.sources.docker.engine import LogStream, parse_container

FACTS: dict[str, Any] = {
    "Id": "abc",
    "State": {"Running": True, "StartedAt": "2026-11-25T10:00:00Z"},
    "Config": {"Tty": False},
    "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}}},
}


@pytest.mark.parametrize(
    ("logging", "rotates"),
    [
        ({"Type": "json-file", "Config": {}}, False),
        ({"Type": "json-file", "Config": {"max-size": "10m"}}, True),
        ({"Type": "json-file", "Config": None}, False),
        ({"Type": "local", "Config": {}}, True),
        ({}, False),
        (None, False),
    ],
)
def test_whether_a_log_is_rotated(logging: object, rotates: bool) -> None:
    assert parse_container({**FACTS, "HostConfig": {"LogConfig": logging}}).rotates is rotates


def test_a_description_is_read() -> None:
    container = parse_container(FACTS)
    assert (container.identity, container.running, container.terminal) == ("abc", True, False)
    assert container.rotates


@pytest.mark.parametrize("facts", [{}, {"Id": "a"}, {"Id": "a", "State": None, "Config": {}}, {"State": 5}])
def test_what_is_no_description_raises_as_a_mapping_does(facts: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError)):
        parse_container(facts)


class Scripted:
    """A stream as docker-py's: it gives items, blocks while told to, and fails as told to."""

    def __init__(self, items: list[bytes], then: Callable[[], None]) -> None:
        self.given = 0
        self._items = items
        self._then = then
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for item in self._items:
            self.given += 1
            yield item
        self._then()

    def close(self) -> None:
        self.closed.set()
        raise AttributeError("docker-py reads what is gone after the stream's end")

    def block(self) -> None:
        self.closed.wait()


def stream_of(scripted: Scripted, *, terminal: bool = False) -> LogStream:
    return LogStream(scripted, terminal=terminal)  # type: ignore[arg-type]  # as much of it as is used


def blocking(items: list[bytes]) -> Scripted:
    scripted = Scripted(items, lambda: None)
    scripted._then = scripted.block
    return scripted


def everything(stream: LogStream) -> list[bytes]:
    found: list[bytes] = []
    while items := stream.read(5.0):
        found += items
    return found


def test_all_items_come_and_then_the_end() -> None:
    items = [b"%d\n" % n for n in range(5000)]
    stream = stream_of(Scripted(items, lambda: None))
    assert everything(stream) == items
    assert stream.read(0.0) == []


def test_silence_is_not_the_end() -> None:
    stream = stream_of(blocking([b"one\n"]))
    assert stream.read(5.0) == [b"one\n"]
    assert stream.read(0.0) is None
    stream.close()
    assert stream.read(5.0) == []


@pytest.mark.parametrize(
    "error",
    [struct.error("unpack requires a buffer of 8 bytes"), OSError("reset"), SSLError("decryption failed")],
)
def test_a_stream_that_breaks_ends(error: Exception) -> None:
    def fail() -> None:
        raise error

    assert everything(stream_of(Scripted([b"one\n"], fail))) == [b"one\n"]


def test_a_reader_that_does_not_read_lets_the_stream_wait() -> None:
    scripted = blocking([b"x\n"] * 5000)
    stream = stream_of(scripted)
    while scripted.given < 1001:
        pass
    assert scripted.given == 1001
    stream.close()


def test_closing_twice_and_after_the_end_is_nothing() -> None:
    stream = stream_of(Scripted([], lambda: None))
    assert stream.read(5.0) == []
    stream.close()
    stream.close()
