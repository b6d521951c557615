"""Asking the generator to pause: `run/pause.json`, which ends by itself at its `until`.

A pause is bounded in time, so that no crash of whoever asked for it leaves the generator idle for good.
"""

import logging

from fleet.policy.state import FleetState, Phase
from fleet.policy.switch_phases import second_chance_at
from fleet.runtime.home import Home
from fleet.runtime.logging import fields
from fleet.runtime.pause_request import pause, resume

_log = logging.getLogger(__name__)


def pause_of(state: FleetState, now: float) -> tuple[float, str] | None:
    """Return until when and why a state has the generator pause now: a hold, or a model's second chance."""
    if state.hold is not None and state.hold.active(now):
        return state.hold.until, state.hold.why
    chance = second_chance_at(state)
    if chance is not None and now < chance:
        return chance, f"GPU memory may come back late; then {state.current_model} is asked once more"
    return None


class Pauses:
    """Keeps the pause file as the state has it; the pause from a trial to the restart is left to the switch."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._asked: tuple[float, str] | None = None

    def follow(self, state: FleetState, now: float) -> None:
        """Ask for the state's pause, or end the one that was asked for; what fails is tried again at the next look."""
        wanted = pause_of(state, now)
        theirs = state.switch is not None and state.switch.phase in {Phase.TRIAL, Phase.RESTART}
        try:
            if wanted is not None and wanted != self._asked:
                pause(self._home, since=now, until=wanted[0], why=wanted[1])
            elif wanted is None and self._asked is not None and not theirs:
                resume(self._home)
        except OSError as error:
            _log.error("pause.not_written", extra=fields(reason=error.strerror))
            return
        self._asked = wanted
