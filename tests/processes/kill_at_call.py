"""Dying at a chosen call: a child process whose N-th call to the file system or a socket is its last.

The fault point is injected by the test; the code that dies knows nothing of it.
"""

import fcntl
import io
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

FILE_CALLS: tuple[tuple[Any, str], ...] = (
    (os, "open"),
    (os, "link"),
    (os, "fsync"),
    (os, "replace"),
    (os, "unlink"),
    (os, "pread"),
    (io, "open"),
)
ALL_CALLS = (
    *FILE_CALLS,
    (fcntl, "flock"),
    (socket.socket, "connect"),
    (socket.socket, "sendall"),
    (socket.socket, "recv_into"),
    (socket.socket, "shutdown"),
)


class Killer:
    """Replaces what reaches out of the process, and ends it at the chosen call, before or after it."""

    def __init__(self, at: int, *, after: bool, calls: tuple[tuple[Any, str], ...] = FILE_CALLS) -> None:
        self._left = at
        self._after = after
        self._calls = calls

    def arm(self) -> None:
        """Begin to count."""
        for module, name in self._calls:
            setattr(module, name, self._wrapped(getattr(module, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **keywords: Any) -> Any:
            self._left -= 1
            now = self._left == 0
            if now and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*arguments, **keywords)
            finally:
                if now:
                    os.kill(os.getpid(), signal.SIGKILL)

        return counted


def in_child(work: Callable[[], object]) -> int:
    """Do the work in a process of its own and return its wait status; 0 if it came to its end."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]
