"""HTTP requests over TCP or a unix socket, with a time-out for each wait and a stream that can be cut.

The standard library's client, because a stream needs two time-outs (the first token may take minutes, a
stalled stream may not), another thread must be able to cut it, and `status` may import nothing heavier.
"""

import http.client
import json
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from fleet.units import Seconds

_LINE_LIMIT = 16 * 1024**2
_HEAD_LIMIT = 64 * 1024
_MOST_FIELDS = 100
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
        self.sock = connect_unix(self._path, self.timeout)


class _TcpConnection(http.client.HTTPConnection):
    """HTTP over TCP."""

    def connect(self) -> None:
        """Connect to the first address that answers."""
        self.sock = _connect_tcp(self.host, self.port, self.timeout)


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


def _connect_tcp(host: str, port: int, timeout: Seconds | None) -> socket.socket:
    """Return a connection to the first address that answers; raise OSError.

    A plain name is looked up as the bytes that it is, without a codec that takes 4 ms to load.
    """
    name = host.encode("ascii") if host.isascii() else host
    error: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(timeout)
            connected.connect(address)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as refused:
            connected.close()
            error = refused
        else:
            return connected
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


@dataclass(slots=True)
class WholeAnswer:
    """An answer that is here whole; `reusable` tells whether its connection can be asked something else."""

    status: int
    content: bytes
    reusable: bool

    def read(self) -> bytes:
        """Return the body."""
        return self.content

    def lines(self, *, stall: Seconds | None = None) -> Iterator[bytes]:
        """Yield the body's lines without their ends."""
        del stall
        yield from self.content.splitlines()

    def close(self) -> None:
        """Do nothing: there is nothing left to cut."""


class HttpWire:
    """A server at an http or https address. What a GET over http answers is read whole.

    With `keep` one connection is kept for the next GET. It is meant for a process that asks for as long as it lives.
    """

    def __init__(self, url: str, *, keep: bool = False) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/")
        self._keep = keep
        self._idle: deque[socket.socket] = deque()

    def request(self, method: str, path: str, body: object = None, *, timeout: Seconds) -> Answer:
        """Send a JSON body, return the answer once its head is here."""
        if method == "GET" and not self._secure and self._host.isascii():
            return self._get(self._base + path, timeout)
        return send(self._connection(timeout), method, self._base + path, body)

    def close(self) -> None:
        """Let go of what is kept."""
        while self._idle:
            self._idle.pop().close()

    def _connection(self, timeout: Seconds) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout)
        return _TcpConnection(self._host, self._port, timeout=timeout)

    def _get(self, path: str, timeout: Seconds) -> WholeAnswer:
        with suppress(IndexError, _ClosedError):  # a server closes what was idle for long
            kept = self._idle.pop()
            kept.settimeout(timeout)
            return self._asked(kept, path)
        with _wire_errors("nothing came"):
            fresh = _connect_tcp(self._host, self._port, timeout)
        return self._asked(fresh, path)

    def _asked(self, stream: socket.socket, path: str) -> WholeAnswer:
        host = f"[{self._host}]" if ":" in self._host else self._host
        reusable = False
        try:
            answer = ask(stream, f"{host}:{self._port}", path, keep=self._keep)
            reusable = answer.reusable and not self._idle
        finally:
            if reusable:
                self._idle.append(stream)
            else:
                stream.close()
        return answer


class _ClosedError(WireError):
    """The other side had closed the connection, or did before it answered anything."""


def get(connect: Callable[[], socket.socket], host: str, target: str) -> WholeAnswer:
    """Ask one question over a connection of its own; raise WireError."""
    with _wire_errors("nothing came"):
        stream = connect()
    with stream:
        return ask(stream, host, target, keep=False)


def ask(stream: socket.socket, host: str, target: str, *, keep: bool) -> WholeAnswer:
    """Ask for a target and return the whole answer, telling whether the connection is to be kept; raise WireError.

    What is asked again and again for as long as nothing happens goes this way: `http.client` reads an answer's head
    with the parser of the mail package and takes several times as much.
    """
    with _wire_errors("nothing came"):
        stream.sendall(_question(host, target, keep=keep))
        reader = stream.makefile("rb")
    with reader:
        with _wire_errors("nothing came"):
            status, fields = _head(reader)
        with _wire_errors("the answer stopped coming", "the connection ended in mid-answer"):
            content, bounded = _body(reader, status, fields)
    return WholeAnswer(
        status, content, keep and bounded and fields.get(b"connection", b"").lower() != b"close"
    )


@contextmanager
def _wire_errors(late: str, broken: str = "") -> Iterator[None]:
    """Make WireErrors of what goes wrong within; `late` tells of a time-out, `broken` of anything else."""
    try:
        yield
    except TimeoutError as error:
        raise WireTimeoutError(late) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        kind = _ClosedError if isinstance(error, ConnectionError) and not broken else WireError
        raise kind(f"{broken} ({reason})" if broken else reason) from error


def _question(host: str, target: str, *, keep: bool) -> bytes:
    if " " in target or not target.isprintable():
        raise ValueError("what is asked for has blanks in its name")
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Accept-Encoding: identity",
        f"Connection: {'keep-alive' if keep else 'close'}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def _head(reader: BinaryIO) -> tuple[int, dict[bytes, bytes]]:
    """Read an answer's status and fields, passing over provisional ones; raise OSError or ValueError."""
    while True:
        version, _, rest = _line(reader).partition(b" ")
        if not version.startswith(b"HTTP/"):
            raise ValueError("what answers does not speak HTTP")
        status, fields = int(rest[:3]), dict[bytes, bytes]()
        while line := _line(reader):
            if len(fields) == _MOST_FIELDS:
                raise ValueError("the answer's head has no end")
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        if status >= http.client.OK:
            return status, fields


def _body(reader: BinaryIO, status: int, fields: Mapping[bytes, bytes]) -> tuple[bytes, bool]:
    """Read what belongs to a head, and tell whether it had an end other than the connection's.

    Raise OSError, or ValueError where it ends too soon.
    """
    if status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
        return b"", True
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        return b"".join(_chunks(reader)), True
    length = fields.get(b"content-length")
    return (reader.read(), False) if length is None else (_exactly(reader, int(length)), True)


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    while size := int(_line(reader).partition(b";")[0], 16):
        yield _exactly(reader, size)
        _line(reader)
    while _line(reader):
        pass  # trailing fields


def _line(reader: BinaryIO) -> bytes:
    """Read a line, without its end."""
    line = reader.readline(_HEAD_LIMIT)
    if not line.endswith(b"\n"):
        raise (
            ValueError("the answer is cut off")
            if line
            else ConnectionAbortedError("the other side closed the connection")
        )
    return line.rstrip(b"\r\n")


def _exactly(reader: BinaryIO, size: int) -> bytes:
    content = reader.read(size)
    if size < 0 or len(content) < size:
        raise ValueError("the answer is cut off")
    return content


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
