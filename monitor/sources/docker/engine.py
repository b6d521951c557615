"""The Docker Engine's API for a log source, through docker-py: one container's state and log.

docker-py finds the daemon by DOCKER_HOST and its related variables. Requests name the container and never its id. A
proxy can therefore pass one container's state and log only.
"""

import contextlib
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from docker.api import APIClient
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env, parse_host
from urllib3.exceptions import HTTPError

from fleet.clients.http import UnixConnection
from fleet.runtime.untrusted import printable
from monitor.sources.base import MOST_LINES
from monitor.sources.docker.dedup import SECOND, STEP, earliest, parse_stamp

if TYPE_CHECKING:
    from docker.types import CancellableStream

TIMEOUT = 5
"""Seconds for the Engine to answer; a log stream has no time-out, because a log may be silent."""

_ITEMS = {False: MOST_LINES, True: 64 * 1024}
"""Items of a stream that wait at most, without and with a terminal: lines, or bytes."""


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
    """A container's description; `started` differs between runs."""

    identity: str
    started: str
    running: bool
    terminal: bool
    rotates: bool


class LogStream:
    """A followed log. docker-py's stream blocks without a time-out; a thread reads it, `read` has one."""

    def __init__(self, stream: "CancellableStream[bytes]", *, terminal: bool) -> None:
        self._stream = stream
        self._most = _ITEMS[terminal]
        self._items: list[bytes] = []
        self._over = False
        self._changed = threading.Condition()
        threading.Thread(target=self._receive, name="docker-log", daemon=True).start()

    def read(self, seconds: float) -> list[bytes] | None:
        """Return the next items: an empty list at the end, None if none come within the time."""
        with self._changed:
            if not self._items and not self._over:
                self._changed.wait(seconds)
            found, self._items = self._items, []
            self._changed.notify_all()
            return found if found or self._over else None

    def close(self) -> None:
        """End the stream; safe from any thread, more than once."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        # docker-py's `close` reads attributes that are gone after the stream's end.
        with contextlib.suppress(AttributeError, OSError, ValueError, DockerException):
            self._stream.close()

    def _receive(self) -> None:
        # docker-py ends its stream at most faults. A cut inside a frame's head is a struct.error, a cut of
        # TLS an error of urllib3. A terminal's stream raises errors of requests.
        with contextlib.suppress(
            struct.error, HTTPError, requests.RequestException, OSError, AttributeError, ValueError
        ):
            for item in self._stream:
                if not self._put(item):
                    return
        self.close()

    def _put(self, item: bytes) -> bool:
        with self._changed:
            while len(self._items) >= self._most and not self._over:
                self._changed.wait()
            if self._over:
                return False
            self._items.append(item)
            if len(self._items) == 1:
                self._changed.notify_all()
            return True


class DockerEngine:
    """A connection to the Engine; its methods raise EngineError."""

    def __init__(self) -> None:
        with _translated():
            settings = kwargs_from_env()
            scheme, _, path = str(parse_host(settings.get("base_url"))).partition("://")
            self._socket = path if scheme == "http+unix" else ""
            self._reach()
            self._api = APIClient(version="auto", timeout=TIMEOUT, **settings)

    def container(self, name: str) -> Container | None:
        """Return the container with this name, None if there is none."""
        try:
            with _translated():
                self._reach()
                facts = self._api.inspect_container(name)
            return parse_container(facts)
        except GoneError as error:
            if isinstance(error.__cause__, NotFound):
                return None
            raise
        except (KeyError, TypeError, AttributeError) as error:
            raise EngineError(
                f"the Engine's description of {name} is not understood", _HINT_ENGINE
            ) from error

    def log(self, container: Container, name: str, since: int) -> LogStream:
        """Return the container's log from a stamp on, or from a little earlier (`earliest`).

        The log of a running container is followed; the log of any other ends. A followed log of a container that was
        only created would hide its start.
        """
        stream = self._logs(name, stream=True, follow=container.running, since=_query(since))
        return LogStream(stream, terminal=container.terminal)

    def has_line(self, name: str, stamp: int) -> bool:
        """Return True if the log has a line with this stamp."""
        text: bytes = self._logs(name, since=_query(stamp), until=_query(stamp + STEP))
        return any(parse_stamp(line.partition(b" ")[0]) == stamp for line in text.splitlines())

    def last_stamp(self, name: str) -> int | None:
        """Return the stamp of the last line in the log, None if it is empty."""
        text: bytes = self._logs(name, tail=1)
        return parse_stamp(text.partition(b" ")[0])

    def close(self) -> None:
        """Close all connections."""
        self._api.close()

    def _logs(self, name: str, **options: Any) -> Any:
        with _translated():
            self._reach()
            return self._api.logs(name, timestamps=True, **options)

    def _reach(self) -> None:
        """Raise OSError if no daemon listens on the unix socket: docker-py would leave an open socket behind."""
        if self._socket:
            with contextlib.closing(UnixConnection(self._socket, TIMEOUT)) as connection:
                connection.connect()


def _query(stamp: int) -> float | None:
    """Return a time for docker-py, which refuses 0 and less; None asks for all."""
    return earliest(stamp) / SECOND if stamp >= STEP else None


def parse_container(facts: dict[str, Any]) -> Container:
    """Return a container from the Engine's JSON; raises KeyError, TypeError or AttributeError if it is none."""
    state = facts["State"]
    logging = (facts.get("HostConfig") or {}).get("LogConfig") or {}
    return Container(
        identity=str(facts["Id"]),
        started=str(state.get("StartedAt", "")),
        running=bool(state["Running"]),
        terminal=bool(facts["Config"]["Tty"]),
        rotates=logging.get("Type") == "local" or "max-size" in (logging.get("Config") or {}),
    )


_HINT_GONE = "`docker ps -a` shows the containers; the next one started under this name is followed."
_HINT_ENGINE = "Is DOCKER_HOST an Engine's address? `docker version` shows what answers there."


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise the errors of docker-py and requests as EngineError."""
    try:
        yield
    except APIError as error:
        raise _refused(error) from error
    except (DockerException, requests.RequestException, OSError, ValueError) as error:
        raise _unreachable(error) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise EngineError("the Engine's answer is not understood", _HINT_ENGINE) from error


def _refused(error: APIError) -> EngineError:
    """Return the EngineError of a refusal."""
    status = error.status_code
    message = printable(str(error.explanation or error), 300)
    if status in (requests.codes.not_found, requests.codes.conflict):
        return GoneError(f"the Engine refuses: {message}", _HINT_GONE)
    hint = _HINT_ENGINE
    if status in (requests.codes.forbidden, requests.codes.unauthorized):
        hint = "Let the proxy pass GET /containers/NAME/json and /containers/NAME/logs."
    elif "logging driver" in message:
        hint = "Give the container a log driver that can be read: json-file or local."
    return EngineError(f"the Engine refuses: {message}", hint)


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
