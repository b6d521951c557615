"""HTTP requests over TCP or a unix socket, with a time-out for each wait and a stream that can be cut.

The standard library's client, because a stream needs two time-outs (the first token may take minutes, a
stalled stream may not), another thread must be able to cut it, and `status` may import nothing heavier.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from fleet.units import Seconds

_LINE_LIMIT = 16 * 1024**2
_BROKEN = (OSError, http.client.HTTPException, ValueError, AttributeError)
"""What a body that ends in its middle raises; AttributeError is http.client's where another thread cut it."""


class WireError(Exception):
    """The request could not be sent, or its answer did not arrive whole."""


class WireTimeoutError(WireError):
    """The other side did not answer in time."""


class Answer(Protocol):
    """An HTTP answer whose body is read as it comes."""

    status: int

    def read(self) -> bytes:
        """Return the rest of the body; raise WireError."""

    def lines(self, *, stall: Seconds | None = None) -> Iterator[bytes]:
        """Yield the body's lines; `stall` replaces the time-out once the first one has come."""

    def close(self) -> None:
        """Cut the connection; a reader in another thread ends with WireError."""


class Wire(Protocol):
    """The port through which clients reach a server; tests put their own in its place."""

    def request(self, method: str, path: str, body: object = None, *, timeout: Seconds) -> Answer:
        """Send a JSON body, return the answer once its head is here; raise WireError."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: Seconds) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(self.timeout)
            connected.connect(self._path)
        except OSError:
            connected.close()
            raise
        self.sock = connected


class _TcpConnection(http.client.HTTPConnection):
    """HTTP over TCP; a plain name is looked up as the bytes that it is, without a codec that takes 4 ms to load."""

    def connect(self) -> None:
        """Connect to the first address that answers."""
        if not self.host.isascii():
            super().connect()
            return
        error: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self.host.encode("ascii"), self.port, type=socket.SOCK_STREAM
        ):
            connected = socket.socket(family, kind, protocol)
            try:
                connected.settimeout(self.timeout)
                connected.connect(address)
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as refused:
                connected.close()
                error = refused
            else:
                self.sock = connected
                return
        raise error


@dataclass(slots=True)
class HttpAnswer:
    """An answer over a connection of its own."""

    status: int
    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    stream: socket.socket

    def read(self) -> bytes:
        """Return the rest of the body."""
        try:
            return self.response.read()
        except TimeoutError as error:
            raise WireTimeoutError("the answer stopped coming") from error
        except _BROKEN as error:
            raise WireError(
                f"the connection ended in mid-answer ({str(error) or type(error).__name__})"
            ) from error
        finally:
            self.close()

    def lines(self, *, stall: Seconds | None = None) -> Iterator[bytes]:
        """Yield the body's lines without their ends."""
        try:
            while line := self.response.readline(_LINE_LIMIT):
                if stall is not None:
                    self.stream.settimeout(stall)
                yield line.rstrip(b"\r\n")
        except TimeoutError as error:
            raise WireTimeoutError("the answer stopped coming") from error
        except _BROKEN as error:
            raise WireError(
                f"the connection ended in mid-answer ({str(error) or type(error).__name__})"
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        """Cut the connection."""
        with suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)
        self.connection.close()


class HttpWire:
    """A server at an http or https address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/")

    def request(self, method: str, path: str, body: object = None, *, timeout: Seconds) -> Answer:
        """Send a JSON body, return the answer once its head is here."""
        return send(self._connection(timeout), method, self._base + path, body)

    def _connection(self, timeout: Seconds) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout)
        return _TcpConnection(self._host, self._port, timeout=timeout)


def send(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> HttpAnswer:
    """Send one request over a fresh connection; raise WireError."""
    content = None if body is None else json.dumps(body).encode()
    headers: dict[str, Any] = {"Connection": "close"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    try:
        connection.connect()
        stream = connection.sock
        connection.request(method, path, content, headers)
        response = connection.getresponse()
    except TimeoutError as error:
        connection.close()
        raise WireTimeoutError("nothing came") from error
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise WireError(reason) from error
    return HttpAnswer(response.status, connection, response, stream)
