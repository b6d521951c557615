"""The container's health check, `python -m fleet.startup.healthcheck`: quick and without side effects.

A fleet is healthy if each program is RUNNING and each heartbeat is on time. A program that hangs is RUNNING too. Ollama
is not checked, since a fleet that waits for Ollama works correctly.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from fleet.clients.supervisor import ProgramInfo, ProgramState, Supervisor
from fleet.runtime.errors import FleetError
from fleet.runtime.heartbeat import WITH_HEARTBEAT, heartbeat_fault, read_heartbeat
from fleet.runtime.home import Home, find_home
from fleet.runtime.units import Seconds

_TIMEOUT: Seconds = 5.0


def find_problems(
    programs: Sequence[ProgramInfo], beats: Mapping[str, Mapping[str, object] | None], now: float
) -> Iterator[str]:
    """Yield the problems of programs and heartbeats, a sentence each (pure)."""
    if not programs:
        yield "supervisord has no programs"
    for program in programs:
        if program.state is not ProgramState.RUNNING:
            yield f"{program.name} is {program.state.name}"
        elif program.name in beats:
            fault = heartbeat_fault(beats[program.name], now)
            if fault:
                yield f"{program.name} {fault}"


def check(home: Home, now: float) -> list[str]:
    """Return the problems of the fleet in this home."""
    try:
        programs = Supervisor(home.socket, timeout=_TIMEOUT).programs()
    except FleetError as error:
        return [error.message]
    parts = {one.name: one.name.partition("-") for one in programs}  # a lane's have its name: monitor-gpu1
    beats = {
        name: read_heartbeat(home.of_lane(lane), program)
        for name, (program, _, lane) in parts.items()
        if program in WITH_HEARTBEAT
    }
    return list(find_problems(programs, beats, now))


def main() -> int:
    """Print the problems or "healthy"; return 0 for a healthy fleet, else 1."""
    found = check(find_home(os.environ), time.time())
    sys.stdout.write("; ".join(found or ["healthy"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
