"""The pauses that the state asks of the generator, written as `run/pause.json`.

Each pause ends by itself at its `until`: a crash of the monitor must not leave the generator idle.
"""

import logging

from fleet.policy.state import FleetState, SwitchPhase
from fleet.policy.switch_phases import second_chance_at
from fleet.runtime.home import Home
from fleet.runtime.logging import fields
from fleet.runtime.pause_request import pause, resume

_log = logging.getLogger(__name__)


def pause_of(state: FleetState, now: float) -> tuple[float, str] | None:
    """Return end and reason of the pause that a state asks for now: a hold, or a model's second chance."""
    if state.hold is not None and state.hold.active(now):
        return state.hold.until, state.hold.why
    chance = second_chance_at(state)
    if chance is not None and now < chance:
        return chance, f"GPU memory may come back late; then {state.current_model} is tried once more"
    return None


class Pauses:
    """Keeps the pause file in line with the state; a switch owns the pause from its trial to its restart."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._requested: tuple[float, str] | None = None

    def follow(self, state: FleetState, now: float) -> None:
        """Write or remove the pause file; after a failure the next call tries again."""
        wanted = pause_of(state, now)
        switching = state.switch is not None and state.switch.phase in {
            SwitchPhase.TRIAL,
            SwitchPhase.RESTART,
        }
        try:
            if wanted is not None and wanted != self._requested:
                pause(self._home, since=now, until=wanted[0], why=wanted[1])
            elif wanted is None and self._requested is not None and not switching:
                resume(self._home)
        except OSError as error:
            _log.error("pause.not_written", extra=fields(reason=error.strerror))
            return
        self._requested = wanted
