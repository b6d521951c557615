"""A program's place under its supervisor: it dies with it, and there is never a second one of it."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.errors import FleetError
from fleet.home import Home

if TYPE_CHECKING:
    from filelock import FileLock

_PR_SET_PDEATHSIG = 1


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
    predecessor that is just ending.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  # 44 ms that a reader of the state never needs

    lock = FileLock(path, timeout=1.0, fallback_to_soft=False)
    try:
        lock.acquire(poll_interval=0.01)
    except Timeout as error:
        raise FleetError(
            f"another {program} holds {path}",
            hint="Two of them would work against each other; stop the other.",
        ) from error
    return lock
