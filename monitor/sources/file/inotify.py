"""Linux tells when a file or a folder changes: inotify(7) through the C library, nothing else.

Chosen over a package: it is five calls, and what the monitor imports at rest costs memory.
"""

import ctypes
import errno
import os
import struct
import sys
from pathlib import Path

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
