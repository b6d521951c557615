"""The thread that carries out what takes time: switches, and bringing the generator to what is wanted."""

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState, Phase
from fleet.runtime.errors import FleetError, SupervisorError
from fleet.runtime.home import read_json
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite
from monitor.switching.executor import Parts, Switcher
from monitor.switching.generator_process import GENERATOR, Generator, birthday, born, switches_of
from monitor.watch.generator import (
    LOOPS_FROM,
    GeneratorVerdict,
    Remedy,
    Seen,
    generator_verdict,
    request_limit,
    revive_after,
)

_log = logging.getLogger(__name__)
_RETRY: tuple[Seconds, ...] = (1.0, 2.0, 5.0, 15.0, 30.0)
_UNASKED = 10
"""When it looks unasked, in intervals: the loop looks in each, unless something keeps it for as long."""


@dataclass(frozen=True, slots=True)
class _Process:
    """The generator's process that supervisord told of as running: by its birth nobody else's, and on which switch."""

    program: ProgramInfo
    birth: int
    switches: int


class SwitchWorker:
    """Carries out the switch of the state whenever it is woken, and again with back-off where that failed."""

    def __init__(self, parts: Parts, switcher: Switcher, *, after: Callable[[], None]) -> None:
        self._parts = parts
        self._switcher = switcher
        self._after = after
        self._generator = Generator(parts.supervisor, parts.clock)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._loops = False
        self._exited = False
        self._revived = 0
        self._revive_at = 0.0
        self._process: _Process | None = None
        self._thread = threading.Thread(target=self._run, name="switch", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the state now."""
        self._wake.set()

    def look(self) -> None:
        """Have it work unless all goes on as is wanted; that is seen from a few small files, in the caller's thread."""
        with contextlib.suppress(Exception):  # the work finds out, and says so
            if self._goes_on(self._parts.store.read()):
                return
        self._wake.set()

    def stop(self) -> None:
        """End; a step that is under way is resumed by the next monitor."""
        self._stopping.set()
        self._switcher.stop()
        self._wake.set()

    def join(self, seconds: Seconds) -> None:
        """Wait until it has ended, so that a trial that is cut leaves neither a pause nor a model behind."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._parts.clock.wait(self._wake, self._patience())
            self._wake.clear()
            if not self._stopping.is_set():
                self._work()

    def _patience(self) -> Seconds:
        if self._failures:
            return _RETRY[min(self._failures, len(_RETRY)) - 1]
        return _UNASKED * self._parts.settings.policy.check_interval

    def _work(self) -> None:
        """Do what is due, and have the loop look at the state where that has changed it."""
        before: FleetState | None = None
        try:
            before = self._parts.store.read()
            state = self._switcher.carry_out()
            failed = state.switch is not None and state.switch.phase is Phase.RESTART
            self._failures = self._failures + 1 if failed else 0
            if not failed:
                self._reconcile(state)
        except FleetError as error:
            self._failures += 1
            _log.warning("switch.waits", extra=fields(reason=error.message, attempt=self._failures))
        except Exception:  # noqa: BLE001  # atop the loop: what nobody foresaw is logged and tried again
            self._failures += 1
            _log.exception("switch.broken", extra=fields(attempt=self._failures))
        if before is None or self._has_changed(before):
            self._after()

    def _has_changed(self, before: FleetState) -> bool:
        try:
            return self._parts.store.read() != before
        except FleetError:
            return True

    # Reconciliation

    def _goes_on(self, state: FleetState) -> bool:
        """Tell whether the process that supervisord told of still runs, as is wanted, and shows that it lives.

        So it is at almost every look, and supervisord has nothing to add: only where there is no process any more can
        its word call for something. Nothing is changed here.
        """
        process = self._process
        busy = state.switch is not None and state.switch.phase is not Phase.VERIFY
        if process is None or busy or self._failures or self._revived or self._seems_to_loop() != self._loops:
            return False
        if born(process.program.pid) != process.birth:
            return False
        seen = self._shown(process.program, process.birth, process.switches)
        return self._judged(state, seen).remedy is Remedy.NOTHING

    def _reconcile(self, state: FleetState) -> None:
        try:
            seen = self._seen()
        except SupervisorError as error:
            _log.warning("reconcile.skipped", extra=fields(reason=error.message))
            return
        self._tell_of_loop()
        verdict = self._judged(state, seen)
        passing = seen.program.state is ProgramState.EXITED and not self._exited
        self._exited = seen.program.state is ProgramState.EXITED
        if passing:
            return  # supervisord starts it again within a second; one that is found so twice it does not
        if verdict.remedy is Remedy.NOTHING:
            self._settle(seen)
        elif verdict.remedy is Remedy.START:
            self._revive(verdict)
        else:
            self._restart(state, verdict)

    def _seen(self) -> Seen:
        """Ask supervisord, and look at the process that it tells of."""
        program = self._generator.info()
        birth = born(program.pid)
        switches = switches_of(program.pid)
        self._process = None
        if program.state is ProgramState.RUNNING and birth is not None and switches is not None:
            self._process = _Process(program, birth, switches)
        return self._shown(program, birth, switches)

    def _shown(self, program: ProgramInfo, birth: int | None, switches: int | None) -> Seen:
        """Return what the generator shows; what its file says of an earlier process is not this one's."""
        row = read_json(self._parts.home.generator_file) or {}
        if row.get("pid") != program.pid:
            row = {}
        started = None if birth is None else birthday(birth, self._parts.clock.time())
        heartbeat, request = finite(row.get("heartbeat")), finite(row.get("request_since"))
        return Seen(program, switches, heartbeat, started, request)

    def _judged(self, state: FleetState, seen: Seen) -> GeneratorVerdict:
        longest = request_limit(self._parts.settings.ollama.first_token_timeout)
        return generator_verdict(state, seen, self._parts.clock.time(), longest=longest)

    def _tell_of_loop(self) -> None:
        """Say once that the generator dies again and again; its launcher counts, and brakes it."""
        loops = self._seems_to_loop()
        if loops and not self._loops:
            self._tell(EventKind.GENERATOR_DOWN, "it ends soon after each start; see log/generator.log")
        self._loops = loops

    def _seems_to_loop(self) -> bool:
        quick = (read_json(self._parts.home.starts_file) or {}).get("quick")
        return isinstance(quick, int) and quick >= LOOPS_FROM

    def _settle(self, seen: Seen) -> None:
        steady = (seen.heartbeat or 0.0) - (seen.started or seen.heartbeat or 0.0) > revive_after(0)
        if steady:
            self._revived = 0

    def _revive(self, verdict: GeneratorVerdict) -> None:
        now = self._parts.clock.monotonic()
        if now < self._revive_at:
            return
        self._revive_at = now + revive_after(self._revived)
        self._revived += 1
        self._tell(EventKind.GENERATOR_DOWN, verdict.reason)
        self._parts.home.starts_file.unlink(missing_ok=True)
        self._parts.supervisor.start(GENERATOR)

    def _restart(self, state: FleetState, verdict: GeneratorVerdict) -> None:
        with self._switcher.lock():
            if self._parts.store.read().switches != state.switches:
                return
            kind = EventKind.GENERATOR_HUNG if verdict.hangs else EventKind.GENERATOR_STALE
            self._tell(kind, verdict.reason)
            self._generator.replace()

    def _tell(self, kind: EventKind, reason: str) -> None:
        now = self._parts.clock.time()
        self._parts.store.update(lambda state: state.tell(now, kind, reason=reason))
