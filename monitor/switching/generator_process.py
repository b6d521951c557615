"""The generator as a program under supervisord: which model it runs on, and bringing it to another one.

supervisord's states are told apart here: a program that is still ending is waited for, one that a person
stopped meanwhile stays stopped, and one that does not come up is described by the state it is left in.
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
_REAPED: Seconds = 0.002
_LOOKS_FOR: Seconds = 0.1
_GRACE: Seconds = 4.0
"""How long a generator has to end after SIGTERM: as `stopwaitsecs`, after which supervisord kills it."""

_NOT_UP = {
    ProgramState.FATAL: "supervisord has given it up, for it died at each start (FATAL)",
    ProgramState.BACKOFF: "it dies as soon as it starts (BACKOFF)",
    ProgramState.EXITED: "it ended by itself as soon as it had started (EXITED)",
    ProgramState.STOPPING: "the old one does not end (STOPPING)",
    ProgramState.STARTING: "it was started and does not show its model yet (STARTING)",
    ProgramState.RUNNING: "it runs on another model",
}


@dataclass(frozen=True, slots=True)
class Start:
    """How a restart ended: `pid` of the new generator, or why there is none; `stopped` by a person."""

    pid: int = 0
    failure: str = ""
    stopped: bool = False


class Generator:
    """The generator, as one who switches handles it. Raises SupervisorAwayError where supervisord is away."""

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._never = threading.Event()

    def info(self) -> ProgramInfo:
        """Return it as supervisord sees it; raise SupervisorError."""
        return self._supervisor.program(GENERATOR)

    def stopped_by_a_person(self) -> bool:
        """Tell whether somebody stopped it; False where supervisord does not say."""
        try:
            return self.info().state is ProgramState.STOPPED
        except SupervisorError:
            return False  # the restart finds out, and says so

    def restart(
        self, switches: int, *, between: Callable[[], None], unwanted: Callable[[], bool] = lambda: False
    ) -> Start:
        """Stop it, do what has to be done in between, and start it; all refusals but absence are told.

        One that runs on it already, for a switch that was broken off, stays. One that does not come up is waited
        for only while it is wanted.
        """
        try:
            info = self.info()
            if _is_up(info, switches):
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
        """End it so that supervisord starts it anew by itself; killed if it does not end in time.

        Unlike a stop and a start there is no moment in between at which it looks stopped by a person, so that
        a crash of whoever does this leaves nothing to be mended.
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
        """Stop it, or wait for one that somebody else is stopping: starting it now would do nothing.

        It is the process that is waited for: supervisord would ask itself all the while whether it has ended, on
        a core that the generator needs to end. The question after that is what makes it look.
        """
        self._supervisor.stop(GENERATOR, wait=False)
        end = self._clock.monotonic() + _ENDED_WITHIN
        _await_end(pid, _ENDED_WITHIN)
        pause = _REAPED
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
        """Look at a process for a while, without asking supervisord each time: both have better things to do."""
        end = self._clock.monotonic() + _LOOKS_FOR
        while info.state.up and info.pid and self._clock.monotonic() < end:
            shown = switches_of(info.pid)
            if shown == switches:
                return True
            if shown is None and not Path(f"/proc/{info.pid}").exists():
                return False
            self._clock.wait(self._never, _POLL)
        return False


def _await_end(pid: int, seconds: Seconds) -> None:
    """Wait until a process has ended, where the system can tell of it."""
    try:
        descriptor = os.pidfd_open(pid) if pid > 0 else None
    except (OSError, AttributeError):  # it is gone, or this is no Linux
        return
    if descriptor is None:
        return
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        ended.poll(1000 * seconds)
    finally:
        os.close(descriptor)


def _is_up(info: ProgramInfo, switches: int) -> bool:
    return info.state.up and switches_of(info.pid) == switches


def switches_of(pid: int) -> int | None:
    """Return the number of the switch that a generator was started for, None if it cannot be seen."""
    value = process_environ(pid).get("FLEET_SWITCHES", "") if pid > 0 else ""
    return whole_number(value) if value.isdigit() else None


def born(pid: int) -> int | None:
    """Return when a process began, in ticks since the machine's start; None if it has ended or cannot be seen.

    Pid and birth name a process for good; a pid alone may be another's by now.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123  # asked at each look, and this is half of it
            told = stream.read().rpartition(b")")[2].split()
        return None if told[0] in {b"Z", b"X"} else int(told[19])
    except (OSError, ValueError, IndexError):
        return None


def started_at(pid: int, now: float) -> float | None:
    """Return when a process began (Unix seconds, to a hundredth), None if it has ended or cannot be seen."""
    birth = born(pid)
    return None if birth is None else birthday(birth, now)


def birthday(ticks: int, now: float) -> float:
    """Return ticks since the machine's start as Unix seconds, to a hundredth."""
    return now - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
