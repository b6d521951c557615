"""The monitor's loop: take what was read, decide, persist, act; it alone joins clock, files and threads.

One write carries the cursor and what came of the lines before it, and it is made only on top of the cursor
that the batch began at: a monitor that was overtaken, or whose state was set back to an older copy, reads
again from where the state says. What was read stays in memory while the state cannot be written.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fleet.policy.decide import decide
from fleet.policy.facts import Tick, VerifyEnded
from fleet.policy.recovery import below_its_best
from fleet.policy.state import FleetState, Phase
from fleet.policy.unanswered import may_hang
from fleet.runtime.errors import FleetError, StateError
from fleet.runtime.heartbeat import Pulse
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
from monitor.models.prefetch import Fetcher
from monitor.skipped_lines import Absorb, absorb_each
from monitor.sources.base import Away, Back, Batch, Cursor, LogSource
from monitor.sources.thread import Delivery, Inbox, Pump
from monitor.streams import Pending, StaleCursorError, Stream, source_noted
from monitor.switching.ahead import Ahead, Scout, committed, is_near
from monitor.switching.executor import Parts, Switcher
from monitor.switching.pauses import Pauses, pause_of
from monitor.switching.worker import SwitchWorker
from monitor.watch.ollama import VramWatch

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
        self._pending: dict[str, Pending] = {LOG: Pending(), SIGNALS: Pending()}
        self._stopping = threading.Event()
        self._teller = EventLog(parts.home)
        self._pauses = Pauses(parts.home)
        self._pulse = Pulse(parts.home, "monitor", within=parts.settings.policy.check_interval)
        self._next_check = 0.0
        self._next_look = 0.0
        self._unloading = 0
        self._near = False
        self._scout = Scout(parts.ladder, parts.ollama, parts.supervisor, parts.clock)
        switcher = Switcher(parts, lambda: knowledge()[0])
        self._worker = SwitchWorker(parts, switcher, after=self.nudge)
        self._vram = VramWatch(parts, switcher, knowledge, before_unload=self._note_unload, after=self.nudge)
        self._fetcher = Fetcher(parts, lambda: knowledge()[0], after=self._fetched)
        self._reasons: tuple[object, object] = (None, None)

    def stop(self) -> None:
        """End the loop; safe to call from a signal handler."""
        self._stopping.set()
        self._inbox.put(None)

    def nudge(self) -> None:
        """Make the loop look at the state now."""
        self._next_check = 0.0
        self._inbox.put(None)

    def _fetched(self) -> None:
        self._knowledge.refresh()
        self.nudge()

    def run(self) -> None:
        """Follow until stopped; raise StateError only if the state cannot even be read at the start."""
        context = self._context()
        state = self._parts.store.update(lambda state: absorb_presence(state, context, away=True))
        self._near = is_near(state, self._knowledge()[0])
        self._next_look = self._parts.clock.monotonic() + self._parts.settings.policy.check_interval
        for origin in (LOG, SIGNALS):
            self._follow(origin, state.cursors.get(origin))
        self._knowledge.start()
        self._vram.start()
        self._worker.start()
        self._worker.wake()
        self._fetcher.start()
        while not self._stopping.is_set():
            self._turn()
        self._fetcher.stop()
        self._worker.stop()
        self._vram.stop()
        self._knowledge.stop()
        self._worker.join(_END_WITHIN)
        self._vram.join(_END_WITHIN)
        for stream in self._streams.values():
            stream.pump.close()

    def _follow(self, origin: str, cursor: Cursor | None) -> None:
        """Begin to read a source at a cursor, in place of what was read of it before."""
        old = self._streams.get(origin)
        if old is not None:
            old.pump.close()
        pump = Pump(origin, self._open_source(origin), cursor, self._inbox)
        self._streams[origin] = Stream(pump, cursor, old.away, old.told) if old else Stream(pump, cursor)
        self._pending[origin] = Pending()
        pump.start()

    def _turn(self) -> None:
        self._gather()
        looks = self._is_time_to_look()
        try:
            self._report_source(self._streams[LOG])
            self._commit()
            if self._parts.clock.monotonic() >= self._next_check:
                self._check()
            self._teller.tell_new()
        except StateError as error:
            _log.error("state.not_written", extra=fields(reason=error.message, hint=error.hint))
            self._parts.clock.wait(self._stopping, _WRITE_RETRY)
        except Exception:  # noqa: BLE001  # atop the loop: an unforeseen fault is logged and tried again
            _log.exception("loop.broken")
            self._parts.clock.wait(self._stopping, _WRITE_RETRY)
        if looks:
            self._worker.look()
            self._vram.look()

    def _gather(self) -> None:
        """Wait for something to do, and take what has come, one write's fill at most; the rest waits its turn."""
        wait = True
        with contextlib.suppress(queue.Empty):
            while not any(pending.full for pending in self._pending.values()):
                self._receive(self._inbox.get(wait, self._patience()))
                wait = False

    def _patience(self) -> Seconds:
        return max(min(self._next_check, self._next_look) - self._parts.clock.monotonic(), 0.0)

    def _is_time_to_look(self) -> bool:
        """Tell, once an interval, that it is time for all that is looked at periodically, the loop's check too.

        It is done in one go: on caches that have gone cold anything takes several times as long.
        """
        now = self._parts.clock.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + self._parts.settings.policy.check_interval
        self._next_check = now
        return True

    # What comes from the sources

    def _receive(self, delivery: Delivery | None) -> None:
        if delivery is None:
            return
        delivery.pump.taken()
        pump, item = delivery.pump, delivery.item
        stream = self._streams[pump.origin]
        if stream.pump is not pump:
            return
        match item:
            case Batch():
                self._pending[pump.origin].batches.append(item)
            case Away():
                self._source_away(stream, item)
            case Back():
                self._source_back(stream)
            case _:
                self._source_broken(stream, item)

    def _source_away(self, stream: Stream, item: Away) -> None:
        name = stream.pump.source.name
        _log.warning("source.away", extra=fields(source=name, reason=item.reason, hint=item.hint))
        stream.away, stream.told = item, False

    def _source_back(self, stream: Stream) -> None:
        _log.info("source.followed", extra=fields(source=stream.pump.source.name))
        stream.away, stream.told = None, False

    def _report_source(self, stream: Stream) -> None:
        """Have the state say whether the log is away, why, and since when, also over a restart of ours."""
        if stream.told:
            return
        name, away, context = stream.pump.source.name, stream.away, self._context()

        def change(state: FleetState) -> FleetState:
            state = absorb_presence(state, context, away=away is not None)
            return source_noted(state, name, away, context.now)

        self._parts.store.update(change)
        stream.told = True

    def _source_broken(self, stream: Stream, error: Exception) -> None:
        """Say why a source cannot be followed, and try it anew from the state's cursor a little later."""
        hint = error.hint if isinstance(error, FleetError) else ""
        _log.error(
            "source.broken", extra=fields(source=stream.pump.source.name, reason=str(error), hint=hint)
        )
        self._source_away(stream, Away(str(error), hint))
        self._parts.clock.wait(self._stopping, _BROKEN_RETRY)
        self._follow(stream.pump.origin, stream.committed)

    # From what was read to the state

    def _commit(self) -> None:
        """Write what came of the batches that matter now; the others wait for the next check.

        Where a log was first joined matters: a monitor that dies before it is written would join it anew, later.
        """
        for origin in (LOG, SIGNALS):
            while (pending := self._pending[origin]).batches and self._matters(origin, pending):
                self._write(origin, pending)

    def _matters(self, origin: str, pending: Pending) -> bool:
        if pending.full or self._parts.clock.monotonic() >= self._next_check:
            return True
        lines = [line for batch in pending.batches for line in batch.lines]
        if origin == LOG:
            return bool(lines) or self._streams[origin].committed is None
        if not all_answered(lines, self._parts.clock.time()):
            return True
        state = self._parts.store.read()
        return bool(lines) and bool(state.switch or state.hold or state.incidents or state.unanswered)

    def _write(self, origin: str, pending: Pending) -> None:
        stream, batches = self._streams[origin], pending.portion()
        try:
            state = self._put(stream, batches)
        except StaleCursorError:
            _log.warning("source.reread", extra=fields(source=stream.pump.source.name))
            self._follow(origin, self._parts.store.read().cursors.get(origin))
            return
        stream.committed = batches[-1].cursor
        del pending.batches[: len(batches)]
        self._act(state, self._context())

    def _put(self, stream: Stream, batches: list[Batch]) -> FleetState:
        """Write what came of batches; where a line raises, each is absorbed by itself and that one skipped."""
        ahead = self._scout() if self._near else None
        try:
            return self._stored(stream, batches, ahead, absorb_batch)
        except FleetError:
            raise
        except Exception:  # noqa: BLE001  # absorb_each finds the line and reports it
            _log.debug("line.raised", exc_info=True)
            each = partial(absorb_each, source=stream.pump.source.name)
            return self._stored(stream, batches, ahead, each)

    def _stored(
        self, stream: Stream, batches: list[Batch], ahead: Ahead | None, absorb: Absorb
    ) -> FleetState:
        """Work out the next state without the lock, and once more under it if the state has moved meanwhile."""
        origin, cursor = stream.pump.origin, batches[-1].cursor

        def change(state: FleetState) -> FleetState:
            if state.cursors.get(origin) != stream.committed:
                raise StaleCursorError("the state has another cursor")
            context = self._context()
            for batch in batches:
                state = absorb(state, origin, batch.lines, context)
            state = replace(state, cursors={**state.cursors, origin: cursor})
            return committed(self._expecting_unload(state), context.now, context.rules, ahead)

        before = self._parts.store.read()
        after = change(before)
        return self._parts.store.update(lambda state: after if state == before else change(state))

    def _context(self) -> Context:
        rules, tags = self._knowledge()
        first_token = self._parts.settings.ollama.first_token_timeout
        return Context(self._parts.clock.time(), rules, self._detector, tags, first_token)

    # What time brings

    def _check(self) -> None:
        """Look at what is due: the grouper's deadlines, holds, probes, a verify that waits for too long."""
        self._next_check = self._next_look
        context = self._context()
        self._beat(context.now)
        self._act(self._parts.store.settle(lambda state: self._after_time(state, context)), context)

    def _beat(self, now: float) -> None:
        try:
            self._pulse.beat(now)
        except OSError as error:
            _log.error("heartbeat.not_written", extra=fields(reason=error.strerror))

    def _after_time(self, state: FleetState, context: Context) -> FleetState:
        state = absorb_time(state, context)
        switch = state.switch
        limit = self._parts.settings.ollama.first_token_timeout + 60.0
        verifies = switch is not None and switch.phase is Phase.VERIFY
        if switch is not None and verifies and context.now - (switch.restarted or switch.since) > limit:
            ended = VerifyEnded(switch.number, "no call was answered in time")
            state = decide(state, ended, context.now, context.rules).state
        return self._expecting_unload(decide(state, Tick(), context.now, context.rules).state)

    def _act(self, state: FleetState, context: Context) -> None:
        """Bring holds and switches of the state into the world, and look again when something is due."""
        if state.switch is not None and state.switch.phase is not Phase.VERIFY:
            self._worker.wake()  # before all else: this is what somebody waits for
            self._unloading = state.switch.number
        now, monotonic = self._parts.clock.time(), self._parts.clock.monotonic()
        paused = pause_of(state, now)
        for moment in (deadline(state, context), paused and paused[0]):
            if moment is not None:
                self._next_check = min(self._next_check, monotonic + max(moment - now, _SOON))
        reasons = (state.watch.get("loaded"), may_hang(state))
        if reasons != self._reasons:
            self._reasons = reasons
            self._vram.look()
        total = state.watch.get("gpu_total")
        self._knowledge.gpu_total = total if isinstance(total, int) else None
        self._knowledge.climbing = below_its_best(state)
        self._near = is_near(state, context.rules)
        self._pauses.follow(state, now)
        self._fetcher.follow(state)

    def _expecting_unload(self, state: FleetState) -> FleetState:
        """Tell the grouper, once a switch, that the model in memory is about to be unloaded by us."""
        switch = state.switch
        if switch is None or switch.phase is Phase.VERIFY or switch.number == self._unloading:
            return state
        return absorb_unload(state, state.current_model, self._context())

    def _note_unload(self, model: str) -> None:
        self._parts.store.update(lambda state: absorb_unload(state, model, self._context()))
