"""The generator as a program under supervisord: the switch that it runs on, and its restart on another model.

A restart waits for a program in STOPPING. A program that a person stopped meanwhile stays stopped. A program that does
not come up is reported with its state in supervisord.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet.clients.supervisor import ProgramInfo, ProgramState, Supervisor
from fleet.runtime.clock import Clock
from fleet.runtime.errors import SupervisorAwayError, SupervisorError
from fleet.runtime.home import process_environ
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import whole_number

GENERATOR = "generator"
_UP_WITHIN: Seconds = 5.0
_ENDED_WITHIN: Seconds = 30.0
_POLL: Seconds = 0.005
_REAP_POLL: Seconds = 0.002
_PROCESS_CHECK: Seconds = 0.1
_GRACE: Seconds = 4.0
"""Time for the generator to end after SIGTERM, as `stopwaitsecs` in supervisord.conf; then it is killed."""

_NOT_UP = {
    ProgramState.FATAL: "it died at each start and supervisord gave up (FATAL)",
    ProgramState.BACKOFF: "it dies as soon as it starts (BACKOFF)",
    ProgramState.EXITED: "it ended right after its start (EXITED)",
    ProgramState.STOPPING: "the old process does not end (STOPPING)",
    ProgramState.STARTING: "it is started and does not show its model yet (STARTING)",
    ProgramState.RUNNING: "it runs on another model",
}


@dataclass(frozen=True, slots=True)
class Start:
    """The result of a restart: the new generator's `pid`, or the `failure`; `stopped`: a person has stopped it."""

    pid: int = 0
    failure: str = ""
    stopped: bool = False


class Generator:
    """Handle on the generator's program. Raises SupervisorAwayError if supervisord does not answer."""

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._never = threading.Event()

    def info(self) -> ProgramInfo:
        """Return supervisord's information on the program; raise SupervisorError."""
        return self._supervisor.program(GENERATOR)

    def stopped_by_a_person(self) -> bool:
        """Return True if a person has stopped the program; False if supervisord does not answer."""
        try:
            return self.info().state is ProgramState.STOPPED
        except SupervisorError:
            return False  # the restart meets the same error and reports it

    def start(self) -> None:
        """Start the program without waiting for it; raise SupervisorError."""
        self._supervisor.start(GENERATOR)

    def restart(
        self, switches: int, *, between: Callable[[], None], unwanted: Callable[[], bool] = lambda: False
    ) -> Start:
        """Stop the program, call `between`, start it, and wait until it is up; return refusals as a failure.

        A generator that already runs for this switch, left by an interrupted restart, stays. `unwanted` ends the wait.
        """
        try:
            info = self.info()
            if info.state.up and switches_of(info.pid) == switches:
                return Start(pid=info.pid)
            if not self._stop(info.pid):
                return Start(failure=_NOT_UP[ProgramState.STOPPING])
            between()
            self._supervisor.start(GENERATOR)
            return self._up(switches, unwanted)
        except SupervisorAwayError:
            raise
        except SupervisorError as error:
            return Start(failure=error.message)

    def replace(self) -> None:
        """Signal the program to end, for a restart by supervisord; kill it if it does not end in time.

        A stop followed by a start would pass through STOPPED. A crash of the monitor at that moment would leave the
        generator looking as if a person had stopped it.
        """
        old = self.info().pid
        if not old:
            return
        self._supervisor.signal(GENERATOR, "TERM")
        end = self._clock.monotonic() + _GRACE
        while self._clock.monotonic() < end:
            if self.info().pid != old:
                return
            self._clock.wait(self._never, 10 * _POLL)
        self._supervisor.signal(GENERATOR, "KILL")

    def _stop(self, pid: int) -> bool:
        """Stop the program and wait for its end, also during another's stop: a start before the end has no effect.

        The wait is on the process itself. supervisord's own wait polls, on a core that the generator needs to end.
        Asking supervisord afterwards makes it reap the process.
        """
        self._supervisor.stop(GENERATOR, wait=False)
        end = self._clock.monotonic() + _ENDED_WITHIN
        _await_end(pid, _ENDED_WITHIN)
        pause = _REAP_POLL
        while self.info().state is ProgramState.STOPPING:
            if self._clock.monotonic() > end:
                return False
            self._clock.wait(self._never, pause)
            pause = min(2 * pause, 10 * _POLL)
        return True

    def _up(self, switches: int, unwanted: Callable[[], bool]) -> Start:
        end = self._clock.monotonic() + _UP_WITHIN
        while True:
            info = self.info()
            if self._comes_up(info, switches):
                return Start(pid=info.pid)
            if info.state is ProgramState.STOPPED:
                return Start(stopped=True)
            if info.state is ProgramState.FATAL or self._clock.monotonic() > end or unwanted():
                return Start(failure=_NOT_UP.get(info.state, f"it is {info.state.name}"))
            self._clock.wait(self._never, _POLL)

    def _comes_up(self, info: ProgramInfo, switches: int) -> bool:
        """Watch the process for a moment without asking supervisord, which is busy starting it."""
        end = self._clock.monotonic() + _PROCESS_CHECK
        while info.state.up and info.pid and self._clock.monotonic() < end:
            shown = switches_of(info.pid)
            if shown == switches:
                return True
            if shown is None and not Path(f"/proc/{info.pid}").exists():
                return False
            self._clock.wait(self._never, _POLL)
        return False


def _await_end(pid: int, seconds: Seconds) -> None:
    """Wait for the end of a process; return at once if the system has no pidfd."""
    try:
        descriptor = os.pidfd_open(pid) if pid > 0 else None
    except (OSError, AttributeError):  # the process has ended, or this is not Linux
        return
    if descriptor is None:
        return
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        ended.poll(1000 * seconds)
    finally:
        os.close(descriptor)


def switches_of(pid: int) -> int | None:
    """Return the number of the switch that a generator was started for, None if unknown."""
    value = process_environ(pid).get("FLEET_SWITCHES", "") if pid > 0 else ""
    return whole_number(value) if value.isdigit() else None


def started_at(pid: int, now: float) -> float | None:
    """Return when a process began (Unix seconds, to a hundredth); None if it has ended or cannot be read."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        ticks = None if after_name[0] in {b"Z", b"X"} else int(after_name[19])
    except (OSError, ValueError, IndexError):
        return None
    if ticks is None:
        return None
    return now - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
