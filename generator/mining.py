"""`python -m generator run`: builds the parts, keeps them going, and ends well.

The first request goes out before what stores and evaluates is even imported (SQLAlchemy, numba): until it is
answered there is nothing to store or to evaluate.
"""

import logging
import os
import sys
import threading
from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING, NoReturn

from fleet.clock import Clock, SystemClock
from fleet.errors import FleetError
from fleet.logs import configure, fields, tell
from fleet.ollama import Ollama
from fleet.process import hold_for_life, is_orphan, step_back
from fleet.units import Seconds
from generator.asking import Asker
from generator.calllog import CallLog
from generator.calls import Caller
from generator.gate import Gate
from generator.narrator import Narrator
from generator.owner import owner_of
from generator.pacing import STANDIN_ALLOWANCE, Budget
from generator.pipeline import Pipeline
from generator.prompts import PromptSource
from generator.setup import Setup, read_setup
from generator.shared import Shared
from generator.signalfile import SignalFile
from generator.waker import Waker
from generator.ways import Ways

if TYPE_CHECKING:
    from generator.heartbeat import Heartbeat
    from generator.storage.store import Store

_TICK: Seconds = 0.1
_END_WITHIN: Seconds = 1.7
_HEAD_START: Seconds = 0.02

_log = logging.getLogger(__name__)


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

    def _asker(self) -> Asker:
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
        return Asker(
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
        from generator.heartbeat import Heartbeat  # noqa: PLC0415  # what the first request does not need

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
        from generator.intake import Intake, Patient  # noqa: PLC0415

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
        from generator.evaluations import evaluations_of  # noqa: PLC0415

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
        self._store: Store | None = None
        self._lock = threading.Lock()

    def __call__(self) -> "Store":
        """Return the store."""
        with self._lock:
            if self._store is None:
                from generator.storage.opening import place_of, url_of  # noqa: PLC0415
                from generator.storage.store import Store  # noqa: PLC0415  # see the class

                url = url_of(place_of(self._setup.settings.generator.database, self._setup.home))
                owner = owner_of(self._setup.home.owner_file, self._setup.assignment.lane)
                self._store = Store(url, owner=owner)
            return self._store
