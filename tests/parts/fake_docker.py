"""A small Docker Engine over a unix socket: containers that only have a log, and all that can go wrong with it.

It speaks what the docker source uses: /version, /containers/NAME/json, /containers/NAME/logs. Lines are written to a
log as the real one's copier does it, and answers have its form: chunks, frames, 16 KiB pieces.
"""

import contextlib
import itertools
import json
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

PIECE = 16 * 1024
_ids = itertools.count(1)


@dataclass
class Container:
    """`messages` are (stamp, stream, text), as the json-file driver keeps them; streams 1 and 2 are written to."""

    name: str
    tty: bool = False
    running: bool = True
    log_config: dict[str, Any] = field(default_factory=lambda: {"Type": "json-file", "Config": {}})
    identity: str = ""
    started: int = 0
    messages: list[tuple[int, int, bytes]] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)  # messages that streams under way do not get
    clock: Callable[[], int] = time.time_ns
    partial: dict[int, bytes] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)  # stamps of lines whose pieces are not all written

    ran: bool = False  # the Engine waits for the start of a container whose log is followed before

    def __post_init__(self) -> None:
        self.ran = self.running
        self.identity = self.identity or f"{next(_ids):064x}"
        self.started = time.time_ns()


class FakeEngine:
    """The daemon: start and stop it, and its containers."""

    def __init__(self, socket_path: Path) -> None:
        self.path = socket_path
        self.changed = threading.Condition()
        self.containers: dict[str, Container] = {}
        self.requests: list[str] = []
        self.refusal: tuple[int, str] | None = None
        self.split: Callable[[bytes], list[bytes]] = lambda data: [data]
        self._cut = 0  # streams begun under an older number end
        self._frozen = False
        self._server: _Server | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = _Server(str(self.path), _Handler)
        self._server.engine = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        self.cut_streams()
        server.shutdown()
        server.server_close()
        server.hang_up()
        self.path.unlink(missing_ok=True)

    def run(self, name: str, **facts: Any) -> Container:
        with self.changed:
            container = self.containers[name] = Container(name, **facts)
            self.changed.notify_all()
        return container

    def remove(self, name: str) -> None:
        with self.changed:
            self.containers.pop(name).running = False
            self.changed.notify_all()

    def rename(self, name: str, other: str) -> None:
        with self.changed:
            self.containers[other] = self.containers.pop(name)

    def halt(self, container: Container) -> None:
        """End the container's program: what it had not ended with a newline is logged as it stands."""
        with self.changed:
            container.running = False
            for stream, rest in container.partial.items():
                if rest:
                    stamp = container.begun.get(stream) or container.clock()
                    container.messages.append((stamp, stream, rest))
            container.partial.clear()
            container.begun.clear()
            self.changed.notify_all()

    def begin(self, container: Container) -> None:
        with self.changed:
            container.running, container.started, container.ran = True, time.time_ns(), True
            self.changed.notify_all()

    def write(self, container: Container, data: bytes, stream: int = 1) -> None:
        if container.tty:
            data, stream = data.replace(b"\n", b"\r\n"), 1
        with self.changed:
            rest = container.partial.pop(stream, b"") + data
            while rest:
                end = rest.find(b"\n", 0, PIECE) + 1 or (PIECE if len(rest) >= PIECE else 0)
                if not end:
                    container.partial[stream] = rest
                    break
                stamp = container.begun.pop(stream, None) or container.clock()
                container.messages.append((stamp, stream, rest[:end]))
                if rest[end - 1 : end] != b"\n":  # the pieces of one line have one stamp
                    container.begun[stream] = stamp
                rest = rest[end:]
            self.changed.notify_all()

    def freeze_streams(self) -> None:
        """Let all streams under way stay open and say nothing more."""
        with self.changed:
            self._cut, self._frozen = self._cut + 1, True

    def cut_streams(self) -> None:
        """End all streams under way, without a word."""
        with self.changed:
            self._cut, self._frozen = self._cut + 1, False
            self.changed.notify_all()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    engine: FakeEngine

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(path, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections, as those of a daemon that is gone."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients go away in the middle of streams all the time


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    routes: ClassVar[dict[str, str]] = {"json": "_inspect", "logs": "_logs"}

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name for it
        pass

    def address_string(self) -> str:
        return "unix"

    def do_GET(self) -> None:
        engine = self.server.engine
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        with engine.changed:
            engine.requests.append(self.path)
        steps = [unquote(step) for step in parts.path.split("/") if step]
        if steps[0].startswith("v1."):
            steps = steps[1:]
        match steps:
            case ["version"]:
                self._json(200, {"ApiVersion": "1.41", "Version": "20.10.24"})
            case ["containers", name, what] if what in self.routes:
                self._container(name, what, query)
            case _:
                self._json(404, {"message": "page not found"})

    def _container(self, name: str, what: str, query: dict[str, str]) -> None:
        engine = self.server.engine
        if engine.refusal is not None:
            self._json(engine.refusal[0], {"message": engine.refusal[1]})
        elif (container := engine.containers.get(name)) is None:
            self._json(404, {"message": f"No such container: {name}"})
        elif what == "json":
            self._json(200, _facts(container))
        else:
            self._logs(container, query)

    def _json(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.docker.raw-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True  # unless the stream ends as it should

    def _chunk(self, data: bytes) -> None:
        for part in self.server.engine.split(b"%x\r\n%s\r\n" % (len(data), data)):
            self.wfile.write(part)

    def _logs(self, container: Container, query: dict[str, str]) -> None:
        engine = self.server.engine
        since, until = _nanoseconds(query.get("since", "0")), _nanoseconds(query.get("until", "0"))
        with engine.changed:
            cut = engine._cut
            sent = len(container.messages) - int(query["tail"]) if query.get("tail", "all") != "all" else 0
            sent = max(0, sent)
            old = len(container.messages)
        self._begin_stream()
        while True:
            with engine.changed:
                fresh = list(enumerate(container.messages))[sent:]
                over = query.get("follow", "0") == "0" or (container.ran and not container.running)
                if cut != engine._cut:
                    if not engine._frozen:
                        return
                    fresh, over = [], False
                if not fresh and not over:
                    engine.changed.wait(1.0)
                    continue
            for at, (stamp, stream, text) in fresh:
                lost = at >= old and at in container.dropped
                if stamp >= since and (not until or stamp <= until) and not lost:
                    self._chunk(_message(container, stamp, stream, text))
            sent += len(fresh)
            if over:
                self._chunk(b"")
                self.close_connection = False
                return


def _facts(container: Container) -> dict[str, Any]:
    return {
        "Id": container.identity,
        "Name": f"/{container.name}",
        "State": {"Running": container.running, "StartedAt": stamp_text(container.started)},
        "Config": {"Tty": container.tty},
        "HostConfig": {"LogConfig": container.log_config},
    }


def _nanoseconds(text: str) -> int:
    seconds, _, rest = text.partition(".")
    return int(seconds) * 10**9 + int(rest.ljust(9, "0")[:9])


def stamp_text(nanoseconds: int) -> str:
    whole = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09}Z"


def _message(container: Container, stamp: int, stream: int, text: bytes) -> bytes:
    body = stamp_text(stamp).encode() + b" " + text
    return body if container.tty else struct.pack(">BxxxL", stream, len(body)) + body
