"""The pull of a model: progress is logged, a stall is detected, and an unwanted pull is cut.

A pull may take hours and has no total time-out. During a stall Ollama keeps repeating lines: the stream is not silent,
but its bytes do not grow.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama, PullProgress
from fleet.runtime.clock import Clock
from fleet.runtime.errors import OllamaError, OllamaTimeoutError
from fleet.runtime.home import Home
from fleet.runtime.logging import fields, with_command_sentence, with_sentence
from fleet.runtime.pull_progress import STANDS_STILL, RunningPull, pull_ended, write_pull
from fleet.runtime.units import Bytes, Seconds, show_duration

_log = logging.getLogger(__name__)
STALL: Seconds = 90.0
_LOG_EVERY: Seconds = 10.0
_RATE_WINDOW: Seconds = 10.0
"""The rate is a mean over this time."""
_SHOW_EVERY: Seconds = 1.0


@dataclass(slots=True)
class PullWatch:
    """Follows one pull: bytes, rate and stalls (`now` in monotonic seconds).

    Ollama may fetch a part again after a stall and then reports fewer bytes than before. Only bytes beyond the most
    ever reported, or a status never seen before, count as movement.
    """

    started: float
    stall: Seconds = STALL
    completed: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    moved: float = 0.0
    status: str = ""
    _statuses: set[str] = field(default_factory=set)
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.moved = self.started
        self._samples.append((self.started, 0))

    def see(self, progress: PullProgress, now: float) -> None:
        """Record a line; raise OllamaTimeoutError if no byte has come for too long."""
        most = self.completed.get(progress.digest, -1)
        if progress.digest:
            self.completed[progress.digest] = max(most, progress.completed)
            self.found.setdefault(progress.digest, progress.completed)
            self.totals[progress.digest] = progress.total
        self.status = progress.status
        if progress.status not in self._statuses or progress.completed > most >= 0:
            self._statuses.add(progress.status)
            self.moved = now
        self._sample(now)
        if now - self.moved > self.stall:
            raise OllamaTimeoutError(
                f"nothing has come for {show_duration(self.stall)}",
                hint="Ollama cannot reach the registry; the next pull resumes from there.",
            )

    def _sample(self, now: float) -> None:
        """Keep the samples of the rate's window, at most ten a second, and one before it."""
        samples = self._samples
        if now - samples[-1][0] >= _RATE_WINDOW / 100:
            samples.append((now, self.fetched))
        while len(samples) > 1 and samples[1][0] <= now - _RATE_WINDOW:
            samples.popleft()

    @property
    def done(self) -> int:
        """Return the completed bytes."""
        return sum(self.completed.values())

    @property
    def fetched(self) -> int:
        """Return the bytes that came in this pull; an earlier pull left the others."""
        return self.done - sum(self.found.values())

    @property
    def total(self) -> int:
        """Return the bytes of the layers known so far."""
        return sum(self.totals.values())

    def rate(self, now: float) -> float:
        """Return bytes per second over the last ten seconds."""
        since, before = self._samples[0]
        return (self.fetched - before) / max(now - since, 0.001)

    def progress(self, model: str, now: float, unix: float) -> RunningPull:
        """Return the progress as the views show it; `unix` is the same moment in Unix seconds."""
        still = now - self.moved
        return RunningPull(
            model=model,
            completed_bytes=self.done,
            total_bytes=self.total,
            bytes_per_second=max(round(self.rate(now)), 0),
            since=unix - (now - self.started),
            moved=unix - still,
            still_seconds=still if still >= STANDS_STILL else None,
        )

    def line(self, now: float) -> str:
        """Return progress as a person reads it."""
        return self.progress("", now, now).text


ProgressBar = Callable[[PullWatch], None]

DiskCheck = Callable[[Bytes], str]
"""Returns why so many more bytes do not fit, empty if they fit or the disk is unknown."""


def no_limit(_needed: Bytes) -> str:
    """Return no objection: the disk is unknown."""
    return ""


def pull_model(
    ollama: Ollama,
    model: str,
    clock: Clock,
    *,
    cancel: Cancel,
    bar: ProgressBar | None = None,
    home: Home | None = None,
    stall: Seconds = STALL,
    disk: DiskCheck = no_limit,
    size: Bytes | None = None,
) -> bool:
    """Pull a model and return True, or False if it was cancelled; raise OllamaError if it fails.

    `disk` is checked before the pull, by the `size` if that is known, and whenever a layer's size becomes known. The
    views read the progress in the `home`.
    """
    _require_space(disk, size or 0)
    watch = PullWatch(clock.monotonic(), stall)
    logged = shown = clock.monotonic()
    _show(home, watch, model, clock)
    _log.info("pull.started", extra=with_sentence(f"pulling {model}", model=model))

    def progress(line: PullProgress) -> None:
        nonlocal logged, shown
        now = clock.monotonic()
        known = watch.total
        watch.see(line, now)
        if watch.total > known:
            _require_space(disk, watch.total - watch.done)
        if bar is not None:
            bar(watch)
        if now - shown >= _SHOW_EVERY:
            shown = now
            _show(home, watch, model, clock)
        if now - logged >= _LOG_EVERY:
            logged = now
            _log.info(
                "pull.progress", extra=with_sentence(f"pulling {model}: {watch.line(now)}", model=model)
            )

    try:
        ollama.pull(model, progress=progress, stall=stall, cancel=cancel)
    except OllamaError:
        cut = cancel.cancelled
        cancel()  # close the connection, so that Ollama does not go on pulling
        if cut:
            _log.info("pull.dropped", extra=fields(model=model))
            return False
        raise
    finally:
        if home is not None:
            pull_ended(home)
    _log.info("pull.done", extra=with_sentence(f"pulled {model}", model=model, bytes=watch.done))
    return True


def _show(home: Home | None, watch: PullWatch, model: str, clock: Clock) -> None:
    if home is None:
        return
    now = clock.time()
    try:
        write_pull(home, watch.progress(model, clock.monotonic(), now), now)
    except OSError as error:
        sentence = f"the pull's progress cannot be written into the home: {error.strerror}"
        _log.warning("pull.not_shown", extra=with_command_sentence(sentence, reason=error.strerror))


def pull_failure(error: OllamaError) -> str:
    """Return why a pull failed, with the hint: a person sees only the event with this text."""
    return f"{error.message} ({error.hint.rstrip('.')})" if error.hint else error.message


def _require_space(disk: DiskCheck, needed: Bytes) -> None:
    reason = disk(needed)
    if reason:
        raise OllamaError(
            reason, hint="Free some space on that disk; the fleet deletes nothing from Ollama for it."
        )
