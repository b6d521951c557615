"""Waits for changes of the file at a path, or its replacement, with inotify."""

import contextlib
import ctypes
import errno
import os
import struct
import sys
import time
from collections import deque
from pathlib import Path

from monitor.sources.base import Wakeup

MODIFY, ATTRIB, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, IGNORED = 0x400, 0x800, 0x8000

FILE_CHANGES = MODIFY | ATTRIB | DELETE_SELF | MOVE_SELF
FOLDER_CHANGES = CREATE | MOVED_FROM | MOVED_TO | DELETE | DELETE_SELF | MOVE_SELF

_HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_BUFFER = 64 * 1024


class Inotify:
    """One inotify instance; raises OSError if the kernel provides none, or not on Linux."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "inotify exists only on Linux")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self, path: Path, mask: int) -> int:
        """Watch the file at the path; a second watch on it is the same one. Raises OSError."""
        return self._checked(self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), mask))

    def unwatch(self, watch: int) -> None:
        """Stop watching; a watch that ended with its file's deletion is ignored."""
        self._libc.inotify_rm_watch(self.descriptor, watch)

    def read(self) -> list[tuple[int, int, bytes]]:
        """Return (watch, mask, name) of each event since the last call, without waiting.

        `name` is the changed entry of a watched folder, empty for the watched file itself.
        """
        try:
            data = os.read(self.descriptor, _BUFFER)
        except BlockingIOError:
            return []
        events, at = [], 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size + length
            events.append((watch, mask, data[at - length : at].rstrip(b"\0")))
        return events

    def close(self) -> None:
        """Close the instance."""
        os.close(self.descriptor)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result


POLL = 0.05
"""Seconds between two checks without inotify."""

_FILES = 2  # the file that is followed, and its replacement
_LOST = DELETE_SELF | MOVE_SELF | IGNORED


class Watcher:
    """Watches the file at a path and its folder; without inotify it polls every POLL seconds."""

    def __init__(self, path: Path, wakeup: Wakeup) -> None:
        self._path = path
        self._name = os.fsencode(path.name)
        self._wakeup = wakeup
        self._folder: int | None = None
        self._files: deque[int] = deque()
        self._inotify: Inotify | None = None
        with contextlib.suppress(OSError):
            self._inotify = Inotify()

    def arm(self) -> None:
        """Watch the file that is at the path now; any change from here on ends the next `wait`."""
        if self._inotify is None:
            return
        if self._folder is None:
            with contextlib.suppress(OSError):
                self._folder = self._inotify.watch(self._path.parent, FOLDER_CHANGES)
        with contextlib.suppress(OSError):
            self._add(self._inotify, self._inotify.watch(self._path, FILE_CHANGES))

    def wait(self, seconds: float, *, poll: float = POLL) -> bool:
        """Sleep until a change, at most this long; return False if inotify reported none.

        Without inotify, sleep for `poll` and return True.
        """
        if self._inotify is None or self._folder is None:
            self._wakeup.sleep(min(seconds, poll))
            return True
        end = time.monotonic() + seconds
        while self._wakeup.wait(self._inotify.descriptor, end - time.monotonic()):
            if self._concerned(self._inotify.read()):
                return True
        return False

    def _concerned(self, events: list[tuple[int, int, bytes]]) -> bool:
        """Return True if an event concerns the file; others of its folder are ignored."""
        found = False
        for watch, mask, name in events:
            if watch == self._folder and mask & _LOST:
                self._folder = None
            found = found or watch != self._folder or name == self._name
        return found

    def distrust(self) -> None:
        """Poll from now on if the file changed and inotify reported nothing.

        This happens on network file systems and in shared folders of some virtual machines.
        """
        if self._inotify is not None and not self._inotify.read():
            self.close()

    def close(self) -> None:
        """Close inotify."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _add(self, inotify: Inotify, watch: int) -> None:
        if watch in self._files:
            return
        self._files.append(watch)
        if len(self._files) > _FILES:
            inotify.unwatch(self._files.popleft())
