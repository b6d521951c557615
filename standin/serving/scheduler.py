"""The loaded models: which are in memory, which are evicted, and when.

As in Ollama, one load runs at a time, and every request for a model waits for it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fleet.runtime.units import Bytes, Seconds
from standin.dialects.base import Dialect, LoadFacts, LoadFailure
from standin.forms.go_format import FOREVER
from standin.forms.log_text import Log
from standin.forms.requests import DEFAULT_KEEP_ALIVE, ApiError, Options
from standin.httpd import Wait, wait_until
from standin.models.specs import ModelSpec
from standin.serving.loading import Gpu, Loader
from standin.settings import Era, StandinSettings

# Real Ollama searches its GPUs again after a runner's death, for 5 s; the stand-in for less.
_REDISCOVERY: Seconds = 0.5


@dataclass(slots=True, eq=False)
class Runner:
    """A model in memory, and how it is used now; `expires` is on the monotonic clock."""

    load: LoadFacts
    options: Options
    keep_alive: Seconds
    expires: Seconds = FOREVER
    active: int = 0
    answering: int = 0
    dead: bool = False

    @property
    def spec(self) -> ModelSpec:
        """Return the model."""
        return self.load.spec

    def serves(self, options: Options) -> bool:
        """Return True if a request with these options needs no reload."""
        same_layers = options.num_gpu < 0 or options.num_gpu == self.options.num_gpu
        return same_layers and options.num_ctx == self.options.num_ctx

    def is_idle(self) -> bool:
        """Return True if no request holds it."""
        return self.active == 0

    @property
    def slowness(self) -> float:
        """Return the factor on the time of an answer: 1 on the GPU, up to 5 on the CPU."""
        need = self.load.need
        return 5.0 - 4.0 * need.gpu / max(1, need.total)


class Scheduler:
    """The models in memory of one server."""

    def __init__(
        self, *, settings: StandinSettings, gpu: Gpu, loader: Loader, dialect: Dialect, log: Log
    ) -> None:
        self._settings = settings
        self._gpu = gpu
        self._loader = loader
        self._dialect = dialect
        self._log = log
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._runners: dict[str, Runner] = {}

    def listed(self) -> list[tuple[Runner, Seconds]]:
        """Return the runners in memory, dead ones too, each with the seconds that it still stays."""
        with self._lock:
            now = time.monotonic()
            self._expire(now)
            return [
                (runner, min(runner.expires - now, runner.keep_alive)) for runner in self._runners.values()
            ]

    @contextmanager
    def model(
        self, spec: ModelSpec, options: Options, keep_alive: Seconds | None, wait: Wait
    ) -> Iterator[Runner]:
        """Hold a model in memory, loading it first where that is needed; raise ApiError if it cannot be.

        A context beyond the model's own is cut to it, as in Ollama.
        """
        options = replace(options, num_ctx=min(options.num_ctx, spec.context))
        with self._gate(wait):
            runner = self._current(spec, options, wait) or self._loaded(spec, options, wait)
            with self._lock:
                runner.active += 1
                runner.keep_alive = runner.keep_alive if keep_alive is None else keep_alive
                runner.expires = FOREVER
        try:
            yield runner
        finally:
            with self._lock:
                runner.active -= 1
                runner.expires = time.monotonic() + runner.keep_alive
                self._expire(time.monotonic())

    @contextmanager
    def turn(self, runner: Runner, wait: Wait) -> Iterator[None]:
        """Wait for one of a runner's places and hold it: it answers only so many requests at once."""
        wait_until(lambda: self._takes_place(runner), wait)
        try:
            yield
        finally:
            with self._lock:
                runner.answering -= 1

    def unload(self, name: str) -> None:
        """Take a model out of memory now, or as soon as its last request has ended."""
        with self._lock:
            runner = self._runners.get(name)
            if runner is not None:
                runner.keep_alive = runner.expires = 0.0
                self._expire(time.monotonic())

    def killed(self, runner: Runner) -> None:
        """Note that a runner died while it answered; it stays listed until the next request finds it."""
        runner.dead = True
        self._log.say(self._dialect.runner_dies(runner.load))

    def out_of_memory(self, runner: Runner) -> str:
        """Note that an answer ran out of GPU memory: all models go. Return the error's text."""
        failure = self._dialect.out_of_memory(runner.load, runner.load.need.compute)
        self._log.say(failure.lines)
        with self._lock:
            for each in self._runners.values():
                each.keep_alive = each.expires = 0.0
            self._runners.pop(runner.spec.name, None)
            self._expire(time.monotonic())
        return failure.error

    def _takes_place(self, runner: Runner) -> bool:
        with self._lock:
            if runner.answering >= self._settings.parallel:
                return False
            runner.answering += 1
            return True

    @contextmanager
    def _gate(self, wait: Wait) -> Iterator[None]:
        wait_until(lambda: self._loading.acquire(blocking=False), wait)
        try:
            yield
        finally:
            self._loading.release()

    def _expire(self, now: Seconds) -> None:
        for name, runner in list(self._runners.items()):
            if runner.is_idle() and runner.expires <= now:
                del self._runners[name]

    def _current(self, spec: ModelSpec, options: Options, wait: Wait) -> Runner | None:
        """Return the runner that serves the request as it stands; put one that cannot out of the way."""
        with self._lock:
            self._expire(time.monotonic())
            runner = self._runners.get(spec.name)
        if runner is None:
            return None
        if runner.dead:
            self._log.say(self._dialect.runner_found_dead(runner.load))
            self._forget(runner)
            wait(_REDISCOVERY * self._settings.pace)
            return None
        if runner.serves(options):
            return runner
        wait_until(runner.is_idle, wait)
        self._forget(runner)
        return None

    def _forget(self, runner: Runner) -> None:
        with self._lock:
            if self._runners.get(runner.spec.name) is runner:
                del self._runners[runner.spec.name]

    def _used(self) -> Bytes:
        with self._lock:
            return sum(each.load.need.gpu for each in self._runners.values() if not each.dead)

    def _loaded(self, spec: ModelSpec, options: Options, wait: Wait) -> Runner:
        self._make_room(spec, options, wait)
        load = self._plan(spec, options)
        failure = self._loader.load(load, used=self._used(), wait=wait)
        if failure is not None and self._retries(failure):
            self._log.say(self._dialect.retrying(load, failure.error, len(self._others())))
            self._evict(self._others(), wait)
            load = self._plan(spec, options)
            failure = self._loader.load(load, used=self._used(), wait=wait)
        if failure is not None:
            raise ApiError(500, failure.error)
        runner = Runner(load, options, DEFAULT_KEEP_ALIVE)
        with self._lock:
            self._runners[spec.name] = runner
        return runner

    def _plan(self, spec: ModelSpec, options: Options) -> LoadFacts:
        return self._loader.plan(spec, options, used=self._used(), count=len(self._runners) + 1)

    def _retries(self, failure: LoadFailure) -> bool:
        """Return True if Ollama tries again without the other models: for GPU memory only, since v0.30."""
        hard = "failed to allocate" in failure.error
        return hard and self._settings.era is Era.NEW and bool(self._others())

    def _make_room(self, spec: ModelSpec, options: Options, wait: Wait) -> None:
        """Evict the models in the way, as far as the server can foresee the need.

        New Ollama foresees only by its own models; old Ollama asks the driver for the free memory.
        """
        foresees = self._gpu.spill or self._settings.era is Era.OLD
        alone = self._loader.plan(spec, options, used=0, count=1)
        while foresees and (others := self._others()) and alone.need.gpu > self._gpu.vram - self._used():
            self._log.say(self._dialect.evicting_to_fit(self._plan(spec, options)))
            self._evict(others[:1], wait)

    def _others(self) -> list[Runner]:
        """Return the other models in memory, the least needed first."""
        with self._lock:
            return sorted(self._runners.values(), key=lambda each: (each.active, each.keep_alive))

    def _evict(self, runners: list[Runner], wait: Wait) -> None:
        for runner in runners:
            wait_until(runner.is_idle, wait)
            self._forget(runner)
