"""Pulling a model: progress told, a stall noticed, and dropped when something else is wanted.

There is no total time-out, since a pull may take hours. A registry that stalls goes on repeating its last
line, so that a stall is `completed` standing still and not a silent stream.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama, PullProgress
from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError, OllamaError, OllamaTimeoutError
from fleet.runtime.logging import fields, tell
from fleet.runtime.units import Bytes, Seconds, show_duration, show_size
from monitor.models.disk_space import Room, no_limit

_log = logging.getLogger(__name__)
STALL: Seconds = 90.0
_TELL_EVERY: Seconds = 10.0


@dataclass(slots=True)
class PullWatch:
    """Follows one pull: how far it is, how fast, and whether it stands still (`now` in monotonic seconds)."""

    started: float
    stall: Seconds = STALL
    completed: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    moved: float = 0.0
    status: str = ""

    def __post_init__(self) -> None:
        self.moved = self.started

    def see(self, progress: PullProgress, now: float) -> None:
        """Take in a line; raise OllamaTimeoutError if nothing has moved for too long."""
        before = (self.status, self.completed.get(progress.digest))
        if progress.digest:
            self.completed[progress.digest] = progress.completed
            self.found.setdefault(progress.digest, progress.completed)
            self.totals[progress.digest] = progress.total
        self.status = progress.status
        if (self.status, self.completed.get(progress.digest)) != before:
            self.moved = now
        if now - self.moved > self.stall:
            raise OllamaTimeoutError(
                f"nothing has come for {show_duration(self.stall)}",
                hint="Ollama cannot reach the registry; the pull resumes where it stood.",
            )

    @property
    def done(self) -> int:
        """Return the bytes that are here."""
        return sum(self.completed.values())

    @property
    def total(self) -> int:
        """Return the bytes of the layers known so far."""
        return sum(self.totals.values())

    def rate(self, now: float) -> float:
        """Return bytes per second since the pull began; what an earlier one had left there did not come now."""
        return (self.done - sum(self.found.values())) / max(now - self.started, 0.001)

    def line(self, now: float) -> str:
        """Return progress as a person reads it."""
        rate = self.rate(now)
        left = show_duration((self.total - self.done) / rate) if rate > 0 and self.total else "unknown"
        return f"{show_size(self.done)} of {show_size(self.total)}, {show_size(round(rate))}/s, {left} left"


ProgressBar = Callable[[PullWatch], None]


def pull_model(
    ollama: Ollama,
    model: str,
    clock: Clock,
    *,
    cancel: Cancel,
    bar: ProgressBar | None = None,
    stall: Seconds = STALL,
    room: Room = no_limit,
    size: Bytes | None = None,
) -> bool:
    """Pull a model and return True, or False if it was cancelled; raise OllamaError if it fails.

    `room` is asked before it begins, by the `size` if that is known, and as each layer's size shows.
    """
    _refuse_without(room, size or 0)
    watch = PullWatch(clock.monotonic(), stall)
    told = clock.monotonic()
    _log.info("pull.started", extra=tell(f"pulling {model}", model=model))

    def progress(line: PullProgress) -> None:
        nonlocal told
        now = clock.monotonic()
        known = watch.total
        watch.see(line, now)
        if watch.total > known:
            _refuse_without(room, watch.total - watch.done)
        if bar is not None:
            bar(watch)
        if now - told >= _TELL_EVERY:
            told = now
            _log.info("pull.progress", extra=tell(f"pulling {model}: {watch.line(now)}", model=model))

    try:
        ollama.pull(model, progress=progress, stall=stall, cancel=cancel)
    except OllamaError:
        dropped = cancel.cancelled
        cancel()
        if dropped:
            _log.info("pull.dropped", extra=fields(model=model))
            return False
        raise
    _log.info("pull.done", extra=tell(f"pulled {model}", model=model, bytes=watch.done))
    return True


def _refuse_without(room: Room, needed: Bytes) -> None:
    reason = room(needed)
    if reason:
        raise OllamaError(reason, hint="Make room on that disk; nothing is deleted from Ollama for it.")


@contextlib.contextmanager
def cut_when(clock: Clock, unwanted: Callable[[], bool], *, every: Seconds = 0.2) -> Iterator[Cancel]:
    """Give what cuts a request as soon as it is no longer wanted, also while the server is silent."""
    cancel, ended = Cancel(), threading.Event()

    def watch() -> None:
        while not clock.wait(ended, every):
            try:
                if not unwanted():
                    continue
            except FleetError:
                continue  # not known; the next look tells
            cancel()
            return

    thread = threading.Thread(target=watch, name="unwanted", daemon=True)
    thread.start()
    try:
        yield cancel
    finally:
        ended.set()
        thread.join()
