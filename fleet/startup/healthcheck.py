"""`python -m fleet.startup.healthcheck`: the container's health check, quick and without side effects.

A fleet works when each of its programs is RUNNING and those that show signs of life show fresh ones: a program that
hangs is RUNNING all the same. Whether Ollama answers is not asked: a fleet that waits for it works as it should.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from fleet.clients.supervisor import ProgramInfo, ProgramState, Supervisor
from fleet.runtime.errors import FleetError
from fleet.runtime.heartbeat import SHOW_LIFE, last_beat, silence
from fleet.runtime.home import Home, find_home
from fleet.runtime.units import Seconds

_PATIENCE: Seconds = 5.0


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
