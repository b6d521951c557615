"""The state's pauses of the generator, written as `run/pause.json`.

A pause ends by itself at its `until`, since a crash of the monitor must not leave the generator idle. A pause that the
state keeps may have no end.
"""

import logging
from collections.abc import Callable

from fleet.policy.state import FleetState, SwitchPhase
from fleet.policy.switch_phases import second_chance_at
from fleet.runtime.clock import Clock
from fleet.runtime.home import Home
from fleet.runtime.logging import fields
from fleet.runtime.pause_request import Pause, pause, read_pause, resume

_log = logging.getLogger(__name__)
_ATTEMPTS = 5
_STEPS = {SwitchPhase.TRIAL, SwitchPhase.RESTART}


def pause_of(state: FleetState, now: float) -> Pause | None:
    """Return the pause that a state requires now: one in force, a hold, or a model's second chance.

    A pause in force cuts the running calls. Its end is the latest end of all pauses in force.
    """
    paused = state.pauses(now)
    if paused:
        ends = [one.until for one in paused]
        known = [end for end in ends if end is not None]
        return Pause(max(known) if len(known) == len(ends) else None, paused[0].why, cut=True)
    if state.hold is not None and state.hold.active(now):
        return Pause(state.hold.until, state.hold.why)
    chance = second_chance_at(state)
    if chance is not None and now < chance:
        return Pause(chance, f"GPU memory may come back late; then {state.current_model} is tried once more")
    return None


def release_pause(home: Home, read: Callable[[], FleetState], clock: Clock) -> None:
    """Withdraw the pause of a step, and keep the one that the state requires; raise OSError.

    Another process may change the state and the file meanwhile: the state is read again after the file is written.
    """
    wanted = pause_of(read(), clock.time())
    for _ in range(_ATTEMPTS):
        if wanted is None:
            resume(home)
        else:
            _write(home, wanted, clock.time())
        before, wanted = wanted, pause_of(read(), clock.time())
        if wanted == before:
            return


def _write(home: Home, wanted: Pause, now: float) -> None:
    pause(home, since=now, until=wanted.until, why=wanted.why, cut=wanted.cut)


class Pauses:
    """Keeps the pause file in line with the state; a switch owns the pause from its trial to its restart.

    The first call also removes a file that an earlier process left.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._requested: Pause | None = None
        self._first = True

    def follow(self, state: FleetState, now: float) -> Pause | None:
        """Write or remove the pause file, and return the pause; after a failure the next call tries again."""
        wanted = pause_of(state, now)
        switching = state.switch is not None and state.switch.phase in _STEPS
        owned = self._requested is not None or self._first
        try:
            if wanted is not None and wanted != read_pause(self._home.pause_file, now):
                _write(self._home, wanted, now)
            elif wanted is None and owned and not switching:
                resume(self._home)
        except OSError as error:
            _log.error("pause.not_written", extra=fields(reason=error.strerror))
        else:
            self._requested, self._first = wanted, False
        return wanted
