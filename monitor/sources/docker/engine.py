"""The Docker Engine's API for a log source: one container's state, log and events.

docker-py finds the daemon by DOCKER_HOST and its related variables. Requests name the container and never its id, so
that a proxy can pass one container's state and log and nothing else. Log streams are read from the socket in large
pieces, because docker-py reads each frame's header by itself at several times the cost of a line.
"""

import contextlib
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from docker.errors import DockerException

from fleet.runtime.untrusted import finite, parse_json, whole_number
from monitor.sources.docker.client import open_client
from monitor.sources.docker.dedup import last_stamp, to_query
from monitor.sources.docker.frames import BrokenStreamError, Dechunker, Frames, Terminal
from monitor.sources.wakeup import Wakeup

TIMEOUT = 5.0
"""Seconds for the Engine to answer; a log stream has no time-out, because a log may be silent."""

_BUFFER = 48 * 1024  # a stamped line takes some 50 bytes: at most MOST_LINES of them
_EVENTS = '{"type":["container"],"event":["start","rename"]}'
_LOGS: dict[str, str | int] = {"stdout": 1, "stderr": 1, "timestamps": 1}
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class EngineError(Exception):
    """The Engine cannot be reached or refuses a request; `hint` names the remedy."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class GoneError(EngineError):
    """The container is removed or being removed; another may take its name."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container's description.

    `rotates_at` is the size in bytes at which its log is rotated, None for never. `started` differs between runs.
    """

    identity: str
    started: str
    running: bool
    terminal: bool
    rotates_at: int | None


class LogStream:
    """The body of an answer without an end; read by one thread."""

    def __init__(self, response: requests.Response, wakeup: Wakeup) -> None:
        self._response = response
        self._wakeup = wakeup
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        self._chunks = Dechunker() if chunked else None
        raw: Any = response.raw
        reader = raw._fp.fp  # noqa: SLF001  # http.client's buffered reader, as docker-py gets it
        self._socket: socket.socket = reader.raw._sock  # noqa: SLF001  # see above
        self._socket.setblocking(False)  # noqa: FBT003  # the standard library's signature
        _keep_alive(self._socket)
        self._early = b""
        with contextlib.suppress(OSError):  # the next read meets the error too
            self._early = reader.read1(_BUFFER) or b""  # what came with the headers
        self._buffer = memoryview(bytearray(_BUFFER))

    def read(self, seconds: float | None) -> bytes | None:
        """Return the next bytes: empty at the end, None if none come within the time or the wakeup is set.

        Raises BrokenStreamError.
        """
        while not (self._chunks is not None and self._chunks.ended):
            data = self._receive(seconds)
            if not data:
                return data
            content = data if self._chunks is None else self._chunks.feed(data)
            if content:
                return content
        return b""

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._socket.close()

    def _receive(self, seconds: float | None) -> bytes | None:
        if self._early:
            data, self._early = self._early, b""
            return data
        while True:
            try:
                size = self._socket.recv_into(self._buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                if not self._wakeup.wait(self._socket.fileno(), seconds):
                    return None
            except OSError:
                return b""  # cut off; the caller finds out why
            else:
                return bytes(self._buffer[:size])


class DockerEngine:
    """A connection to the Engine; its methods raise EngineError."""

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        try:
            self._api, self._url = open_client(TIMEOUT)
        except (DockerException, requests.RequestException, ValueError, OSError) as error:
            raise _unreachable(error) from error

    def container(self, name: str) -> Container | None:
        """Return the container with this name, None if there is none."""
        reply = self._get(name, "json")
        if reply.status_code == requests.codes.not_found:
            return None
        _check(reply)
        try:
            return parse_container(parse_json(reply.content))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(
                f"the Engine's description of {name} is not understood", _HINT_ENGINE
            ) from error

    def follow(self, name: str, since: int) -> LogStream:
        """Return the container's log from a stamp on, and follow it."""
        return self._logs(name, since=to_query(since), follow=1)

    def between(self, name: str, since: int, until: int | None) -> LogStream:
        """Return the log from one stamp to another, or to its end (None)."""
        end = {} if until is None else {"until": to_query(until)}
        return self._logs(name, since=to_query(since), **end)

    def last_stamp(self, name: str, *, terminal: bool) -> int | None:
        """Return the stamp of the last line in the log, None if it is empty."""
        reply = self._get(name, "logs", {**_LOGS, "tail": 1})
        _check(reply)
        messages = Terminal() if terminal else Frames()
        try:
            regions = [*messages.feed(reply.content), *messages.finish()]
        except BrokenStreamError as error:
            raise EngineError(f"the Engine's answer is not understood: {error}", _HINT_ENGINE) from error
        return last_stamp(regions[-1]) if regions else None

    def events(self) -> LogStream:
        """Return the stream of events: starts and renames of containers."""
        return self._stream(f"{self._url}/events", {"filters": _EVENTS})

    def close(self) -> None:
        """Close all connections."""
        self._api.close()

    def _logs(self, name: str, **params: str | int) -> LogStream:
        url = f"{self._url}/containers/{quote(name, safe='')}/logs"
        return self._stream(url, {**_LOGS, **params})

    def _stream(self, url: str, params: dict[str, str | int]) -> LogStream:
        try:
            response = self._api.get(url, params=params, stream=True, timeout=TIMEOUT)
        except (requests.RequestException, OSError) as error:
            raise _unreachable(error) from error
        try:
            if not response.ok:
                _check(response)
            return LogStream(response, self._wakeup)
        except EngineError:
            response.close()
            raise
        except (AttributeError, OSError) as error:  # the connection is closed already
            response.close()
            raise _unreachable(error) from error

    def _get(self, name: str, what: str, params: dict[str, str | int] | None = None) -> requests.Response:
        url = f"{self._url}/containers/{quote(name, safe='')}/{what}"
        try:
            return self._api.get(url, params=params, timeout=TIMEOUT)
        except (requests.RequestException, OSError) as error:
            raise _unreachable(error) from error


def parse_container(facts: dict[str, Any]) -> Container:
    """Return a container from the Engine's JSON; raises KeyError, TypeError or AttributeError if it is none."""
    state = facts["State"]
    logging = (facts.get("HostConfig") or {}).get("LogConfig") or {}
    return Container(
        identity=str(facts["Id"]),
        started=str(state.get("StartedAt", "")),
        running=bool(state["Running"]),
        terminal=bool(facts["Config"]["Tty"]),
        rotates_at=rotation_size(str(logging.get("Type", "")), logging.get("Config") or {}),
    )


_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def rotation_size(driver: str, options: dict[str, str]) -> int | None:
    """Return the size at which a log driver begins a new file, None if never; the defaults are Docker's."""
    text = options.get("max-size", "20m" if driver == "local" else "").strip().lower()
    number = text.rstrip("bkmgti")
    unit = text[len(number) :].rstrip("b").rstrip("i")
    size = whole_number((finite(number) or 0.0) * _UNITS.get(unit, 0))
    return size if size is not None and size >= 1 else None


_HINT_GONE = "`docker ps -a` shows the containers; the next one started under this name is followed."
_HINT_ENGINE = "Is DOCKER_HOST an Engine's address? `docker version` shows what answers there."


def _check(reply: requests.Response) -> None:
    """Raise EngineError for a refusal."""
    status = reply.status_code
    if status < requests.codes.bad_request:
        return
    try:
        message = str(parse_json(reply.content)["message"])
    except (ValueError, KeyError, TypeError):
        message = reply.reason or str(status)
    if status in (requests.codes.not_found, requests.codes.conflict):
        raise GoneError(f"the Engine refuses: {message[:300]}", _HINT_GONE)
    hint = _HINT_ENGINE
    if status in (requests.codes.forbidden, requests.codes.unauthorized):
        hint = "Let the proxy pass GET /containers/NAME/json and /containers/NAME/logs."
    elif "logging driver" in message:
        hint = "Give the container a log driver that can be read: json-file or local."
    raise EngineError(f"the Engine refuses: {message[:300]}", hint)


def _unreachable(error: Exception) -> EngineError:
    """Return the EngineError of a failed connection."""
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return EngineError(
            "no permission to use the Docker socket",
            "Add the user that the monitor runs as to the socket's group, or set DOCKER_HOST to a proxy.",
        )
    if isinstance(error, requests.Timeout) or "timed out" in text.lower():
        return EngineError(
            "the Docker daemon does not answer", "If `docker version` hangs too, restart the daemon."
        )
    return EngineError(
        "the Docker daemon cannot be reached",
        "Is it running, and DOCKER_HOST right? In a container, mount the socket's folder: "
        "a socket mounted by itself goes stale when the daemon restarts.",
    )


def _keep_alive(connection: socket.socket) -> None:
    """Switch on TCP keep-alive, so that the kernel notices a peer that vanished; unix sockets need none."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
