"""The forms of Ollama's log: slog lines, access lines, and the runner's raw ones. Pure but for `Log`.

The lines of each era stand in `standin.dialects.new` and `standin.dialects.old`.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from standin.forms.go_format import quoted, show_latency

_BARE = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/:+*,[]{}()%@!&|<>?#~^;$\\'"
)


@dataclass(frozen=True, slots=True)
class Slog:
    """A structured line before it has its time."""

    level: str
    source: str
    message: str
    fields: tuple[tuple[str, object], ...] = ()


Line: TypeAlias = str | Slog


def slog(level: str, source: str, message: str, **fields: object) -> Slog:
    """Return a structured line; a double underscore in a field's name stands for a dot."""
    return Slog(
        level, source, message, tuple((key.replace("__", "."), value) for key, value in fields.items())
    )


def render(line: Line, now_ns: int) -> str:
    """Return the text of a line at a time in Unix nanoseconds."""
    if isinstance(line, str):
        return line
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ns // 10**9))
    head = f"time={stamp}.{now_ns // 10**6 % 1000:03d}Z level={line.level} source={line.source}"
    pairs = (("msg", line.message), *line.fields)
    return " ".join([head, *(f"{key}={_value(value)}" for key, value in pairs)])


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if text and _BARE.issuperset(text) else quoted(text)


def access(now_ns: int, *, status: int, latency_ns: int, client: str, method: str, path: str) -> str:
    """Return GIN's line of a finished request."""
    stamp = time.strftime("%Y/%m/%d - %H:%M:%S", time.gmtime(now_ns // 10**9))
    latency = show_latency(latency_ns)
    return f"[GIN] {stamp} | {status:3d} | {latency:>13} | {client:>15} | {method:<7}  {quoted(path)}"


class Log:
    """The log. It writes whole batches, so that the lines of two requests never mix."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lock = threading.Lock()

    def say(self, lines: Iterable[Line]) -> None:
        """Write lines with the time of now."""
        now = time.time_ns()
        text = [render(line, now) for line in lines]
        with self._lock:
            for line in text:
                self._write(line)

    def access(self, *, status: int, latency_ns: int, client: str, method: str, path: str) -> None:
        """Write a finished request's line."""
        now = time.time_ns()
        self.say([access(now, status=status, latency_ns=latency_ns, client=client, method=method, path=path)])
