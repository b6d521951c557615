"""Progress of the pull under way: `run/pull.json`, rewritten by the program that pulls and read by all views."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.home import Home, read_json
from fleet.runtime.units import Bytes, Seconds, show_duration, show_size
from fleet.runtime.untrusted import finite, printable, whole_number

STANDS_STILL: Seconds = 10.0
"""Time without a new byte after which a pull stands still."""
_STALE: Seconds = 30.0
"""A running pull rewrites the file each second; after this time without a rewrite its program hangs or is gone."""


@dataclass(frozen=True, slots=True)
class RunningPull:
    """A pull under way: bytes, bytes a second, and the Unix seconds of its start and its last new byte.

    `total_bytes` grows with the layers that become known. `still_seconds` is set once the pull stands still.
    """

    model: str
    completed_bytes: Bytes
    total_bytes: Bytes
    bytes_per_second: int
    since: float
    moved: float
    still_seconds: Seconds | None = None

    @property
    def text(self) -> str:
        """Return the progress as a person reads it."""
        done = f"{show_size(self.completed_bytes)} of {show_size(self.total_bytes)}"
        if self.still_seconds is not None:
            return f"{done}, stands still for {show_duration(self.still_seconds)}"
        rate, left = self.bytes_per_second, self.total_bytes - self.completed_bytes
        time_left = show_duration(left / rate) if rate > 0 and self.total_bytes else "unknown"
        return f"{done}, {show_size(rate)}/s, {time_left} left"


def write_pull(home: Home, pull: RunningPull, now: float) -> None:
    """Write the progress for the views; raise OSError."""
    row = {**asdict(pull), "at": now, "pid": os.getpid()}
    replace_text(home.pull_file, json.dumps(row) + "\n")


def pull_ended(home: Home) -> None:
    """Remove the progress; a file that cannot be removed is stale soon."""
    with contextlib.suppress(OSError):
        home.pull_file.unlink()


def read_pull(home: Home, now: float) -> RunningPull | None:
    """Return the pull under way; None if there is none, or its program has ended."""
    row = read_json(home.pull_file) or {}
    at, since, moved = (finite(row.get(name)) for name in ("at", "since", "moved"))
    done, total, rate, pid = (
        whole_number(row.get(name)) for name in ("completed_bytes", "total_bytes", "bytes_per_second", "pid")
    )
    if at is None or since is None or moved is None or done is None or total is None or rate is None:
        return None
    if now - at > _STALE or not pid or not Path(f"/proc/{pid}").exists():
        return None
    still = max(now - moved, 0.0)
    return RunningPull(
        model=printable(str(row.get("model", ""))),
        completed_bytes=done,
        total_bytes=total,
        bytes_per_second=rate,
        since=since,
        moved=moved,
        still_seconds=still if still >= STANDS_STILL else None,
    )
