"""The job of the switch thread: carries out the state's switch, then reconciles the generator with the state."""

import logging
from dataclasses import replace

from fleet.clients.supervisor import ProgramState
from fleet.policy.caps import must_free
from fleet.policy.events import EventKind
from fleet.policy.facts import UnloadBegins
from fleet.policy.state import FleetState, SwitchPhase
from fleet.runtime.backoff import backoff_step
from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError, OllamaError, SwitchError
from fleet.runtime.home import read_json
from fleet.runtime.logging import fields
from fleet.runtime.pause_request import is_idle
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite
from monitor.inbox import GeneratorRuns, GpuFreed, Post, Reported
from monitor.models.pull import PullWatch
from monitor.switching.executor import Switcher
from monitor.switching.freeing import free_gpu
from monitor.switching.generator_process import switches_of
from monitor.watch.generator import (
    LOOPS_FROM,
    REVIVE_STEPS,
    WORKS_FROM,
    GeneratorVerdict,
    Remedy,
    Seen,
    generator_verdict,
    request_limit,
)

_log = logging.getLogger(__name__)


class _Unchanged:
    """The age of an unchanged value, in monotonic seconds.

    Neither a suspended machine nor a set clock makes it longer. After both, a healthy generator's last heartbeat and
    running call look hours old.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._value: object = None
        self._since = 0.0

    def seconds(self, value: object) -> Seconds:
        """Return the seconds since the value was first given in a row, 0 for another one than last time."""
        now = self._clock.monotonic()
        if value != self._value:
            self._value, self._since = value, now
        return now - self._since


class SwitchJob:
    """Does the due steps of a switch; without a switch, compares the running generator with the state."""

    def __init__(self, switcher: Switcher, post: Post) -> None:
        self._switcher = replace(switcher, bar=self._during_pull)
        self._post = post
        self._clock = switcher.clock
        self._home = switcher.home
        self._settings = switcher.settings
        self._generator = switcher.generator
        self._crash_loop = False
        self._exited = False
        self._hangs = 0
        self._process, self._beat, self._call = (_Unchanged(self._clock) for _ in range(3))
        self._revived = 0
        self._revive_at = 0.0
        self._next_look = 0.0

    def __call__(self) -> Seconds:
        """Return the seconds until the next comparison; raise FleetError for another try sooner."""
        state = self._switcher.carry_out()
        if self._switcher.stopping.is_set():
            return 0.0
        if state.switch is not None and state.switch.phase is SwitchPhase.RESTART:
            raise SwitchError(f"the generator does not come up on {state.current_model}")
        self._free(state)
        self._reconcile(state)
        return self._settings.policy.check_interval

    def _during_pull(self, _: PullWatch) -> None:
        """Do the same at intervals of a pull, which may take hours: the generator mines on its old model meanwhile."""
        now = self._clock.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + self._settings.policy.check_interval
        try:
            state = self._switcher.read()
            self._free(state)
            self._reconcile(state)
        except (FleetError, OSError) as error:  # the pull goes on, and the next look tries again
            _log.warning("generator.not_compared", extra=fields(reason=str(error)))

    def _free(self, state: FleetState) -> None:
        """Free the GPU for a pause, once: another client may load any model afterwards."""
        if not must_free(state, self._clock.time()):
            return
        self._post(UnloadBegins())
        kept = free_gpu(
            self._switcher.ollama,
            self._settings.ladder,
            state.current_model,
            self._clock,
            idle=lambda: is_idle(read_json(self._home.generator_file) or {}, self._clock.time()),
        )
        if kept:
            raise OllamaError(f"Ollama still lists {', '.join(kept)} during a pause", hint="See `ollama ps`.")
        self._post(GpuFreed())

    def _reconcile(self, state: FleetState) -> None:
        seen = self._seen()
        self._report_crash_loop()
        longest = request_limit(self._settings.ollama.first_token_timeout)
        verdict = generator_verdict(state, seen, longest=longest, hangs=self._hangs)
        passing = seen.program.state is ProgramState.EXITED and not self._exited
        self._exited = seen.program.state is ProgramState.EXITED
        if passing:
            return  # supervisord restarts it within a second; found exited twice in a row, it stays down
        if verdict.remedy is Remedy.NOTHING:
            self._note_running(state, seen)
            self._note_steady(seen)
        elif verdict.remedy is Remedy.START:
            self._revive(verdict)
        else:
            self._restart(state, verdict)

    def _seen(self) -> Seen:
        """Return the observation by supervisord, the process's environment and the generator's heartbeat file."""
        program = self._generator.info()
        row = read_json(self._home.generator_file) or {}
        if row.get("pid") != program.pid:
            row = {}  # written by an earlier process
        heartbeat, request = finite(row.get("heartbeat")), finite(row.get("request_since"))
        age, silent = self._process.seconds(program.pid), self._beat.seconds((program.pid, heartbeat))
        waits = self._call.seconds((program.pid, request))
        return Seen(
            program,
            switches_of(program.pid),
            silent=silent,
            waits=0.0 if request is None else waits,
            lived=0.0 if heartbeat is None else age - silent,
        )

    def _report_crash_loop(self) -> None:
        """Emit one event when the generator begins to die soon after each start; its launcher counts the starts."""
        loops = self._is_crash_loop()
        if loops and not self._crash_loop:
            self._emit(EventKind.GENERATOR_DOWN, "it ends soon after each start; see log/generator.log")
        self._crash_loop = loops

    def _is_crash_loop(self) -> bool:
        quick = (read_json(self._home.starts_file) or {}).get("quick")
        return isinstance(quick, int) and quick >= LOOPS_FROM

    def _note_running(self, state: FleetState, seen: Seen) -> None:
        """Post that the generator runs after a restart that was cut short or superseded before its result was written."""
        if state.restarting and state.switch is None and seen.switches == state.switches:
            self._post(GeneratorRuns(state.switches))

    def _note_steady(self, seen: Seen) -> None:
        """Reset the back-off of revivals, and of restarts after a hang, once the generator has lived long enough."""
        if seen.lived > REVIVE_STEPS[0]:
            self._revived = 0
        if seen.lived > WORKS_FROM:
            self._hangs = 0

    def _revive(self, verdict: GeneratorVerdict) -> None:
        now = self._clock.monotonic()
        if now < self._revive_at:
            return
        self._revived += 1
        self._revive_at = now + backoff_step(REVIVE_STEPS, self._revived)
        self._emit(EventKind.GENERATOR_DOWN, verdict.reason)
        self._home.starts_file.unlink(missing_ok=True)
        self._generator.start()

    def _restart(self, state: FleetState, verdict: GeneratorVerdict) -> None:
        with self._switcher.lock():
            if self._switcher.read().switches != state.switches:
                return
            kind = EventKind.GENERATOR_HUNG if verdict.hangs else EventKind.GENERATOR_STALE
            self._hangs += verdict.hangs
            self._emit(kind, verdict.reason)
            self._generator.replace()

    def _emit(self, kind: EventKind, reason: str) -> None:
        self._post(Reported(kind, {"reason": reason}))
