"""A small HTTP server: connections kept alive, streams in chunks, and ways to misbehave.

One thread a connection; `standin.api` has the answers. The standard library's own server would lengthen a stand-in's
start considerably.
"""

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from fleet.runtime.units import Seconds

Wait: TypeAlias = Callable[[Seconds], None]
_POLL: Seconds = 0.01


class ClientGoneError(Exception):
    """The client left before its answer was done."""


def wait_until(done: Callable[[], bool], wait: Wait) -> None:
    """Wait until `done` returns True; `wait` raises ClientGoneError when the client leaves."""
    while not done():
        wait(_POLL)


JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
_BODY_LIMIT = 64 * 1024**2
_LINE_LIMIT = 65536
_HEADER_LIMIT = 100
_REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_RESET = struct.pack("ii", 1, 0)


class Exchange:
    """One request and its answer, as the handlers of `standin.api` see it.

    Every method that writes or waits raises ClientGoneError once the client has left.
    """

    def __init__(
        self,
        conversation: "_Conversation",
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        chunked: bool,
    ) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        self.client = conversation.client
        self.status = 0
        self.streaming = False
        self.quiet = False
        self._conversation = conversation
        self._chunked = chunked

    def json(
        self,
        row: object,
        *,
        status: int = 200,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a JSON document."""
        self.send(status, content_type, encode(row), headers)

    def send(
        self, status: int, content_type: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a whole body, and headers beside its type and length."""
        self.status = status
        more = [f"{name}: {value}" for name, value in (headers or {}).items()]
        head = _head(status, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *more)
        self._conversation.write(head if self.method == "HEAD" else head + body)

    def line(self, row: object, *, content_type: str = NDJSON) -> None:
        """Send one line of a stream, after the answer's head if it is the first."""
        content = encode(row) + b"\n"
        if self._chunked:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        if not self.streaming:
            self.status, self.streaming = 200, True
            framing = "Transfer-Encoding: chunked" if self._chunked else "Connection: close"
            content = _head(200, f"Content-Type: {content_type}", framing) + content
        self._conversation.write(content)

    def end(self) -> None:
        """End a stream."""
        if self._chunked:
            self._conversation.write(b"0\r\n\r\n")

    def wait(self, seconds: Seconds) -> None:
        """Wait, unless the client leaves meanwhile."""
        self._conversation.wait(seconds)

    def cut(self) -> None:
        """Break the connection off with a reset."""
        self._conversation.cut()


def _head(status: int, *headers: str) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    rows = (f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}", f"Date: {date}", *headers)
    return ("\r\n".join(rows) + "\r\n\r\n").encode("latin-1")


def encode(row: object) -> bytes:
    """Return a document as JSON in UTF-8."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class _Conversation:
    """One connection: requests are read from it, one after the other, until either side ends it."""

    def __init__(self, connection: socket.socket, client: str, answer: Callable[[Exchange], None]) -> None:
        self.client = client
        self.keep = True
        self._connection = connection
        self._answer = answer
        self._reader = connection.makefile("rb")

    def run(self) -> None:
        """Answer requests until the connection ends; raise OSError or ValueError where it ends badly."""
        try:
            while self.keep and (exchange := self._request()) is not None:
                self._answer(exchange)
                if exchange.streaming:
                    exchange.end()
        except ClientGoneError:
            return
        finally:
            self._reader.close()

    def write(self, content: bytes) -> None:
        """Send bytes; raise ClientGoneError if the client has left."""
        try:
            self._connection.sendall(content)
        except (OSError, ValueError) as error:
            raise ClientGoneError from error

    def wait(self, seconds: Seconds) -> None:
        """Sleep, and raise ClientGoneError as soon as the client closes the connection."""
        end = time.monotonic() + seconds
        poll = select.poll()
        try:
            poll.register(self._connection, select.POLLIN)
        except ValueError as error:
            raise ClientGoneError from error
        while (left := end - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                if not self._has_more():
                    raise ClientGoneError
                time.sleep(min(left, 0.01))  # the next request is here already, and no sign of an end

    def cut(self) -> None:
        """Reset the connection and raise ClientGoneError."""
        with suppress(OSError):
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._reader.close()
        self._connection.close()
        raise ClientGoneError

    def _has_more(self) -> bool:
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _request(self) -> Exchange | None:
        """Read a request; return None at the end of the connection, raise ValueError if it is none."""
        line = self._reader.readline(_LINE_LIMIT).decode("latin-1").split()
        if not line:
            return None
        method, target, version = line
        headers = self._headers()
        chunked = version != "HTTP/1.0"
        self.keep = chunked and headers.get("connection", "").lower() != "close"
        if headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return Exchange(self, method, target, headers, self._body(headers), chunked=chunked)

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while line := self._reader.readline(_LINE_LIMIT).strip():
            if len(headers) > _HEADER_LIMIT:
                raise ValueError("too many headers")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            return self._chunks()
        length = int(headers.get("content-length") or 0)
        if not 0 <= length <= _BODY_LIMIT:
            raise ValueError("a body too long")
        return self._reader.read(length)

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self._reader.readline(64).split(b";")[0], 16):
            if not 0 < size <= _BODY_LIMIT - len(content):
                raise ValueError("a body too long")
            content += self._reader.read(size)
            self._reader.readline(64)
        self._reader.readline(64)
        return content


class Httpd:
    """A listening socket and a thread for each connection."""

    def __init__(self, host: str, port: int, answer: Callable[[Exchange], None]) -> None:
        self.answer = answer
        self._socket = self._bound(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._away: Seconds = 0.0
        self._wake, self._woken = socket.socketpair()
        self._loop = threading.Thread(target=self._serve, name="standin", daemon=True)

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def start(self) -> None:
        """Begin to accept connections."""
        self._loop.start()

    def leave(self, seconds: Seconds) -> None:
        """Stop listening for some seconds: new connections are refused as soon as this returns.

        A thread that waits on the socket keeps it open beyond `close`; `shutdown` ends the listening at once.
        """
        self._away = seconds
        with suppress(OSError):  # a system that shuts down connections only
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._wake.send(b"!")

    def close(self) -> None:
        """Close the port and every connection, and wait shortly for the threads to end."""
        self._closed.set()
        self._wake.send(b"!")
        if self._loop.is_alive():
            self._loop.join(1.0)
        self._socket.close()
        with self._lock:
            connections, threads = list(self._open), list(self._threads)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(1.0)
        self._wake.close()
        self._woken.close()

    @staticmethod
    def _bound(host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        return listener

    def _serve(self) -> None:
        while not self._closed.is_set():
            if self._away:
                self._closed.wait(self._away)
                self._away = 0.0
                self._return()
                continue
            self._accept()

    def _return(self) -> None:
        while not self._closed.is_set():
            try:
                self._socket = self._bound(self.host, self.port)
            except OSError:
                self._closed.wait(0.05)
            else:
                return

    def _accept(self) -> None:
        try:
            ready, _, _ = select.select([self._socket, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(16)
                return
            connection, client = self._socket.accept()
        except (OSError, ValueError):
            return
        thread = threading.Thread(target=self._converse, args=(connection, client), daemon=True)
        with self._lock:
            self._open.add(connection)
            self._threads.add(thread)
        thread.start()

    def _converse(self, connection: socket.socket, client: Any) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Conversation(connection, client[0], self.answer).run()
        except (OSError, ValueError):
            pass  # a client that broke off, or spoke no HTTP
        finally:
            connection.close()
            with self._lock:
                self._open.discard(connection)
                self._threads.discard(threading.current_thread())
