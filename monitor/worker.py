"""The thread that carries out what takes time: switches, and bringing the generator to what is wanted."""

import logging
import threading
from collections.abc import Callable

from fleet.errors import FleetError, SupervisorError
from fleet.events import EventKind
from fleet.home import read_json
from fleet.logs import fields
from fleet.model import FleetState, Phase
from fleet.supervisor import ProgramState
from fleet.units import Seconds
from monitor.reconcile import LOOPS_FROM, Remedy, Seen, Verdict, judge, request_limit, revive_after
from monitor.restarting import GENERATOR, Generator, started_at, switches_of
from monitor.switcher import Parts, Switcher

_log = logging.getLogger(__name__)
_RETRY: tuple[Seconds, ...] = (1.0, 2.0, 5.0, 15.0, 30.0)
_FIRST_LOOK = 0.7
"""When the first look of its own comes, as a part of the interval: not when the loop's and the other threads' do."""


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
        self._thread = threading.Thread(target=self._run, name="switch", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the state now."""
        self._wake.set()

    def stop(self) -> None:
        """End; a step that is under way is resumed by the next monitor."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        clock, part = self._parts.clock, _FIRST_LOOK
        while not self._stopping.is_set():
            if not clock.wait(self._wake, self._patience(part)):
                part = 1.0
            self._wake.clear()
            if not self._stopping.is_set():
                self._work()

    def _patience(self, part: float) -> Seconds:
        if self._failures:
            return _RETRY[min(self._failures, len(_RETRY)) - 1]
        return part * self._parts.settings.policy.check_interval

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

    def _reconcile(self, state: FleetState) -> None:
        try:
            seen = self._seen()
        except SupervisorError as error:
            _log.warning("reconcile.skipped", extra=fields(reason=error.message))
            return
        self._tell_of_loop()
        longest = request_limit(self._parts.settings.ollama.first_token_timeout)
        verdict = judge(state, seen, self._parts.clock.time(), longest=longest)
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
        """Look at the generator; what its file says of an earlier process is not this one's."""
        program = self._generator.info()
        row = read_json(self._parts.home.generator_file) or {}
        if row.get("pid") != program.pid:
            row = {}
        return Seen(
            program,
            switches_of(program.pid),
            _moment(row.get("heartbeat")),
            started_at(program.pid, self._parts.clock.time()),
            _moment(row.get("request_since")),
        )

    def _tell_of_loop(self) -> None:
        """Say once that the generator dies again and again; its launcher counts, and brakes it."""
        quick = (read_json(self._parts.home.starts_file) or {}).get("quick")
        loops = isinstance(quick, int) and quick >= LOOPS_FROM
        if loops and not self._loops:
            self._tell(EventKind.GENERATOR_DOWN, "it ends soon after each start; see log/generator.log")
        self._loops = loops

    def _settle(self, seen: Seen) -> None:
        steady = (seen.heartbeat or 0.0) - (seen.started or seen.heartbeat or 0.0) > revive_after(0)
        if steady:
            self._revived = 0

    def _revive(self, verdict: Verdict) -> None:
        now = self._parts.clock.monotonic()
        if now < self._revive_at:
            return
        self._revive_at = now + revive_after(self._revived)
        self._revived += 1
        self._tell(EventKind.GENERATOR_DOWN, verdict.reason)
        self._parts.home.starts_file.unlink(missing_ok=True)
        self._parts.supervisor.start(GENERATOR)

    def _restart(self, state: FleetState, verdict: Verdict) -> None:
        with self._switcher.lock():
            if self._parts.store.read().switches != state.switches:
                return
            kind = EventKind.GENERATOR_HUNG if verdict.hangs else EventKind.GENERATOR_STALE
            self._tell(kind, verdict.reason)
            self._generator.replace()

    def _tell(self, kind: EventKind, reason: str) -> None:
        now = self._parts.clock.time()
        self._parts.store.update(lambda state: state.tell(now, kind, reason=reason))


def _moment(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
