"""The switch thread: carries out switches and reconciles the generator with the state."""

import logging
import threading
from collections.abc import Callable

from fleet.clients.supervisor import ProgramState
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState, SwitchPhase
from fleet.runtime.backoff import backoff_step
from fleet.runtime.errors import FleetError, OllamaError, SupervisorError
from fleet.runtime.home import read_json
from fleet.runtime.logging import fields
from fleet.runtime.pause_request import is_idle
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite
from monitor.parts import Parts
from monitor.switching.executor import Switcher
from monitor.switching.freeing import free_gpu, must_free, with_freed
from monitor.switching.generator_process import GENERATOR, Generator, started_at, switches_of
from monitor.watch.generator import (
    LOOPS_FROM,
    REVIVE_STEPS,
    GeneratorVerdict,
    Remedy,
    Seen,
    generator_verdict,
    request_limit,
)

_log = logging.getLogger(__name__)
_RETRY: tuple[Seconds, ...] = (1.0, 2.0, 5.0, 15.0, 30.0)


class SwitchWorker:
    """Carries out the state's switch when woken, with back-off after failures; reconciles every check interval."""

    def __init__(self, parts: Parts, switcher: Switcher, *, after: Callable[[], None]) -> None:
        self._parts = parts
        self._switcher = switcher
        self._after = after
        self._generator = Generator(parts.supervisor, parts.clock)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._crash_loop = False
        self._exited = False
        self._revived = 0
        self._revive_at = 0.0
        self._thread = threading.Thread(target=self._run, name="switch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Check the state now."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread; the next monitor resumes the step that is under way."""
        self._stopping.set()
        self._switcher.stop()
        self._wake.set()

    def join(self, seconds: Seconds) -> None:
        """Wait for its end: a trial that is cut must still remove its pause and its model."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._parts.clock.wait(self._wake, self._patience())
            self._wake.clear()
            if not self._stopping.is_set():
                self._work()

    def _patience(self) -> Seconds:
        if self._failures:
            return backoff_step(_RETRY, self._failures)
        return self._parts.settings.policy.check_interval

    def _work(self) -> None:
        """Do what is due; nudge the loop if that has changed the state."""
        before: FleetState | None = None
        try:
            before = self._parts.store.read()
            state = self._switcher.carry_out()
            failed = state.switch is not None and state.switch.phase is SwitchPhase.RESTART
            self._failures = self._failures + 1 if failed else 0
            if not failed:
                self._free(state)
                self._reconcile(state)
        except FleetError as error:
            self._failures += 1
            _log.warning("switch.waits", extra=fields(reason=error.message, attempt=self._failures))
        except Exception:  # noqa: BLE001  # atop the loop: an unforeseen fault is logged and tried again
            self._failures += 1
            _log.exception("switch.broken", extra=fields(attempt=self._failures))
        if before is None or self._has_changed(before):
            self._after()

    def _has_changed(self, before: FleetState) -> bool:
        try:
            return self._parts.store.read() != before
        except FleetError:
            return True

    def _free(self, state: FleetState) -> None:
        """Free the GPU for a pause, and note it in the state: once, so that another client may load what it likes."""
        clock, home = self._parts.clock, self._parts.home
        if not must_free(state, clock.time()):
            return
        kept = free_gpu(
            self._parts.ollama,
            self._parts.ladder,
            state.current_model,
            clock,
            idle=lambda: is_idle(read_json(home.generator_file) or {}, clock.time()),
        )
        if kept:
            raise OllamaError(
                f"Ollama still lists {', '.join(kept)} during a pause", hint="Another client may use it."
            )
        self._parts.store.update(
            lambda state: with_freed(state, now) if must_free(state, now := clock.time()) else state
        )

    # Reconciliation

    def _reconcile(self, state: FleetState) -> None:
        try:
            seen = self._seen()
        except SupervisorError as error:
            _log.warning("reconcile.skipped", extra=fields(reason=error.message))
            return
        self._report_crash_loop()
        verdict = self._judged(state, seen)
        passing = seen.program.state is ProgramState.EXITED and not self._exited
        self._exited = seen.program.state is ProgramState.EXITED
        if passing:
            return  # supervisord restarts it within a second; found exited twice in a row, it stays down
        if verdict.remedy is Remedy.NOTHING:
            self._note_steady(seen)
        elif verdict.remedy is Remedy.START:
            self._revive(verdict)
        else:
            self._restart(state, verdict)

    def _seen(self) -> Seen:
        """Return what supervisord, the process's environment and the generator's own file show."""
        program = self._generator.info()
        row = read_json(self._parts.home.generator_file) or {}
        if row.get("pid") != program.pid:
            row = {}  # an earlier process wrote it
        started = started_at(program.pid, self._parts.clock.time())
        heartbeat, request = finite(row.get("heartbeat")), finite(row.get("request_since"))
        return Seen(program, switches_of(program.pid), heartbeat, started, request)

    def _judged(self, state: FleetState, seen: Seen) -> GeneratorVerdict:
        longest = request_limit(self._parts.settings.ollama.first_token_timeout)
        return generator_verdict(state, seen, self._parts.clock.time(), longest=longest)

    def _report_crash_loop(self) -> None:
        """Emit one event when the generator begins to die soon after each start; its launcher counts the starts."""
        loops = self._is_crash_loop()
        if loops and not self._crash_loop:
            self._emit(EventKind.GENERATOR_DOWN, "it ends soon after each start; see log/generator.log")
        self._crash_loop = loops

    def _is_crash_loop(self) -> bool:
        quick = (read_json(self._parts.home.starts_file) or {}).get("quick")
        return isinstance(quick, int) and quick >= LOOPS_FROM

    def _note_steady(self, seen: Seen) -> None:
        """Reset the back-off of revivals once the generator has lived long enough."""
        steady = (seen.heartbeat or 0.0) - (seen.started or seen.heartbeat or 0.0) > REVIVE_STEPS[0]
        if steady:
            self._revived = 0

    def _revive(self, verdict: GeneratorVerdict) -> None:
        now = self._parts.clock.monotonic()
        if now < self._revive_at:
            return
        self._revived += 1
        self._revive_at = now + backoff_step(REVIVE_STEPS, self._revived)
        self._emit(EventKind.GENERATOR_DOWN, verdict.reason)
        self._parts.home.starts_file.unlink(missing_ok=True)
        self._parts.supervisor.start(GENERATOR)

    def _restart(self, state: FleetState, verdict: GeneratorVerdict) -> None:
        with self._switcher.lock():
            if self._parts.store.read().switches != state.switches:
                return
            kind = EventKind.GENERATOR_HUNG if verdict.hangs else EventKind.GENERATOR_STALE
            self._emit(kind, verdict.reason)
            self._generator.replace()

    def _emit(self, kind: EventKind, reason: str) -> None:
        now = self._parts.clock.time()
        self._parts.store.update(lambda state: state.with_event(now, kind, reason=reason))
