"""The monitor's loop, the one owner of the state: it receives, decides, writes and starts the next steps.

Only the loop writes the state. Its threads do the slow work and put their results into one inbox. One write carries a
cursor and the result of the lines before it. The write needs the state's cursor to be the one at which its batches
began. After a write by another monitor, or the restoration of an older copy, reading therefore resumes at the state's
cursor. The loop never sleeps. While the state cannot be written, messages, batches and threads wait.
"""

import contextlib
import logging
import queue
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fleet.clients.gpu import Cards, no_cards
from fleet.clients.ollama import Ollama
from fleet.config.schema import Settings
from fleet.policy.caps import next_change
from fleet.policy.decide import decide
from fleet.policy.facts import CardSeen, Tick, VerifyEnded
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchPhase
from fleet.runtime.clock import Clock
from fleet.runtime.errors import FleetError, StateError
from fleet.runtime.heartbeat import HeartbeatFile
from fleet.runtime.home import Home
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from monitor.detection.detector import Detector
from monitor.event_log import EventLog
from monitor.inbox import Inbox, LogPresence, Message, ModelsKnown, Posted
from monitor.ingest import (
    LOG,
    SIGNALS,
    Context,
    absorb_fact,
    absorb_presence,
    absorb_time,
    deadline,
    deciding,
)
from monitor.models.pull import DiskCheck, no_limit
from monitor.pauses import Pauses
from monitor.skipped_lines import absorb_each
from monitor.sources.base import Away, Back, Batch, Cursor, LogSource
from monitor.sources.thread import Delivery, SourceThread, StaleCursorError, Stream
from monitor.workers import Workers
from state.store import StateStore

_log = logging.getLogger(__name__)
_BROKEN_RETRY: Seconds = 5.0
_WRITE_RETRY: Seconds = 1.0
_SOON: Seconds = 0.01
_END_WITHIN: Seconds = 3.0

OpenSource = Callable[[str], LogSource]
Change = Callable[[FleetState], FleetState]


class Monitor:
    """Follows a log and the generator's calls until it is stopped."""

    def __init__(
        self,
        *,
        home: Home,
        settings: Settings,
        ollama: Ollama,
        open_source: OpenSource,
        detector: Detector,
        clock: Clock,
        disk: DiskCheck = no_limit,
        cards: Cards = no_cards,
    ) -> None:
        self._settings = settings
        self._open_source = open_source
        self._detector = detector
        self._clock = clock
        self._store = StateStore(home, settings.ladder, clock)
        self._inbox = Inbox()
        self._stopping = threading.Event()
        self._workers = Workers(
            home=home,
            settings=settings,
            ollama=ollama,
            clock=clock,
            read=self._store.read,
            inbox=self._inbox,
            stopping=self._stopping,
            disk=disk,
            cards=cards,
        )
        self._known = ModelsKnown()
        self._facts: deque[Posted] = deque()
        self._streams: dict[str, Stream] = {}
        self._event_log = EventLog(home)
        self._pauses = Pauses(home)
        self._heartbeat = HeartbeatFile(home, "monitor", within=settings.policy.check_interval)
        self._next_check = 0.0
        self._retry_at = 0.0

    def stop(self) -> None:
        """End the loop; safe to call from a signal handler."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        """Follow until stopped."""
        state = self._first_state()
        if state is None:
            return
        for origin in (LOG, SIGNALS):
            self._follow(origin, state.cursors.get(origin))
        self._workers.start()
        self._act(state)
        while not self._stopping.is_set():
            self._turn()
        self._workers.wake()
        self._finish()
        for stream in self._streams.values():
            stream.thread.close()
        self._inbox.close(self._facts)

    def _first_state(self) -> FleetState | None:
        """Write that the log is not followed yet; return the state, None if the monitor is stopped before.

        A monitor that ended here, as on a full disk, would soon be FATAL: supervisord starts it no more.
        """
        context = self._context()
        while not self._stopping.is_set():
            try:
                return self._store.update(partial(absorb_presence, context=context, away=True))
            except StateError as error:
                _log_not_written(error)
                self._clock.wait(self._stopping, _WRITE_RETRY)
        return None

    def _finish(self) -> None:
        """Serve the threads that still have to remove a pause or a model, for a few seconds at most."""
        self._next_check = end = self._clock.monotonic() + _END_WITHIN
        while self._workers.finishing and self._clock.monotonic() < end:
            self._turn()

    def _follow(self, origin: str, cursor: Cursor | None) -> None:
        """Read a source from a cursor on; drop the items of an earlier thread."""
        old = self._streams.get(origin)
        if old is not None:
            old.thread.close()
        thread = SourceThread(origin, self._open_source(origin), cursor, self._inbox.put)
        self._streams[origin] = Stream(thread, cursor)
        thread.start()

    def _turn(self) -> None:
        self._gather()
        if self._clock.monotonic() < self._retry_at:
            return
        try:
            self._reopen_broken()
            self._write_facts()
            self._write_batches()
            if self._clock.monotonic() >= self._next_check:
                self._check()
            self._event_log.log_new()
        except StateError as error:
            _log_not_written(error)
            self._retry_at = self._clock.monotonic() + _WRITE_RETRY
        except Exception:  # noqa: BLE001  # atop the loop: an unforeseen fault is logged and tried again
            _log.exception("loop.broken")
            self._retry_at = self._clock.monotonic() + _WRITE_RETRY

    def _gather(self) -> None:
        """Wait for a message or a due time, and receive all messages."""
        patience = self._patience()
        with contextlib.suppress(queue.Empty):
            while True:
                self._receive(self._inbox.get(patience))
                patience = 0.0

    def _patience(self) -> Seconds:
        now = self._clock.monotonic()
        if now < self._retry_at:
            return self._retry_at - now
        if self._facts or any(stream.urgent for stream in self._streams.values()):
            return 0.0
        return min(self._next_check, *(stream.reopen_at for stream in self._streams.values())) - now

    # Arrivals

    def _receive(self, message: Message) -> None:
        match message:
            case Delivery():
                self._delivered(message)
            case Posted():
                self._facts.append(message)
            case ModelsKnown():
                self._known = message
            case None:  # only wakes the loop
                return

    def _delivered(self, delivery: Delivery) -> None:
        thread, item = delivery.thread, delivery.item
        stream = self._streams[thread.origin]
        if stream.thread is not thread:
            return
        if isinstance(item, Batch):
            stream.add(item)
            return
        thread.release()
        if isinstance(item, Back):
            _log.info("source.followed", extra=fields(source=stream.name))
            self._presence(stream, None)
        elif isinstance(item, Away):
            _log.warning("source.away", extra=fields(source=stream.name, reason=item.reason, hint=item.hint))
            self._presence(stream, item)
        else:
            self._source_broken(stream, item)

    def _presence(self, stream: Stream, away: Away | None) -> None:
        if stream.thread.origin == LOG:
            self._facts.append(Posted(LogPresence(stream.name, away)))

    def _source_broken(self, stream: Stream, error: Exception) -> None:
        """Log why a source cannot be followed, and plan its reopening; the other source continues."""
        hint = error.hint if isinstance(error, FleetError) else ""
        _log.error("source.broken", extra=fields(source=stream.name, reason=str(error), hint=hint))
        self._presence(stream, Away(str(error), hint))
        stream.reopen_at = self._clock.monotonic() + _BROKEN_RETRY

    def _reopen_broken(self) -> None:
        now = self._clock.monotonic()
        for origin, stream in tuple(self._streams.items()):
            if now >= stream.reopen_at:
                self._follow(origin, stream.committed)

    # Decide and write

    def _write_facts(self) -> None:
        """Decide on each fact and release its sender; a fact that cannot be written stays first in the queue."""
        while self._facts:
            posted = self._facts[0]
            if isinstance(posted.fact, CardSeen) and posted.fact.available is not None:
                self._known = replace(self._known, free=posted.fact.available)  # newer than the inventory's
            context = self._context()
            try:
                state = self._store.update(partial(absorb_fact, fact=posted.fact, context=context))
            except StateError:
                raise
            except Exception as error:  # noqa: BLE001  # its sender reports it, and the next fact is decided on
                self._facts.popleft().answer(error)
                continue
            self._facts.popleft().answer(state)
            self._workers.note(posted.fact)
            self._act(state)

    def _write_batches(self) -> None:
        """Write one portion of each source whose lines matter now; the others wait for the next check."""
        due = self._clock.monotonic() >= self._next_check
        for stream in tuple(self._streams.values()):
            if stream.pending and (due or stream.urgent):
                self._write_portion(stream, stream.portion())

    def _write_portion(self, stream: Stream, batches: list[Batch]) -> None:
        try:
            state = self._write_lines(stream, batches)
        except StaleCursorError:
            _log.warning("source.reread", extra=fields(source=stream.name))
            origin = stream.thread.origin
            self._follow(origin, self._store.read().cursors.get(origin))
            return
        stream.written(batches)
        self._act(state)

    def _write_lines(self, stream: Stream, batches: list[Batch]) -> FleetState:
        """Write the result of lines; if a line raises, absorb the lines one by one and skip that line."""
        origin, context = stream.thread.origin, self._context()
        lines = [line for batch in batches for line in batch.lines]

        try:
            decided = deciding(self._store.read(), origin, lines, context)
            return self._store.update(partial(_on_top, stream, batches[-1].cursor, decided))
        except FleetError:
            raise
        except Exception:  # noqa: BLE001  # absorb_each finds the line and reports it
            _log.debug("line.raised", exc_info=True)
            one_by_one = partial(absorb_each, origin=origin, lines=lines, context=context, source=stream.name)
            return self._store.update(partial(_on_top, stream, batches[-1].cursor, one_by_one))

    def _context(self) -> Context:
        known, settings = self._known, self._settings
        rules = Rules(
            settings.ladder,
            settings.policy,
            needs=known.needs,
            sizes=known.sizes,
            free=known.free,
            jitter=random.random(),
            hours=settings.hours,
        )
        first_token = settings.ollama.first_token_timeout
        return Context(self._clock.time(), rules, self._detector, known.tags, first_token, known.weights)

    # Next steps

    def _check(self) -> None:
        """Do the work due by time: the grouper's deadlines, holds, probes, a verify that waits for too long."""
        context = self._context()
        try:
            self._heartbeat.beat(context.now)
        except OSError as error:
            _log.error("heartbeat.not_written", extra=fields(reason=error.strerror))
        state = self._store.update(partial(self._after_time, context))
        self._next_check = self._clock.monotonic() + self._settings.policy.check_interval
        self._act(state)

    def _after_time(self, context: Context, state: FleetState) -> FleetState:
        state = absorb_time(state, context)
        switch, limit = state.switch, context.first_token + 60.0
        verifies = switch is not None and switch.phase is SwitchPhase.VERIFY
        if switch is not None and verifies and context.now - (switch.restarted or switch.since) > limit:
            ended = VerifyEnded(switch.number, "no call was answered in time")
            state = decide(state, ended, context.now, context.rules).state
        return decide(state, Tick(), context.now, context.rules).state

    def _act(self, state: FleetState) -> None:
        """Wake the threads that the state calls for, keep its pause, and plan the next check."""
        self._workers.follow(state)  # first: the generator stands still until a switch is done
        now, monotonic = self._clock.time(), self._clock.monotonic()
        context, wanted = self._context(), self._pauses.follow(state, now)
        resumes = None if wanted is None else wanted.until
        for moment in (deadline(state, context), resumes, next_change(state, now, context.rules)):
            if moment is not None:
                self._next_check = min(self._next_check, monotonic + max(moment - now, _SOON))


def _log_not_written(error: StateError) -> None:
    _log.error("state.not_written", extra=fields(reason=error.message, hint=error.hint))


def _on_top(stream: Stream, cursor: Cursor, change: Change, state: FleetState) -> FleetState:
    """Return the changed state with a new cursor; raise StaleCursorError if the state's cursor is not the stream's.

    A new state and one of an original's file have no cursor: the stream then continues at its own.
    """
    origin = stream.thread.origin
    if state.cursors.get(origin) not in (None, stream.committed):
        raise StaleCursorError("the state has another cursor")
    return replace(change(state), cursors={**state.cursors, origin: cursor})
