"""`python -m fleet.health`: whether a fleet works, for a container's health check; quick, and it changes nothing.

A fleet works when each of its programs is RUNNING and those that show signs of life show fresh ones: a program that
hangs is RUNNING all the same. Whether Ollama answers is not asked: a fleet that waits for it works as it should.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.errors import FleetError
from fleet.files import replace_text
from fleet.home import Home, find_home, read_json
from fleet.supervisor import ProgramInfo, ProgramState, Supervisor
from fleet.units import Seconds

LATE: Seconds = 30.0
"""How long after its time a sign of life may come: a busy machine is no fault."""

SHOW_LIFE = ("monitor", "generator")
"""The programs that show signs of life."""

_PATIENCE: Seconds = 5.0


class Pulse:
    """The signs of life of a program that has nothing else to tell: a file with the first, whose time is the last."""

    def __init__(self, home: Home, program: str, within: Seconds) -> None:
        self._path = home.heartbeat(program)
        self._within = within
        self._begun = False

    def beat(self, now: float) -> None:
        """Leave a sign of life, which says by when the next one comes; raise OSError."""
        if self._begun:
            with contextlib.suppress(OSError):  # writing it finds out
                os.utime(self._path, (now, now))
                return
        text = f'{{"pid": {os.getpid()}, "heartbeat": {now}, "next": {now + self._within}}}\n'
        replace_text(self._path, text)
        os.utime(self._path, (now, now))
        self._begun = True


def last_beat(home: Home, program: str) -> dict[str, Any] | None:
    """Return what a program's heartbeat file says, moved on to the time of the file; None if there is none."""
    path = home.heartbeat(program)
    row = read_json(path)
    first, due = (row or {}).get("heartbeat"), (row or {}).get("next")
    if row is None or not isinstance(first, (int, float)) or not isinstance(due, (int, float)):
        return row
    try:
        later = path.stat().st_mtime - first
    except OSError:
        return row
    return {**row, "heartbeat": first + later, "next": due + later}


def problems(
    programs: Sequence[ProgramInfo], beats: Mapping[str, Mapping[str, object] | None], now: float
) -> Iterator[str]:
    """Yield what is wrong, a sentence each: of every program, and of the signs of life that were looked for (pure)."""
    if not programs:
        yield "supervisord has no programs"
    for program in programs:
        if program.state is not ProgramState.RUNNING:
            yield f"{program.name} is {program.state.name}"
        elif program.name in beats:
            silent = silence(beats[program.name], now)
            if silent:
                yield f"{program.name} {silent}"


def silence(beat: Mapping[str, object] | None, now: float) -> str:
    """Return what is wrong with a program's sign of life, empty for a fresh one; one from the future is fresh."""
    last = (beat or {}).get("heartbeat")
    due = (beat or {}).get("next", last)
    if not isinstance(last, (int, float)) or not isinstance(due, (int, float)):
        return "has shown no sign of life"
    return f"has shown no sign of life for {now - last:.0f} s" if now > due + LATE else ""


def look(home: Home, now: float) -> list[str]:
    """Return what is wrong with the fleet of this home."""
    try:
        programs = Supervisor(home.socket, timeout=_PATIENCE).programs()
    except FleetError as error:
        return [error.message]
    beats = {name: last_beat(home, name) for name in SHOW_LIFE}
    return list(problems(programs, beats, now))


def main() -> int:
    """Print what was found; return 0 for a fleet that works, else 1."""
    found = look(find_home(os.environ), time.time())
    sys.stdout.write("; ".join(found or ["healthy"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
