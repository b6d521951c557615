"""`[ollama] on_hang`: the user's own command against an Ollama that hangs, at most twice an hour."""

import logging
import shlex
import subprocess
import threading

from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.clock import Clock
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds, show_duration
from monitor.inbox import HangCommandBegins, Post, Reported

_log = logging.getLogger(__name__)
MOST_IN_AN_HOUR = 2
_HOUR: Seconds = 3600.0
_TIMEOUT: Seconds = 120.0
_POLL: Seconds = 0.1


def recent_runs(state: FleetState, now: float) -> list[float]:
    """Return when the command ran within the last hour; a time in the future counts as now."""
    times = state.watch.get("on_hang")
    known = [time for time in times if isinstance(time, (int, float))] if isinstance(times, list) else []
    return [time for time in known if now - min(time, now) < _HOUR]


class HangCommand:
    """Runs the command without a shell, and posts that it begins and how it ends."""

    def __init__(self, command: str, *, clock: Clock, post: Post, stopping: threading.Event) -> None:
        self._command = command
        self._clock = clock
        self._post = post
        self._stopping = stopping

    def run(self, state: FleetState) -> None:
        """Run the command if Ollama hangs by the state, unless it has run twice within the hour.

        The state records the run before its beginning: a crash of the monitor causes no third run.
        """
        if not self._command or state.unanswered is None or not state.unanswered.hangs:
            return  # a call was answered meanwhile
        if len(recent_runs(state, self._clock.time())) >= MOST_IN_AN_HOUR:
            outcome = f"not run: it has run {MOST_IN_AN_HOUR} times within the hour"
        else:
            self._post(HangCommandBegins())
            outcome = self._outcome()
        _log.warning("on_hang.ended", extra=fields(outcome=outcome))
        self._post(Reported(EventKind.ON_HANG, {"outcome": outcome}))

    def _outcome(self) -> str:
        """Run the command; return its outcome.

        A stopping monitor leaves it running: half a restart is worse than a late one.
        """
        try:
            process = subprocess.Popen(  # the user's own command, without a shell
                shlex.split(self._command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "its quotes do not match"
            return f"it cannot be started: {reason}"
        end = self._clock.monotonic() + _TIMEOUT
        while process.poll() is None:
            if self._stopping.is_set() or self._clock.monotonic() > end:
                threading.Thread(target=process.wait, daemon=True).start()  # its exit leaves no zombie
                return f"it has not ended within {show_duration(_TIMEOUT)}, and goes on"
            self._clock.wait(self._stopping, _POLL)
        return f"it ended with exit status {process.returncode}"
