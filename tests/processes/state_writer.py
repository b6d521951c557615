"""A program that changes a fleet's state again and again, for tests that run several and kill them.

    python tests/processes/state_writer.py HOME COUNT

It says a line when it is ready, begins at a line from its input, and says the number of each change that it
was told is done.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fleet.config.schema import SEED_LADDER
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import Home
from state.store import StateStore


def main() -> None:
    """Make the changes that the command line asks for."""
    home, count = Home(Path(sys.argv[1])), int(sys.argv[2])
    store, clock, name = (
        StateStore(home, SEED_LADDER, timeout=60),
        SystemClock(),
        os.getpid(),
    )
    _say("ready")
    sys.stdin.readline()
    for number in range(count):

        def change(state: FleetState, number: int = number) -> FleetState:
            state = replace(state, switches=state.switches + 1)
            return state.with_event(clock.time(), EventKind.LADDER_CHANGED, reason=f"{name}:{number}")

        store.update(change)
        _say(f"{number}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
