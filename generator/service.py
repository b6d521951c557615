"""`python -m generator run`: builds the parts, keeps them going, and ends well.

The first request goes out before what stores and evaluates is even imported (SQLAlchemy, numba): until it is
answered there is nothing to store or to evaluate.
"""

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from fleet.clients.ollama import Ollama
from fleet.runtime.clock import Clock, SystemClock
from fleet.runtime.errors import FleetError
from fleet.runtime.logging import configure, fields, tell
from fleet.runtime.process import hold_for_life, is_orphan, step_back
from fleet.runtime.units import Seconds
from generator.config import Setup, owner_of, read_setup
from generator.context import Shared
from generator.llm.client import Caller
from generator.llm.prompts import PromptSource
from generator.llm.request_form import Ways
from generator.llm.throttle import STANDIN_ALLOWANCE, Budget, Gate, GateView
from generator.llm.worker import CallWorker
from generator.reporting.events import Narrator
from generator.reporting.jsonl import CallLog, SignalFile

if TYPE_CHECKING:
    from generator.workers.evaluate import EvaluationWorker
if TYPE_CHECKING:
    from generator.reporting.heartbeat import Heartbeat
    from generator.storage.store import AlphaStore


class Waker:
    """A pipe that the main thread sleeps on. SIGTERM and SIGINT set `asked_to_end` and wake.

    A handler runs between two instructions of the main thread, which may just hold any lock; so it sets a
    flag and takes none, and the interpreter itself writes to the pipe.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.asked_to_end = False

    def catch_signals(self) -> None:
        """Take over SIGTERM and SIGINT; only from the main thread."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self.asked_to_end = True

    def wake(self) -> None:
        """Wake the main thread, or keep it from falling asleep."""
        try:
            os.write(self._write, b"w")
        except BlockingIOError:  # full: it is awake already
            return

    def sleep(self, seconds: Seconds) -> None:
        """Sleep until something wakes us, at most so long."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        if ready:
            os.read(self._read, 4096)


_log = logging.getLogger(__name__)


class Pipeline:
    """Starts and ends the threads. `broken`: one of them ended by an error, and the program has to."""

    def __init__(
        self, shared: Shared, *, gate: Gate, stopping: threading.Event, wake: Callable[[], None]
    ) -> None:
        self._shared = shared
        self._gate = gate
        self._stopping = stopping
        self._wake = wake
        self._evaluations: Sequence[EvaluationWorker] = ()
        self.broken = False

    def start_asking(self, asker: CallWorker, threads: int) -> None:
        """Start the threads that call Ollama."""
        for number in range(threads):
            self.start(f"ask-{number}", asker.run)

    def start_evaluating(self, evaluations: "Sequence[EvaluationWorker]") -> None:
        """Start what evaluates."""
        self._evaluations = evaluations
        for number, evaluation in enumerate(evaluations):
            self.start(f"evaluate-{number}", evaluation.run)

    def start(self, name: str, run: Callable[[], None]) -> None:
        """Start a thread whose failure is the program's."""
        threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True).start()

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception:  # noqa: BLE001  # the top of a thread: told, and the program ends to be started again
            _log.exception("thread.failed", extra=fields(thread=threading.current_thread().name))
            self.broken = True
            self._wake()

    def view(self) -> GateView:
        """Return what is in flight."""
        return self._gate.view()

    def stop(self, patience: Seconds) -> bool:
        """End within `patience`: cut what is in flight, store what is finished; tell whether all was stored.

        Threads that wait for the network, import or evaluate are not waited for: they have nothing to store.
        """
        deadline = self._shared.clock.monotonic() + patience
        self._stopping.set()
        self._gate.close()
        self._shared.finished.close()
        self._shared.waiting.close()
        stored = self._shared.finished.settle(patience)
        for evaluation in self._evaluations:
            stored = evaluation.settle(max(0.0, deadline - self._shared.clock.monotonic())) and stored
        return stored


_TICK: Seconds = 0.1
_END_WITHIN: Seconds = 1.7
_HEAD_START: Seconds = 0.02


def run(environ: Mapping[str, str]) -> NoReturn:
    """Mine until SIGTERM; the process ends here, with 0 if all that was finished is stored."""
    waker = Waker()
    waker.catch_signals()
    configure()
    try:
        setup = read_setup(environ)
        if is_orphan(setup.home, environ):
            _end(0)
        setup.home.create()
        lock = hold_for_life(setup.home.program_lock("generator"), "generator")
        code = Miner(setup, waker, SystemClock(), Random()).run()
        if waker.asked_to_end:
            setup.home.starts_file.unlink(
                missing_ok=True
            )  # it was stopped, and did not die: no brake for the next
        del lock
    except FleetError as error:
        _log.error("generator.unstarted", extra=tell(f"{error.message} {error.hint}", error=error.message))
        code = error.exit_code
    _end(code)


def _end(code: int) -> NoReturn:
    """End at once: everything is stored, and threads that wait for Ollama are waited for by nobody."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Miner:
    """One run: the parts, built from a setup, and the loop that watches over them."""

    def __init__(self, setup: Setup, waker: Waker, clock: Clock, chance: Random) -> None:
        generator, standin = setup.settings.generator, setup.standin
        self._setup = setup
        self._waker = waker
        self._clock = clock
        self._stopping = threading.Event()
        self._shared = Shared(
            clock=clock,
            scope=setup.scope(),
            narrator=Narrator(
                model=setup.assignment.model, standin=standin, synthetic=setup.plan.synthetic, clock=clock
            ),
            most_candidates=max(16, 4 * generator.batch_size * generator.max_concurrent),
        )
        allowed = Budget(STANDIN_ALLOWANCE, STANDIN_ALLOWANCE.burst, clock.monotonic()) if standin else None
        self._gate = Gate(
            clock=clock,
            most=generator.max_concurrent,
            pause_file=setup.home.pause_file,
            chance=chance,
            budget=allowed,
            room=self._shared.room,
        )
        self._pipeline = Pipeline(self._shared, gate=self._gate, stopping=self._stopping, wake=waker.wake)
        self._chance = chance
        self._unstarted: FleetError | None = None

    def run(self) -> int:
        """Mine until asked to end; return the exit code."""
        self._pipeline.start_asking(self._asker(), self._setup.settings.generator.max_concurrent)
        self._waker.sleep(_HEAD_START)
        self._announce()
        self._pipeline.start("start", self._start_working)
        heartbeat = self._heartbeat()
        while not self._waker.asked_to_end and not self._pipeline.broken:
            self._beat(heartbeat)
            self._waker.sleep(_TICK)
        if self._unstarted is not None:
            raise self._unstarted
        stored = self._pipeline.stop(_END_WITHIN)
        self._shared.narrator.ended(stored=stored)
        return 0 if stored and not self._pipeline.broken else 1

    def _asker(self) -> CallWorker:
        setup = self._setup
        ollama = Ollama(setup.url)
        caller = Caller(
            ollama,
            setup.assignment,
            clock=self._clock,
            keep_alive=setup.settings.ollama.keep_alive,
            first_token=setup.settings.ollama.first_token_timeout,
            source="stand-in" if setup.standin else "model",
        )
        prompts = PromptSource(
            scope=self._shared.scope,
            notebook=self._shared.notebook,
            assignment=setup.assignment,
            ollama=ollama,
            count=setup.settings.generator.batch_size,
            chance=self._chance,
        )
        return CallWorker(
            self._shared,
            gate=self._gate,
            caller=caller,
            ways=Ways(lambda: ollama.show(setup.assignment.model)),
            prompts=prompts,
            signals=SignalFile(setup.home.signals),
            log=CallLog(setup.home.call_log),
            wake=self._waker.wake,
        )

    def _announce(self) -> None:
        assignment = self._setup.assignment
        self._shared.narrator.started(
            model=assignment.model,
            rung=assignment.rung,
            switches=assignment.switches,
            url=self._setup.url,
            pid=os.getpid(),
        )

    def _heartbeat(self) -> "Heartbeat":
        from generator.reporting.heartbeat import Heartbeat  # noqa: PLC0415  # what the first request does not need

        setup = self._setup
        return Heartbeat(setup.home.generator_file, setup.assignment, standin=setup.standin)

    def _start_working(self) -> None:
        """Start what comes after the first request, and import it only now.

        In a thread of its own: the imports take seconds on a busy machine, and the main thread has to be there
        for a SIGTERM. What stores comes first, for a call may be finished before what evaluates is here.
        """
        try:
            self._work()
        except FleetError as error:
            self._unstarted = error
            self._pipeline.broken = True
            self._waker.wake()

    def _work(self) -> None:
        from generator.workers.ingest import Intake, Patient  # noqa: PLC0415

        setup = self._setup
        store = LazyStore(setup)
        if setup.settings.generator.database:
            store().check_driver()
        rules = setup.plan.rules
        patient = Patient(self._stopping, self._clock, self._shared.narrator)
        intake = Intake(
            self._shared,
            store=store,
            rules=rules,
            patient=patient,
            keep_calls=setup.settings.generator.keep_calls,
        )
        self._pipeline.start("intake", intake.run)
        step_back()
        from generator.workers.evaluate import evaluations_of  # noqa: PLC0415

        self._pipeline.start_evaluating(
            evaluations_of(
                setup,
                self._shared,
                store=store,
                patient=patient,
                stopping=self._stopping,
                chance=self._chance,
            )
        )

    def _beat(self, heartbeat: "Heartbeat") -> None:
        view = self._pipeline.view()
        self._shared.narrator.pause(None if view.pause is None else view.pause.why)
        try:
            heartbeat.beat(
                view,
                {
                    **self._shared.scoreboard.row(),
                    "database_away": self._shared.narrator.storage_away,
                },
                now=self._clock.time(),
                monotonic=self._clock.monotonic(),
            )
        except OSError as error:
            _log.error("heartbeat.unwritten", extra=fields(error=error.strerror))


class LazyStore:
    """The store, made at its first use: SQLAlchemy takes longer to import than a first call to send."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._store: AlphaStore | None = None
        self._lock = threading.Lock()

    def __call__(self) -> "AlphaStore":
        """Return the store."""
        with self._lock:
            if self._store is None:
                from generator.storage.read import place_of, url_of  # noqa: PLC0415
                from generator.storage.store import AlphaStore  # noqa: PLC0415  # see the class

                url = url_of(place_of(self._setup.settings.generator.database, self._setup.home))
                owner = owner_of(self._setup.home.owner_file, self._setup.assignment.lane)
                self._store = AlphaStore(url, owner=owner)
            return self._store
