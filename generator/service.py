"""Mining: builds the parts of a run from its setup, starts the threads, watches them and stops in order.

The first request is sent before the import of SQLAlchemy and numba: storing and evaluating begin with the first answer.
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
from fleet.runtime.home import read_json
from fleet.runtime.logging import configure, fields, with_sentence
from fleet.runtime.process import hold_program_lock, is_orphan, lower_priority
from fleet.runtime.units import Seconds
from generator.config import LazyStore, Setup, read_setup
from generator.context import Shared
from generator.domain import ThrottleState
from generator.llm.client import Caller
from generator.llm.prompt_source import PromptSource
from generator.llm.request_form import RequestForms
from generator.llm.throttle import STANDIN_RATE, Throttle, TokenBucket
from generator.reporting.events import MiningEvents
from generator.reporting.jsonl import CallLog, SignalFile
from generator.reporting.stats import RunStats
from generator.rules_in_force import RulesInForce
from generator.workers.call import CallWorker
from generator.workers.unstored import UnstoredCalls

if TYPE_CHECKING:
    from generator.reporting.heartbeat import Heartbeat
    from generator.workers.evaluate import EvaluationWorker
    from generator.workers.ingest import IngestWorker, StorageRetry
    from generator.workers.publish import Publisher

_TICK: Seconds = 0.1
# Within the two seconds that a stop may take; supervisord kills after four.
_STOP_TIMEOUT: Seconds = 1.7
# A call that is cut ends within milliseconds; one that was answered may take its time on a busy machine.
_CALLS_TIMEOUT: Seconds = 1.0
# Lets the call threads send the first request before this thread uses the interpreter again.
_HEAD_START: Seconds = 0.02

_log = logging.getLogger(__name__)


class Waker:
    """A pipe that wakes the main thread from its sleep. SIGTERM and SIGINT also set `asked_to_end`.

    A signal handler runs between two instructions of the main thread, which may hold a lock at that moment. The
    handler therefore only sets a flag and takes no lock; the interpreter itself writes to the pipe.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.asked_to_end = False

    def catch_signals(self) -> None:
        """Install the handlers of SIGTERM and SIGINT; call it from the main thread."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self.asked_to_end = True

    def wake(self) -> None:
        """Wake the main thread, or skip its next sleep."""
        try:
            os.write(self._write, b"w")
        except BlockingIOError:  # full: a wake-up is pending
            return

    def sleep(self, seconds: Seconds) -> None:
        """Sleep until `wake` or a signal, at most `seconds`."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        if ready:
            os.read(self._read, 4096)


class Pipeline:
    """Starts and stops the threads. `broken` means that one failed, and the program has to end."""

    def __init__(
        self, shared: Shared, *, throttle: Throttle, stopping: threading.Event, wake: Callable[[], None]
    ) -> None:
        self._shared = shared
        self._throttle = throttle
        self._stopping = stopping
        self._wake = wake
        self._evaluators: Sequence[EvaluationWorker] = ()
        self._publisher: Publisher | None = None
        self.broken = False

    def start_calls(self, worker: CallWorker, threads: int) -> None:
        """Start the threads that call Ollama."""
        for number in range(threads):
            self.start(f"call-{number}", worker.run)

    def start_evaluation(self, workers: "Sequence[EvaluationWorker]", publisher: "Publisher") -> None:
        """Start a thread for each evaluation worker, and one that publishes."""
        self._evaluators, self._publisher = workers, publisher
        self.start("publish", publisher.run)
        for number, worker in enumerate(workers):
            self.start(f"evaluate-{number}", worker.run)

    def start(self, name: str, run: Callable[[], None]) -> None:
        """Start a thread; its failure ends the program."""
        threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True).start()

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception:  # noqa: BLE001  # top of a thread: logged; the program ends, and supervisord restarts it
            _log.exception("thread.failed", extra=fields(thread=threading.current_thread().name))
            self.broken = True
            self._wake()

    def throttle_state(self) -> ThrottleState:
        """Return the throttle's snapshot, with the calls in flight."""
        return self._throttle.state()

    def stop(self, timeout: Seconds, *, keep: Callable[[], bool]) -> bool:
        """Cancel calls in flight and store finished work; return True if all is stored within `timeout`.

        `keep` saves calls that the database did not take in time for the next start. Threads that wait for the network,
        import or evaluate have nothing to store; they are not joined.
        """
        deadline = self._shared.clock.monotonic() + timeout
        self._stopping.set()
        self._throttle.close()
        # A call that was answered just now is in flight until its thread has queued it.
        self._throttle.wait_idle(_CALLS_TIMEOUT)
        self._shared.finished.close()
        self._shared.waiting.close()
        left = max(0.0, deadline - self._shared.clock.monotonic())
        stored = self._shared.finished.wait_idle(left) or keep()
        for worker in self._evaluators:
            left = max(0.0, deadline - self._shared.clock.monotonic())
            stored = worker.finish_writes(left) and stored
        if self._publisher is not None and stored:
            self._publisher.finish(max(0.0, deadline - self._shared.clock.monotonic()))
        return stored


def run(environ: Mapping[str, str]) -> NoReturn:
    """Mine until SIGTERM, then exit: with 0 if every finished call and evaluation is stored, else with an error."""
    waker = Waker()
    waker.catch_signals()
    configure()
    try:
        setup = read_setup(environ)
        if is_orphan(setup.home, environ):
            _exit(0)
        setup.home.create()
        lock = hold_program_lock(setup.home.program_lock("generator"), "generator")
        code = Miner(setup, waker, SystemClock(), Random()).run()
        if waker.asked_to_end:
            # Stopped on request, not crashed: the launcher's back-off starts from zero.
            setup.home.starts_file.unlink(missing_ok=True)
        del lock
    except FleetError as error:
        _log.error(
            "generator.unstarted", extra=with_sentence(f"{error.message}. {error.hint}", error=error.message)
        )
        code = error.exit_code
    _exit(code)


def _exit(code: int) -> NoReturn:
    """Exit without joining threads that wait for the network; everything is stored by now."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Miner:
    """One run: builds the parts from a setup and watches them."""

    def __init__(self, setup: Setup, waker: Waker, clock: Clock, rng: Random) -> None:
        generator, standin = setup.settings.generator, setup.standin
        self._setup = setup
        self._waker = waker
        self._clock = clock
        self._stopping = threading.Event()
        self._shared = Shared(
            clock=clock,
            scope=setup.scope(),
            rules=RulesInForce(setup.plan.rules),
            events=MiningEvents(
                model=setup.assignment.model, standin=standin, synthetic=setup.plan.synthetic, clock=clock
            ),
            stats=RunStats((read_json(setup.home.generator_file) or {}).get("counters")),
            most_candidates=max(16, 4 * generator.batch_size * generator.max_concurrent),
        )
        bucket = TokenBucket(STANDIN_RATE, STANDIN_RATE.burst, clock.monotonic()) if standin else None
        self._throttle = Throttle(
            clock=clock,
            most=generator.max_concurrent,
            pause_file=setup.home.pause_file,
            rng=rng,
            bucket=bucket,
            has_capacity=self._shared.has_capacity,
        )
        self._pipeline = Pipeline(
            self._shared, throttle=self._throttle, stopping=self._stopping, wake=waker.wake
        )
        self._rng = rng
        self._unstored = UnstoredCalls(setup.home.unstored_file)
        self._ingest: IngestWorker | None = None
        self._storage: StorageRetry | None = None
        self._start_error: FleetError | None = None

    def run(self) -> int:
        """Mine until asked to end; return the exit code."""
        self._pipeline.start_calls(self._call_worker(), self._setup.settings.generator.max_concurrent)
        self._waker.sleep(_HEAD_START)
        self._report_start()
        self._pipeline.start("start", self._start_storage)
        heartbeat = self._heartbeat()
        while not self._waker.asked_to_end and not self._pipeline.broken:
            self._beat(heartbeat)
            self._waker.sleep(_TICK)
        if self._start_error is not None:
            raise self._start_error
        stored = self._pipeline.stop(_STOP_TIMEOUT, keep=self._keep_unstored)
        self._beat(heartbeat)  # with the counts of the stop
        self._shared.events.ended(stored=stored)
        return 0 if stored and not self._pipeline.broken else 1

    def _keep_unstored(self) -> bool:
        """Save finished calls for the next start, which skips those stored after all; return True if saved."""
        current = None if self._ingest is None else self._ingest.current
        left = [*([] if current is None else [current]), *self._shared.finished.queued()]
        return self._unstored.keep(finished.call for finished in left)

    def _call_worker(self) -> CallWorker:
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
            rng=self._rng,
        )
        return CallWorker(
            self._shared,
            throttle=self._throttle,
            caller=caller,
            forms=RequestForms(lambda: ollama.show(setup.assignment.model)),
            prompts=prompts,
            signals=SignalFile(setup.home.signals),
            log=CallLog(setup.home.call_log),
            wake=self._waker.wake,
        )

    def _report_start(self) -> None:
        assignment = self._setup.assignment
        self._shared.events.started(
            model=assignment.model,
            rung=assignment.rung,
            switches=assignment.switches,
            url=self._setup.url,
            pid=os.getpid(),
        )

    def _heartbeat(self) -> "Heartbeat":
        from generator.reporting.heartbeat import Heartbeat  # noqa: PLC0415  # after the first request

        setup = self._setup
        return Heartbeat(setup.home.generator_file, setup.assignment, standin=setup.standin)

    def _start_storage(self) -> None:
        """Import and start the parts that the first request does not need: storing, then evaluating.

        It runs in a thread. The imports take seconds on a busy machine, and the main thread has to react to SIGTERM.
        Storing starts first because a call may finish before the evaluator is imported.
        """
        try:
            self._start_workers()
        except FleetError as error:
            self._start_error = error
            self._pipeline.broken = True
            self._waker.wake()

    def _start_workers(self) -> None:
        from generator.workers.breeding import Breeder  # noqa: PLC0415
        from generator.workers.ingest import IngestWorker, StorageRetry  # noqa: PLC0415

        setup = self._setup
        store = LazyStore(setup)
        if setup.settings.generator.database:
            store().check_driver()
        self._storage = retry = StorageRetry(self._stopping, self._clock, self._shared.events)
        generator, seed = setup.settings.generator, self._rng.getrandbits(64)
        breeder = Breeder(self._shared, store=store, retry=retry, share=generator.breed, rng=Random(seed))
        self._ingest = ingest = IngestWorker(
            self._shared,
            store=store,
            retry=retry,
            keep_calls=generator.keep_calls,
            breeder=breeder,
            unstored=self._unstored,
        )
        self._pipeline.start("ingest", ingest.run)
        lower_priority()
        from generator.storage.hopeful import HopefulFile  # noqa: PLC0415
        from generator.workers.evaluate import evaluation_workers  # noqa: PLC0415
        from generator.workers.lease import Lease  # noqa: PLC0415
        from generator.workers.publish import Publisher  # noqa: PLC0415

        publisher = Publisher(
            store=store,
            hopeful=HopefulFile(setup.home.hopeful),
            retry=retry,
            clock=self._clock,
            stopping=self._stopping,
        )
        lease = Lease(store=store, retry=retry, clock=self._clock, stopping=self._stopping)
        self._pipeline.start("lease", lease.run)
        self._pipeline.start_evaluation(
            evaluation_workers(
                setup,
                self._shared,
                store=store,
                publisher=publisher,
                retry=retry,
                stopping=self._stopping,
                rng=self._rng,
                breeder=breeder,
                lease=lease,
            ),
            publisher,
        )

    def _beat(self, heartbeat: "Heartbeat") -> None:
        state = self._pipeline.throttle_state()
        if state.pause is not None and state.pause.cut:
            self._throttle.cancel_calls()
        if self._storage is not None:
            self._storage.look()
        self._shared.events.pause(None if state.pause is None else state.pause.why)
        try:
            heartbeat.beat(
                state,
                {
                    **self._shared.stats.row(),
                    "database_away": self._shared.events.storage_failure,
                    "evaluator_away": self._shared.events.evaluator_failure,
                },
                now=self._clock.time(),
                monotonic=self._clock.monotonic(),
            )
        except OSError as error:
            _log.error("heartbeat.unwritten", extra=fields(error=error.strerror))
