"""HTTP requests over TCP or a unix socket, with a time-out for each wait, that another thread can cut.

The standard library's client, because a stream needs two time-outs (the first token may take minutes, a
stalled stream may not), another thread must be able to cut it, and `status` may import nothing heavier.
"""

import http.client
import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from fleet.runtime.units import Seconds

_LINE_LIMIT = 16 * 1024**2
_CONNECT: Seconds = 5.0
"""Longest wait for a connection: a server that is there takes one at once, however busy it is."""

_Address = tuple[Any, ...]


class WireError(Exception):
    """The request could not be sent, or its answer did not arrive whole."""


class WireTimeoutError(WireError):
    """The other side took the connection and did not answer in time."""


class Cancel:
    """Cuts a request from another thread, at any moment from the look-up of the server's name on."""

    def __init__(self) -> None:
        self._cancelled = False
        self._cut: Callable[[], None] = _nothing

    @property
    def cancelled(self) -> bool:
        """Return True if the request was cut."""
        return self._cancelled

    def __call__(self) -> None:
        """Cut the request now, or as soon as it begins."""
        self._cancelled = True
        self._cut()

    def attach(self, cut: Callable[[], None]) -> None:
        """Name the way to cut the request in its present stage; raise WireError if it was cut already.

        The way is named before the flag is read, and a cut sets the flag before it goes that way: none is lost.
        """
        self._cut = cut
        if self._cancelled:
            raise WireError("the request was cut")


def _nothing() -> None:
    pass


class Answer(Protocol):
    """An HTTP answer whose body is read as it comes."""

    status: int

    def read(self) -> bytes:
        """Return the rest of the body; raise WireError."""

    def lines(self, *, stall: Seconds | None = None) -> Iterator[bytes]:
        """Yield the body's lines; `stall` replaces the time-out once the first one has come."""

    def close(self) -> None:
        """Close the connection."""


class Wire(Protocol):
    """The port through which clients reach a server; tests put their own in its place."""

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: Seconds,
        cancel: Cancel | None = None,
    ) -> Answer:
        """Send a JSON body, return the answer once its head is here; raise WireError."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: Seconds) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = connect_unix(self._path, self.timeout)


def connect_unix(path: str, timeout: Seconds | None) -> socket.socket:
    """Return a connection to a unix socket; raise OSError."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout)
        connected.connect(path)
    except OSError:
        connected.close()
        raise
    return connected


class _TcpConnection(http.client.HTTPConnection):
    """HTTP over TCP, through TLS where there is a context for it; each step can be cut."""

    def __init__(
        self, host: str, port: int, *, timeout: Seconds, cancel: Cancel, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        self._within = min(timeout, _CONNECT)
        self._patience = timeout
        self._cancel = cancel
        self._tls = tls

    def connect(self) -> None:
        """Connect to the first address that takes the connection; raise OSError or WireError."""
        error: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in self._addresses():
            try:
                self.sock = self._connected(socket.socket(family, kind, protocol), address)
            except OSError as refused:
                error = refused
            else:
                return
        if isinstance(error, TimeoutError):
            raise WireError(f"no connection within {self._within:g}s") from error
        raise error

    def _addresses(self) -> list[_Address]:
        """Return the host's addresses. The system's look-up of a name has no time-out and cannot be cut: a thread waits."""
        with suppress(socket.gaierror):
            return self._looked_up(socket.AI_NUMERICHOST)
        found: queue.SimpleQueue[list[_Address] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found.put(self._looked_up())
            except OSError as error:
                found.put(error)

        self._cancel.attach(lambda: found.put(OSError("the request was cut")))
        threading.Thread(target=ask, name="look-up", daemon=True).start()
        try:
            answer = found.get(timeout=self._within)
        except queue.Empty:
            raise WireError(f"the name {self.host} was not looked up within {self._within:g}s") from None
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _looked_up(self, flags: int = 0) -> list[_Address]:
        return list(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags))

    def _connected(self, stream: socket.socket, address: _Address) -> socket.socket:
        try:
            stream.settimeout(self._within)
            self._cancel.attach(lambda: _shut(stream))
            stream.connect(address)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                stream = self._tls.wrap_socket(
                    stream, server_hostname=self.host, do_handshake_on_connect=False
                )
            # Again: a cut finds nothing to shut in a socket that is not connected yet.
            self._cancel.attach(lambda: _shut(stream))
            if isinstance(stream, ssl.SSLSocket):
                stream.do_handshake()
            stream.settimeout(self._patience)
        except BaseException:
            stream.close()
            raise
        return stream


def _shut(stream: socket.socket) -> None:
    """End a connection under whoever waits on it, who closes the socket.

    The plain socket's method: the one of TLS changes the object under its reader.
    """
    with suppress(OSError):
        socket.socket.shutdown(stream, socket.SHUT_RDWR)


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
            with _wire_errors("the answer stopped coming", "the connection ended in mid-answer"):
                return self.response.read()
        finally:
            self.close()

    def lines(self, *, stall: Seconds | None = None) -> Iterator[bytes]:
        """Yield the body's lines without their ends."""
        try:
            while line := self._line():
                if stall is not None:
                    self.stream.settimeout(stall)
                yield line.rstrip(b"\r\n")
        finally:
            self.close()

    def _line(self) -> bytes:
        with _wire_errors("the answer stopped coming", "the connection ended in mid-answer"):
            return self.response.readline(_LINE_LIMIT)

    def close(self) -> None:
        """Close the connection."""
        self.response.close()
        self.connection.close()


class HttpWire:
    """A server at an http or https address; each request has a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (80 if self._tls is None else 443)
        self._base = parts.path.rstrip("/")

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: Seconds,
        cancel: Cancel | None = None,
    ) -> HttpAnswer:
        """Send a JSON body, return the answer once its head is here."""
        connection = _TcpConnection(
            self._host, self._port, timeout=timeout, cancel=cancel or Cancel(), tls=self._tls
        )
        return send(connection, method, self._base + path, body)


def send(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> HttpAnswer:
    """Send one request over a fresh connection; raise WireError."""
    content = None if body is None else json.dumps(body).encode()
    headers: dict[str, Any] = {"Connection": "close"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    try:
        with _wire_errors("nothing came"):
            connection.connect()
            # Our own reference: the client gives its own up as soon as the answer's head is here.
            stream = connection.sock
            connection.request(method, path, content, headers)
            response = connection.getresponse()
    except BaseException:
        connection.close()
        raise
    return HttpAnswer(response.status, connection, response, stream)


@contextmanager
def _wire_errors(late: str, broken: str = "") -> Iterator[None]:
    """Make WireErrors of what goes wrong within; `late` is said of a time-out, `broken` of anything else."""
    try:
        yield
    except TimeoutError as error:
        raise WireTimeoutError(late) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = _reason(error)
        raise WireError(f"{broken} ({reason})" if broken else reason) from error


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
        return "the other side does not speak HTTP"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
