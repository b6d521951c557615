"""Sleeping until the file at a path changes, also when another takes its place."""

import contextlib
import ctypes
import errno
import os
import struct
import sys
import time
from collections import deque
from pathlib import Path

from monitor.sources.wakeup import Wakeup

MODIFY, ATTRIB, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, IGNORED = 0x400, 0x800, 0x8000

FILE_CHANGES = MODIFY | ATTRIB | DELETE_SELF | MOVE_SELF
FOLDER_CHANGES = CREATE | MOVED_FROM | MOVED_TO | DELETE | DELETE_SELF | MOVE_SELF

_HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_BUFFER = 64 * 1024


class Inotify:
    """One inotify instance; raises OSError where the kernel has none to give (or this is not Linux)."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "inotify is Linux's")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self, path: Path, mask: int) -> int:
        """Watch what the path leads to; the same file watched twice is one watch. Raises OSError."""
        return self._checked(self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), mask))

    def unwatch(self, watch: int) -> None:
        """Stop watching; nothing happens if the watch is gone already, as it is when its file was deleted."""
        self._libc.inotify_rm_watch(self.descriptor, watch)

    def read(self) -> list[tuple[int, int, bytes]]:
        """Return (watch, mask, name) of all that happened since the last call, without waiting.

        The name is that of what changed in a folder, empty for what is watched itself.
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
        """Give the instance back to the kernel."""
        os.close(self.descriptor)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result


POLL = 0.05
"""Seconds between two looks where the kernel does not tell of changes."""

_FILES = 2  # the file that is followed, and the one that takes its place
_LOST = DELETE_SELF | MOVE_SELF | IGNORED


class Watcher:
    """Watches the file at a path and its folder; looks every POLL seconds where inotify cannot be had."""

    def __init__(self, path: Path, waker: Wakeup) -> None:
        self._path = path
        self._name = os.fsencode(path.name)
        self._waker = waker
        self._folder: int | None = None
        self._files: deque[int] = deque()
        self._inotify: Inotify | None = None
        with contextlib.suppress(OSError):
            self._inotify = Inotify()

    def arm(self) -> None:
        """Watch what stands at the path now; whatever happens from here on ends the next `wait`."""
        if self._inotify is None:
            return
        if self._folder is None:
            with contextlib.suppress(OSError):
                self._folder = self._inotify.watch(self._path.parent, FOLDER_CHANGES)
        with contextlib.suppress(OSError):
            self._add(self._inotify, self._inotify.watch(self._path, FILE_CHANGES))

    def wait(self, seconds: float, *, poll: float = POLL) -> bool:
        """Sleep until something changes, at most this long; return False if the kernel says it did not.

        Where the kernel cannot say, it sleeps for `poll` and returns True.
        """
        if self._inotify is None or self._folder is None:
            self._waker.sleep(min(seconds, poll))
            return True
        end = time.monotonic() + seconds
        while self._waker.wait(self._inotify.descriptor, end - time.monotonic()):
            if self._concerned(self._inotify.read()):
                return True
        return False

    def _concerned(self, events: list[tuple[int, int, bytes]]) -> bool:
        """Tell whether any of this is about the file; much else may happen in its folder."""
        found = False
        for watch, mask, name in events:
            if watch == self._folder and mask & _LOST:
                self._folder = None
            found = found or watch != self._folder or name == self._name
        return found

    def distrust(self) -> None:
        """Look every POLL seconds from now on, if it is so that the file changed and the kernel said nothing.

        So it is on network file systems, and in some virtual machines' shared folders.
        """
        if self._inotify is not None and not self._inotify.read():
            self.close()

    def close(self) -> None:
        """Give back what the kernel lent."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _add(self, inotify: Inotify, watch: int) -> None:
        if watch in self._files:
            return
        self._files.append(watch)
        if len(self._files) > _FILES:
            inotify.unwatch(self._files.popleft())
