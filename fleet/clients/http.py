"""HTTP transport over TCP or a unix socket: a time-out for each wait, and requests that another thread can cancel.

The transport is built on the standard library's client for three reasons. A stream needs two time-outs: the first token
may take minutes, but a stalled stream may not. Another thread must be able to cancel a request. `status` must not
import a larger library.
"""

import http.client
import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds

_LINE_LIMIT = 16 * 1024**2
_CONNECT: Seconds = 5.0
"""Time-out of the connection itself: a running server accepts one at once, however busy it is."""

_Address = tuple[Any, ...]


class TransportError(Exception):
    """The request could not be sent, or its response did not arrive completely."""


class TransportTimeoutError(TransportError):
    """The server accepted the connection and did not answer in time."""


class Cancel:
    """Cancels a request from another thread, at any moment from the look-up of the server's name on."""

    def __init__(self) -> None:
        self._cancelled = False
        self._cancel_stage: Callable[[], None] = _nothing

    @property
    def cancelled(self) -> bool:
        """Return True if the request was cancelled."""
        return self._cancelled

    def __call__(self) -> None:
        """Cancel the request now, or as soon as it begins."""
        self._cancelled = True
        self._cancel_stage()

    def attach(self, cancel_stage: Callable[[], None]) -> None:
        """Set the function that cancels the request's present stage; raise TransportError if it was cancelled.

        No cancellation is lost. `attach` sets the function before it reads the flag; `__call__` sets the flag before it
        calls the function.
        """
        self._cancel_stage = cancel_stage
        if self._cancelled:
            raise TransportError("the request was cancelled")


def _nothing() -> None:
    pass


@contextmanager
def cut_when(clock: Clock, unwanted: Callable[[], bool], *, every: Seconds = 0.2) -> Iterator[Cancel]:
    """Yield a Cancel that cuts a request as soon as it is unwanted, also while the server is silent."""
    cancel, ended = Cancel(), threading.Event()

    def watch() -> None:
        while not clock.wait(ended, every):
            with suppress(FleetError):  # the state could not be read; the next check may succeed
                if unwanted():
                    cancel()
                    return

    thread = threading.Thread(target=watch, name="unwanted", daemon=True)
    thread.start()
    try:
        yield cancel
    finally:
        ended.set()
        thread.join()


class Response(Protocol):
    """An HTTP response whose body is read as it arrives."""

    status: int

    def read(self) -> bytes:
        """Return the rest of the body; raise TransportError."""

    def lines(self, *, stall: Seconds | None = None) -> Iterator[bytes]:
        """Yield the body's lines; `stall` replaces the time-out after the first line."""

    def close(self) -> None:
        """Close the connection."""


class Transport(Protocol):
    """The interface through which clients reach a server; tests implement their own."""

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: Seconds,
        cancel: Cancel | None = None,
    ) -> Response:
        """Send a JSON body; return the response once its head has arrived; raise TransportError."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: Seconds) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket; raise OSError. `close` is needed then too."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _TcpConnection(http.client.HTTPConnection):
    """HTTP over TCP, with TLS if `tls` is given; each step can be cancelled."""

    def __init__(
        self, host: str, port: int, *, timeout: Seconds, cancel: Cancel, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        self._connect_timeout = min(timeout, _CONNECT)
        self._response_timeout = timeout
        self._cancel = cancel
        self._tls = tls

    def connect(self) -> None:
        """Connect to the first address that accepts; raise OSError or TransportError."""
        error: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in self._addresses():
            try:
                self.sock = self._open(socket.socket(family, kind, protocol), address)
            except OSError as refused:
                error = refused
            else:
                return
        if isinstance(error, TimeoutError):
            raise TransportError(f"no connection within {self._connect_timeout:g}s") from error
        raise error

    def _addresses(self) -> Sequence[_Address]:
        """Return the host's addresses; raise OSError or TransportError.

        The system's look-up of a name has no time-out and cannot be cancelled. A separate thread therefore runs the
        look-up.
        """
        look_up = partial(socket.getaddrinfo, self.host, self.port, type=socket.SOCK_STREAM)
        with suppress(socket.gaierror):
            return look_up(flags=socket.AI_NUMERICHOST)
        found: queue.SimpleQueue[Sequence[_Address] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found.put(look_up())
            except OSError as error:
                found.put(error)

        self._cancel.attach(lambda: found.put(OSError("the request was cancelled")))
        threading.Thread(target=ask, name="look-up", daemon=True).start()
        try:
            answer = found.get(timeout=self._connect_timeout)
        except queue.Empty:
            raise TransportError(
                f"the name {self.host} was not looked up within {self._connect_timeout:g}s"
            ) from None
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _open(self, stream: socket.socket, address: _Address) -> socket.socket:
        try:
            stream.settimeout(self._connect_timeout)
            self._cancel.attach(lambda: _shut_down(stream))
            stream.connect(address)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                stream = self._tls.wrap_socket(
                    stream, server_hostname=self.host, do_handshake_on_connect=False
                )
            # Again: shutdown fails on a socket that is not connected, and that cancellation would be lost.
            self._cancel.attach(lambda: _shut_down(stream))
            if isinstance(stream, ssl.SSLSocket):
                stream.do_handshake()
            stream.settimeout(self._response_timeout)
        except BaseException:
            stream.close()
            raise
        return stream


def _shut_down(stream: socket.socket) -> None:
    """Shut a connection down, which wakes the thread that waits on it and closes the socket.

    Call the plain socket's method: TLS's own changes the object that the other thread is reading.
    """
    with suppress(OSError):
        socket.socket.shutdown(stream, socket.SHUT_RDWR)


@dataclass(slots=True)
class HttpResponse:
    """A response over a connection of its own."""

    status: int
    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    stream: socket.socket

    def read(self) -> bytes:
        """Return the rest of the body."""
        try:
            with _transport_errors("the response stalled", "the connection ended in mid-response"):
                return self.response.read()
        finally:
            self.close()

    def lines(self, *, stall: Seconds | None = None) -> Iterator[bytes]:
        """Yield the body's lines without their line ends."""
        try:
            while line := self._line():
                if stall is not None:
                    self.stream.settimeout(stall)
                yield line.rstrip(b"\r\n")
        finally:
            self.close()

    def _line(self) -> bytes:
        with _transport_errors("the response stalled", "the connection ended in mid-response"):
            return self.response.readline(_LINE_LIMIT)

    def close(self) -> None:
        """Close the connection."""
        self.response.close()
        self.connection.close()


class HttpTransport:
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
    ) -> HttpResponse:
        """Send a JSON body; return the response once its head has arrived."""
        with _transport_errors("no response"):  # the library's client refuses a host with spaces
            connection = _TcpConnection(
                self._host, self._port, timeout=timeout, cancel=cancel or Cancel(), tls=self._tls
            )
        return send(connection, method, self._base + path, body)


def send(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> HttpResponse:
    """Send one request over a new connection; raise TransportError."""
    content = None if body is None else json.dumps(body).encode()
    headers: dict[str, Any] = {"Connection": "close"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    try:
        with _transport_errors("no response"):
            connection.connect()
            # Keep the socket for later time-outs: the client drops its reference once the head has arrived.
            stream = connection.sock
            connection.request(method, path, content, headers)
            response = connection.getresponse()
    except BaseException:
        connection.close()
        raise
    return HttpResponse(response.status, connection, response, stream)


@contextmanager
def _transport_errors(late: str, broken: str = "") -> Iterator[None]:
    """Translate errors into TransportError; `late` is the message of a time-out, `broken` that of any other error."""
    try:
        yield
    except TimeoutError as error:
        raise TransportTimeoutError(late) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = _reason(error)
        raise TransportError(f"{broken} ({reason})" if broken else reason) from error


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
        return "the server does not speak HTTP"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
