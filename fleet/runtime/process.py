"""Process set-up of the fleet's programs: parent-death signal, program lock, priority, garbage collection."""

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.runtime.errors import FleetError
from fleet.runtime.home import Home
from fleet.runtime.units import Seconds

if TYPE_CHECKING:
    from filelock import FileLock

_PR_SET_PDEATHSIG = 1
_LOCK_TIMEOUT: Seconds = 1.0
_LOCKS = Path("/proc/locks")

_NICENESS = 5
"""Niceness of long computations; the machine's other programs have 0."""


def require_linux() -> None:
    """Raise FleetError on another system: a restart identifies and awaits the generator by /proc and pidfd."""
    if sys.platform != "linux":
        raise FleetError(
            f"a fleet needs Linux, and this system is {sys.platform}",
            hint="On Windows use WSL 2; elsewhere run it in a container (docs/docker.md).",
        )


def end_with_parent() -> None:
    """Request SIGTERM from the kernel when the parent dies; does nothing outside Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def is_orphan(home: Home, environ: Mapping[str, str]) -> bool:
    """Return True if the supervisord that started this program has ended.

    The parent-death signal covers only a death after its request; this check covers an earlier one.
    """
    if "SUPERVISOR_ENABLED" not in environ:
        return False
    try:
        supervisor = int(home.pid_file.read_text())
    except (OSError, ValueError):
        return False
    return os.getppid() != supervisor


def hold_program_lock(path: Path, program: str) -> "FileLock":
    """Return a program's lock, held until the process ends; raise FleetError if another process holds it.

    The kernel releases the lock at any death of the process. The wait of one second covers a predecessor that is
    ending. A holder that hangs and has lost its supervisord is killed.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  # the import takes 44 ms, which readers of the state save

    lock = FileLock(path, timeout=_LOCK_TIMEOUT, fallback_to_soft=False)
    try:
        try:
            lock.acquire(poll_interval=0.01)
        except Timeout:
            if not _end_orphan(path):
                raise
            lock.acquire(poll_interval=0.01)
    except Timeout as error:
        raise FleetError(
            f"another {program} holds {path}",
            hint="Stop the other one: two of them would work against each other.",
        ) from error
    return lock


def _end_orphan(path: Path) -> bool:
    """Kill the holder of a lock if its supervisord has ended; return True if there was one.

    The parent-death signal is SIGTERM, which a hanging program does not handle. It would keep its lock and prevent
    every successor from starting. Only a program that supervisord started can judge this: its own parent is the
    reference.
    """
    if "SUPERVISOR_ENABLED" not in os.environ:
        return False
    holder = lock_holder(path)
    if holder is None or holder == os.getpid() or parent_of(holder) in {None, os.getppid()}:
        return False
    with contextlib.suppress(OSError):
        os.kill(holder, signal.SIGKILL)
    return True


def lock_holder(path: Path) -> int | None:
    """Return the pid of the holder of a lock on a file by /proc/locks, None without a known holder."""
    try:
        inode = f":{path.stat().st_ino}"
        rows = _LOCKS.read_text().splitlines()
    except OSError:
        return None
    for row in rows:
        parts = row.split()
        flock = parts[1:2] == ["FLOCK"] and parts[5].endswith(inode)
        if flock and int(parts[4]) > 0 and _has_open(int(parts[4]), path):
            return int(parts[4])
    return None


def _has_open(pid: int, path: Path) -> bool:
    """Return True if a process has a file open. A file of another file system may have the same inode number."""
    try:
        opened = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for one in opened:
        with contextlib.suppress(OSError):  # closed meanwhile
            if one.samefile(path):
                return True
    return False


def parent_of(pid: int) -> int | None:
    """Return the pid of a process's parent, None if the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def lower_priority() -> None:
    """Lower the scheduling priority of this thread and of the threads that it starts; Linux only.

    An evaluation uses every core for seconds. The monitor and interactive programs still get a core at once. A fleet
    that was started with a lower priority keeps it: an ordinary user is not allowed to raise it.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
            os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)


def delay_garbage_collection(after: Seconds) -> None:
    """Disable cyclic garbage collection for `after` seconds; later collections skip the objects made until then.

    Imports make many objects that live as long as the process. A collection through numba's objects stops every thread
    and all signal handling for a tenth of a second. During imports a collection finds nothing.
    """
    gc.disable()
    timer = threading.Timer(after, _collect_from_now)
    timer.daemon = True
    timer.start()


def _collect_from_now() -> None:
    gc.freeze()
    gc.enable()
