"""Asking: a thread for each call that may be in flight, through the gate, one call after another."""

import logging
from collections.abc import Callable

from fleet.logs import fields
from generator.calllog import CallLog
from generator.calls import Caller
from generator.gate import Flight, Gate
from generator.pacing import Verdict, judge
from generator.prompt import Prompt
from generator.prompts import PromptSource
from generator.records import CallRecord
from generator.replies import Finished, read_reply
from generator.shared import Shared
from generator.signalfile import SignalFile
from generator.unusable import reason_of
from generator.ways import Way, Ways

_log = logging.getLogger(__name__)


class Asker:
    """Asks until the gate is closed; finished calls go to the monitor's file and to the queue.

    `wake` is called when a call begins and when it ends.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        gate: Gate,
        caller: Caller,
        ways: Ways,
        prompts: PromptSource,
        signals: SignalFile,
        log: CallLog,
        wake: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._gate = gate
        self._caller = caller
        self._ways = ways
        self._prompts = prompts
        self._signals = signals
        self._kept = log
        self._unkept = False
        self._wake = wake

    def run(self) -> None:
        """Ask, until the gate is closed."""
        while (flight := self._gate.enter()) is not None:
            self._wake()
            try:
                self._ask(flight)
            except Exception:  # noqa: BLE001  # the top of a loop: told, counted as a failure, gone on later
                _log.exception("asking.failed")
                self._gate.leave(flight, Verdict.FAILED)

    def _ask(self, flight: Flight) -> None:
        prompt, way = self._prompts.next(), self._ways.now()
        call = self._caller.call(prompt, flight, way)
        if call is None:
            self._gate.leave(flight, None)
            return
        verdict = self._end(flight, call, prompt, way)
        self._prompts.learn(prompt, call, verdict)

    def _end(self, flight: Flight, call: CallRecord, prompt: Prompt, way: Way) -> Verdict:
        reply = read_reply(call, self._shared.scope.catalogue)
        verdict = judge(call, usable=bool(reply.candidates))
        reason = reason_of(call, verdict, way=way, prompt=prompt, failures=reply.failures)
        self._tell_monitor(call)
        # Into the queue first: whoever stops us finds the call either in flight or there.
        self._shared.finished.put(Finished(call, reply))
        self._shared.scoreboard.count(calls=1, failed=int(not call.answered))
        another_way = self._ways.learn(way, verdict)
        pace = self._gate.leave(flight, verdict, reason)
        self._wake()
        wait = max(0.0, pace.not_before - self._shared.clock.monotonic())
        self._shared.narrator.call_ended(call, verdict, pace, wait)
        self._shared.narrator.replies(lambda: self._gate.pace.streak)
        self._keep(call)
        if verdict is Verdict.FORMAT and another_way:
            self._shared.narrator.schemas_refused()
        return verdict

    def _tell_monitor(self, call: CallRecord) -> None:
        try:
            self._signals.append(call)
        except OSError as error:
            _log.error("signals.unwritten", extra=fields(id=call.id, error=error.strerror))

    def _keep(self, call: CallRecord) -> None:
        """Keep prompt and reply for inspection; where that cannot be, mining goes on, and it is told once."""
        try:
            self._kept.append(call)
        except OSError as error:
            if not self._unkept:
                _log.error("calls.unwritten", extra=fields(id=call.id, error=error.strerror))
            self._unkept = True
        else:
            self._unkept = False
