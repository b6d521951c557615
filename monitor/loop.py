"""The monitor's loop: collect what was read, decide, write, act.

The loop alone joins clock, files and threads. One write carries a cursor and the result of the lines before it.
It is made only on top of the cursor at which its batches began. A monitor that was overtaken, or whose state was
restored from an older copy, therefore reads again from the state's cursor. Batches stay in memory while the state
cannot be written; their number is bounded, and then the sources wait.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fleet.policy.caps import next_change
from fleet.policy.decide import decide
from fleet.policy.facts import Tick, VerifyEnded
from fleet.policy.recovery import can_climb
from fleet.policy.state import FleetState, SwitchPhase
from fleet.policy.unanswered import hang_suspected
from fleet.runtime.errors import FleetError, StateError
from fleet.runtime.heartbeat import HeartbeatFile
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from monitor.detection.detector import Detector
from monitor.event_log import EventLog
from monitor.ingest import (
    LOG,
    SIGNALS,
    Context,
    absorb_batch,
    absorb_presence,
    absorb_time,
    absorb_unload,
    all_answered,
    deadline,
)
from monitor.models.inventory import Knowledge
from monitor.models.prefetch import Prefetcher
from monitor.parts import Parts
from monitor.pauses import Pauses, pause_of
from monitor.skipped_lines import Absorb, absorb_each
from monitor.sources.base import Away, Back, Batch, Cursor, LogSource
from monitor.sources.thread import Delivery, Inbox, SourceThread
from monitor.streams import StaleCursorError, Stream, with_source_status
from monitor.switching.executor import Switcher
from monitor.switching.freeing import must_free
from monitor.switching.worker import SwitchWorker
from monitor.watch.ollama import OllamaWatch

_log = logging.getLogger(__name__)
_BROKEN_RETRY: Seconds = 5.0
_WRITE_RETRY: Seconds = 1.0
_SOON: Seconds = 0.01
_END_WITHIN: Seconds = 3.0

OpenSource = Callable[[str], LogSource]


class Monitor:
    """Follows a log and the generator's calls until it is stopped."""

    def __init__(
        self, parts: Parts, open_source: OpenSource, knowledge: Knowledge, detector: Detector
    ) -> None:
        self._parts = parts
        self._open_source = open_source
        self._knowledge = knowledge
        self._detector = detector
        self._inbox: Inbox = queue.SimpleQueue()
        self._streams: dict[str, Stream] = {}
        self._stopping = threading.Event()
        self._nudged = threading.Event()
        self._event_log = EventLog(parts.home)
        self._pauses = Pauses(parts.home)
        self._heartbeat = HeartbeatFile(parts.home, "monitor", within=parts.settings.policy.check_interval)
        self._next_check = 0.0
        self._unloading = 0
        switcher = Switcher(parts, lambda: knowledge()[0])
        self._worker = SwitchWorker(parts, switcher, after=self.nudge)
        self._ollama_watch = OllamaWatch(
            parts, switcher, knowledge, before_unload=self._note_unload, after=self.nudge
        )
        self._prefetcher = Prefetcher(parts, lambda: knowledge()[0], after=self._fetched)
        self._reasons: tuple[object, object] = (None, None)

    def stop(self) -> None:
        """End the loop; safe to call from a signal handler."""
        self._stopping.set()
        self._inbox.put(None)

    def nudge(self) -> None:
        """Make the loop check the state now; callable from any thread."""
        self._nudged.set()
        self._inbox.put(None)

    def _fetched(self) -> None:
        self._knowledge.refresh()
        self.nudge()

    def run(self) -> None:
        """Follow until stopped; raise StateError only if the state cannot be read at the start."""
        context = self._context()
        state = self._parts.store.update(lambda state: absorb_presence(state, context, away=True))
        for origin in (LOG, SIGNALS):
            self._follow(origin, state.cursors.get(origin))
        threads = (self._knowledge, self._ollama_watch, self._worker, self._prefetcher)
        for thread in threads:
            thread.start()
        self._worker.wake()
        while not self._stopping.is_set():
            self._turn()
        for thread in reversed(threads):
            thread.stop()
        self._worker.join(_END_WITHIN)
        self._ollama_watch.join(_END_WITHIN)
        for stream in self._streams.values():
            stream.thread.close()

    def _follow(self, origin: str, cursor: Cursor | None) -> None:
        """Read a source from a cursor on; drop what an earlier thread read of it."""
        old = self._streams.get(origin)
        if old is not None:
            old.thread.close()
        thread = SourceThread(origin, self._open_source(origin), cursor, self._inbox)
        away, reported = (old.away, old.reported) if old else (None, True)
        self._streams[origin] = Stream(thread, cursor, away, reported)
        thread.start()

    def _turn(self) -> None:
        self._gather()
        if self._nudged.is_set():
            self._nudged.clear()  # before the state is read: a nudge from now on asks for another check
            self._next_check = 0.0
        try:
            self._reopen_broken()
            self._report_source(self._streams[LOG])
            self._commit()
            if self._parts.clock.monotonic() >= self._next_check:
                self._check()
            self._event_log.log_new()
        except StateError as error:
            _log.error("state.not_written", extra=fields(reason=error.message, hint=error.hint))
            self._retry_soon()
        except Exception:  # noqa: BLE001  # atop the loop: an unforeseen fault is logged and tried again
            _log.exception("loop.broken")
            self._retry_soon()

    def _retry_soon(self) -> None:
        """Wait before the next try, which does everything that is due, also if nothing arrives meanwhile."""
        self._next_check = 0.0
        self._parts.clock.wait(self._stopping, _WRITE_RETRY)

    def _gather(self) -> None:
        """Wait for something to do; collect one write's lines at most, and leave the rest in the queue."""
        wait = True
        with contextlib.suppress(queue.Empty):
            while not any(stream.pending.full for stream in self._streams.values()):
                self._receive(self._inbox.get(wait, self._patience()))
                wait = False

    def _patience(self) -> Seconds:
        reopenings = [stream.reopen_at for stream in self._streams.values() if stream.reopen_at is not None]
        return max(min([self._next_check, *reopenings]) - self._parts.clock.monotonic(), 0.0)

    # What comes from the sources

    def _receive(self, delivery: Delivery | None) -> None:
        if delivery is None:
            return
        delivery.thread.release()
        thread, item = delivery.thread, delivery.item
        stream = self._streams[thread.origin]
        if stream.thread is not thread:
            return
        match item:
            case Batch():
                stream.pending.add(item)
            case Away():
                self._source_away(stream, item)
            case Back():
                self._source_back(stream)
            case _:
                self._source_broken(stream, item)

    def _source_away(self, stream: Stream, item: Away) -> None:
        _log.warning("source.away", extra=fields(source=stream.name, reason=item.reason, hint=item.hint))
        stream.away, stream.reported = item, False

    def _source_back(self, stream: Stream) -> None:
        _log.info("source.followed", extra=fields(source=stream.name))
        stream.away, stream.reported = None, False

    def _report_source(self, stream: Stream) -> None:
        """Write to the state whether the log is away, why, and since when."""
        if stream.reported:
            return
        away, context = stream.away, self._context()

        def change(state: FleetState) -> FleetState:
            state = absorb_presence(state, context, away=away is not None)
            return with_source_status(state, stream.name, away, context.now)

        self._parts.store.update(change)
        stream.reported = True

    def _source_broken(self, stream: Stream, error: Exception) -> None:
        """Log why a source cannot be followed, and plan to open it again; the other source goes on meanwhile."""
        hint = error.hint if isinstance(error, FleetError) else ""
        _log.error("source.broken", extra=fields(source=stream.name, reason=str(error), hint=hint))
        self._source_away(stream, Away(str(error), hint))
        stream.reopen_at = self._parts.clock.monotonic() + _BROKEN_RETRY

    def _reopen_broken(self) -> None:
        now = self._parts.clock.monotonic()
        for origin, stream in tuple(self._streams.items()):
            if stream.reopen_at is not None and now >= stream.reopen_at:
                self._follow(origin, stream.committed)

    # From what was read to the state

    def _commit(self) -> None:
        """Write the batches that matter now; the others wait for the next check."""
        for origin in (LOG, SIGNALS):
            while (stream := self._streams[origin]).pending.batches and self._matters(origin, stream):
                self._write(origin, stream)

    def _matters(self, origin: str, stream: Stream) -> bool:
        """Return True if pending batches must be written now.

        The place at which a log was first joined matters: a monitor that died before its write would join later.
        """
        pending = stream.pending
        if pending.full or self._parts.clock.monotonic() >= self._next_check:
            return True
        lines = [line for batch in pending.batches for line in batch.lines]
        if origin == LOG:
            return bool(lines) or stream.committed is None
        if not all_answered(lines, self._parts.clock.time()):
            return True
        state = self._parts.store.read()
        return bool(lines) and bool(state.switch or state.hold or state.incidents or state.unanswered)

    def _write(self, origin: str, stream: Stream) -> None:
        batches = stream.pending.portion()
        try:
            state = self._store(stream, batches)
        except StaleCursorError:
            _log.warning("source.reread", extra=fields(source=stream.name))
            self._follow(origin, self._parts.store.read().cursors.get(origin))
            return
        stream.committed = batches[-1].cursor
        del stream.pending.batches[: len(batches)]
        self._act(state, self._context())

    def _store(self, stream: Stream, batches: list[Batch]) -> FleetState:
        """Write the result of batches; if a line raises, absorb the lines one by one and skip that one."""
        try:
            return self._store_with(absorb_batch, stream, batches)
        except FleetError:
            raise
        except Exception:  # noqa: BLE001  # absorb_each finds the line and reports it
            _log.debug("line.raised", exc_info=True)
            return self._store_with(partial(absorb_each, source=stream.name), stream, batches)

    def _store_with(self, absorb: Absorb, stream: Stream, batches: list[Batch]) -> FleetState:
        """Compute the next state without the lock, and again under it only if the state has changed meanwhile."""
        origin, cursor = stream.thread.origin, batches[-1].cursor

        def change(state: FleetState) -> FleetState:
            if state.cursors.get(origin) != stream.committed:
                raise StaleCursorError("the state has another cursor")
            context = self._context()
            for batch in batches:
                state = absorb(state, origin, batch.lines, context)
            return self._expecting_unload(replace(state, cursors={**state.cursors, origin: cursor}))

        before = self._parts.store.read()
        after = change(before)
        return self._parts.store.update(lambda state: after if state == before else change(state))

    def _context(self) -> Context:
        rules, tags = self._knowledge()
        first_token = self._parts.settings.ollama.first_token_timeout
        return Context(self._parts.clock.time(), rules, self._detector, tags, first_token)

    # What time brings

    def _check(self) -> None:
        """Do what is due by time: the grouper's deadlines, holds, probes, a verify that waits for too long."""
        self._next_check = self._parts.clock.monotonic() + self._parts.settings.policy.check_interval
        context = self._context()
        self._beat(context.now)
        self._act(
            self._parts.store.update_if_changed(lambda state: self._after_time(state, context)), context
        )

    def _beat(self, now: float) -> None:
        try:
            self._heartbeat.beat(now)
        except OSError as error:
            _log.error("heartbeat.not_written", extra=fields(reason=error.strerror))

    def _after_time(self, state: FleetState, context: Context) -> FleetState:
        state = absorb_time(state, context)
        switch = state.switch
        limit = self._parts.settings.ollama.first_token_timeout + 60.0
        verifies = switch is not None and switch.phase is SwitchPhase.VERIFY
        if switch is not None and verifies and context.now - (switch.restarted or switch.since) > limit:
            ended = VerifyEnded(switch.number, "no call was answered in time")
            state = decide(state, ended, context.now, context.rules).state
        return self._expecting_unload(decide(state, Tick(), context.now, context.rules).state)

    def _act(self, state: FleetState, context: Context) -> None:
        """Carry out the state's switch and holds, and plan the next check for when something is due."""
        if state.switch is not None and state.switch.phase is not SwitchPhase.VERIFY:
            self._worker.wake()  # first: the generator stands still until the switch is done
            self._unloading = state.switch.number
        elif must_free(state, self._parts.clock.time()):
            self._worker.wake()
        now, monotonic = self._parts.clock.time(), self._parts.clock.monotonic()
        wanted = pause_of(state, now)
        resumes = None if wanted is None else wanted.until
        for moment in (deadline(state, context), resumes, next_change(state, now, context.rules)):
            if moment is not None:
                self._next_check = min(self._next_check, monotonic + max(moment - now, _SOON))
        reasons = (state.watch.get("loaded"), hang_suspected(state))
        if reasons != self._reasons:
            self._reasons = reasons
            self._ollama_watch.wake()
        total = state.watch.get("gpu_total")
        self._knowledge.gpu_total = total if isinstance(total, int) else None
        self._knowledge.set_climbing(can_climb(state))
        self._pauses.follow(state, now)
        self._prefetcher.follow(state)

    def _expecting_unload(self, state: FleetState) -> FleetState:
        """Note for the grouper, once a switch, that the fleet itself is about to unload the model."""
        switch = state.switch
        if switch is None or switch.phase is SwitchPhase.VERIFY or switch.number == self._unloading:
            return state
        return absorb_unload(state, state.current_model, self._context())

    def _note_unload(self, model: str) -> None:
        self._parts.store.update(lambda state: absorb_unload(state, model, self._context()))
