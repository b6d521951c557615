"""A program's place under its supervisor and among others, and what it owes them.

It dies with its supervisor, there is never a second one, it steps back where it computes, and no search for garbage keeps
it from hearing a signal while it is set up.
"""

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
_PATIENCE: Seconds = 1.0

_MODEST = 5
"""The niceness of what computes for long; other programs of this machine have none."""


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; Linux only, elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def is_orphan(home: Home, environ: Mapping[str, str]) -> bool:
    """Tell whether the supervisord that started this program is gone already.

    The death signal covers what comes after it is asked for; this covers the moment before.
    """
    if "SUPERVISOR_ENABLED" not in environ:
        return False
    try:
        supervisor = int(home.pid_file.read_text())
    except (OSError, ValueError):
        return False
    return os.getppid() != supervisor


def hold_for_life(path: Path, program: str) -> "FileLock":
    """Take a program's lock and keep it until the process ends; raise FleetError if another holds it.

    The kernel lets go of the lock when the process dies, however it dies. One second of patience covers a
    predecessor that is just ending; one that hangs and whose supervisord is gone is killed.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  # 44 ms that a reader of the state never needs

    lock = FileLock(path, timeout=_PATIENCE, fallback_to_soft=False)
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
            hint="Two of them would work against each other; stop the other.",
        ) from error
    return lock


def _end_orphan(path: Path) -> bool:
    """Kill what holds a lock though its supervisord is gone; tell whether there was any.

    The death signal is SIGTERM, which a program that hangs does not act on: it would keep its lock, and with
    it every successor from starting. Only a program that supervisord started judges so.
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
    """Return the process that holds a lock on a file, by /proc/locks; None if none does or it is not told."""
    try:
        inode = f":{path.stat().st_ino}"
        rows = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for row in rows:
        parts = row.split()
        if parts[1:2] == ["FLOCK"] and parts[5].endswith(inode) and int(parts[4]) > 0:
            return int(parts[4])
    return None


def parent_of(pid: int) -> int | None:
    """Return a process's parent, None if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def step_back() -> None:
    """Let this thread, and those that it starts, leave the cores to whoever else wants them; Linux only.

    An evaluation takes every core for seconds. What waits for a moment of one, a monitor that acts on a failure or
    the person at the machine, then has it at once.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _MODEST)


def collect_later(after: Seconds) -> None:
    """Search for cyclic garbage only after a while, and then not among what was there by then.

    What a program imports first of all makes many objects that live as long as it does. A search through numba's takes
    a tenth of a second, in which no thread runs and no signal is heard, and searches while it is imported find nothing.
    """
    gc.disable()
    timer = threading.Timer(after, _collect_from_now)
    timer.daemon = True
    timer.start()


def _collect_from_now() -> None:
    gc.freeze()
    gc.enable()
