"""What the Engine says, understood; and its streams with and without HTTP's chunks."""

import http.client
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from urllib3 import HTTPResponse

from monitor.sources.docker.engine import LogStream, parse_container, rotation_size
from monitor.sources.wakeup import Wakeup

FACTS: dict[str, Any] = {
    "Id": "abc",
    "State": {"Running": True, "StartedAt": "2026-11-25T10:00:00Z"},
    "Config": {"Tty": False},
    "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}}},
}


@pytest.mark.parametrize(
    ("driver", "options", "size"),
    [
        ("json-file", {}, None),
        ("json-file", {"max-size": "10m"}, 10_000_000),
        ("json-file", {"max-size": "20k", "max-file": "3"}, 20_000),
        ("json-file", {"max-size": "1.5GB"}, 1_500_000_000),
        ("json-file", {"max-size": "1GiB"}, 1_000_000_000),
        ("json-file", {"max-size": "-1"}, None),
        ("json-file", {"max-size": "huge"}, None),
        ("local", {}, 20_000_000),
        ("local", {"max-size": "5m"}, 5_000_000),
    ],
)
def test_at_which_size_a_log_is_rotated(driver: str, options: dict[str, str], size: int | None) -> None:
    assert rotation_size(driver, options) == size


def test_a_description_is_read() -> None:
    container = parse_container(FACTS)
    assert (container.identity, container.running, container.terminal) == ("abc", True, False)
    assert container.rotates_at == 10_000_000


@pytest.mark.parametrize("facts", [{}, {"Id": "a"}, {"Id": "a", "State": None, "Config": {}}, {"State": 5}])
def test_what_is_no_description_raises_as_a_mapping_does(facts: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError)):
        parse_container(facts)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def stream_of(near: socket.socket, far: socket.socket, head: bytes) -> LogStream:
    """Return a stream as `requests` hands it on, of an answer that begins with this head."""
    far.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
    raw = http.client.HTTPResponse(near)
    raw.begin()
    response = requests.Response()
    response.headers.update(dict(raw.headers.items()))
    response.raw = HTTPResponse(raw, headers=dict(raw.headers.items()), preload_content=False)
    return LogStream(response, Wakeup())


@pytest.mark.parametrize("chunked", [True, False])
def test_an_answer_with_and_without_chunks(ends: tuple[socket.socket, socket.socket], chunked: bool) -> None:
    near, far = ends
    stream = stream_of(near, far, b"Transfer-Encoding: chunked\r\n" if chunked else b"")
    try:
        assert stream.read(0.0) is None
        far.sendall(b"5\r\nhello\r\n" if chunked else b"hello")
        assert stream.read(5.0) == b"hello"
        far.sendall(b"0\r\n\r\n" if chunked else b"")
        if not chunked:
            far.close()
        assert stream.read(5.0) == b""
    finally:
        stream.close()


def test_what_came_with_the_headers_is_read_first(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    stream = stream_of(near, far, b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
    try:
        assert stream.read(5.0) == b"abc"
        assert stream.read(5.0) == b""
    finally:
        stream.close()


def test_a_wakeup_that_is_set_ends_a_read(ends: tuple[socket.socket, socket.socket]) -> None:
    stream = stream_of(*ends, b"")
    try:
        stream._wakeup.set()
        assert stream.read(None) is None
    finally:
        stream.close()
