"""One load of a model: its log lines, its length, its failure."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from fleet.runtime.units import Bytes, Seconds
from standin.active_faults import FaultBoard
from standin.dialects.base import Dialect, LoadFacts, LoadFailure
from standin.faults import Fault, FaultKind
from standin.forms.log_text import Log
from standin.forms.requests import Options
from standin.httpd import ClientGoneError, Wait, wait_until
from standin.models import memory
from standin.models.specs import ModelSpec
from standin.settings import Era, StandinSettings

_STEP: Seconds = 0.1
_CARD: Bytes = 8 * 1024**3


@dataclass(slots=True)
class Gpu:
    """The GPU: its free memory with nothing loaded, and whether models spill beyond it.

    Without spilling, another program holds the rest, unknown to the server.
    """

    vram: Bytes
    spill: bool
    whole: Bytes = _CARD

    @property
    def card(self) -> Bytes:
        """Return the total that the server reports."""
        return self.vram if self.spill else max(self.whole, self.vram)


class Loader:
    """Loads models, one at a time; the caller sees to that."""

    def __init__(
        self, *, settings: StandinSettings, gpu: Gpu, dialect: Dialect, log: Log, board: FaultBoard
    ) -> None:
        self._settings = settings
        self._gpu = gpu
        self._dialect = dialect
        self._log = log
        self._board = board
        self._rng = random.Random(settings.seed)
        self._timers: list[threading.Timer] = []
        self._closed = False

    def close(self) -> None:
        """Cancel the pending lines."""
        self._closed = True
        for timer in self._timers:
            timer.cancel()
            timer.join(1.0)

    def plan(self, spec: ModelSpec, options: Options, *, used: Bytes, count: int) -> LoadFacts:
        """Return the load of a model while others use so many bytes; on a card too small it spills."""
        parallel, free = self._settings.parallel, self._gpu.vram - used
        wanted = memory.need(spec, num_ctx=options.num_ctx, parallel=parallel, num_gpu=options.num_gpu)
        if self._gpu.spill and options.num_gpu < 0 and wanted.gpu > free:
            wanted = memory.spilled(spec, free, num_ctx=options.num_ctx, parallel=parallel)
        return LoadFacts(
            spec=spec,
            need=wanted,
            num_ctx=options.num_ctx,
            parallel=parallel,
            port=self._rng.randint(32768, 60999),
            total=self._gpu.card,
            free=max(0, self._gpu.card - used),
            count=count,
        )

    def load(self, load: LoadFacts, *, used: Bytes, wait: Wait) -> LoadFailure | None:
        """Load a model; return how that failed for lack of memory, None if it worked."""
        began = time.monotonic()
        self._log.say(self._dialect.load_begins(load))
        try:
            self._hang(load.spec, wait)
            wait(_STEP * self._settings.pace)
            failure = self._failure(load, self._gpu.vram - used)
            self._log.say(self._dialect.load_works(load) if failure is None else failure.lines)
            wait(_STEP * self._settings.pace)
        except ClientGoneError:
            self._log.say(self._dialect.load_abandoned(load))
            raise
        if failure is None:
            self._log.say(self._dialect.load_ends(load, time.monotonic() - began))
        else:
            self._end_badly(load, failure)
        return failure

    def _hang(self, spec: ModelSpec, wait: Wait) -> None:
        before = self._board.cleared
        if self._board.take(FaultKind.HANG_LOAD, model=spec.name) is not None:
            wait_until(lambda: self._board.cleared != before, wait)

    def _failure(self, load: LoadFacts, free: Bytes) -> LoadFailure | None:
        forced = self._board.take(FaultKind.FAIL_LOAD, model=load.spec.name)
        if forced is not None:
            return self._forced(load, forced)
        short = memory.shortage(load.need, free)
        return None if short is None else self._dialect.gpu_failure(load, short)

    def _forced(self, load: LoadFacts, fault: Fault) -> LoadFailure:
        if fault.cause == "host":
            return self._dialect.host_failure(load)
        short = memory.Shortage(memory.LoadStep.WEIGHTS, load.need.weights or load.spec.weights, 0)
        return self._dialect.gpu_failure(load, short)

    def _end_badly(self, load: LoadFacts, failure: LoadFailure) -> None:
        self._log.say(self._dialect.load_failed(load, failure.error))
        if self._settings.era is Era.OLD:
            self._complain_later(load)

    def _complain_later(self, load: LoadFacts) -> None:
        """Let old Ollama warn of memory that did not come back, up to three times for one unload."""
        began, pid = time.monotonic(), self._rng.randint(100, 32000)
        self._timers = [timer for timer in self._timers if timer.is_alive()]
        for turn in range(self._rng.randint(1, 3)):
            self._later(self._settings.recovery * (1 + 0.05 * turn), lambda: self._complain(load, began, pid))

    def _later(self, seconds: Seconds, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _complain(self, load: LoadFacts, began: Seconds, pid: int) -> None:
        if not self._closed:
            self._log.say(self._dialect.not_recovered(load, time.monotonic() - began, pid))
