"""Asking: a thread for each call that may be in flight, through the gate, one call after another."""

import logging
from collections.abc import Callable

from fleet.runtime.logging import fields
from generator.context import Shared
from generator.domain import CallRecord
from generator.llm.candidates import Finished, read_reply
from generator.llm.client import Caller
from generator.llm.prompt import Prompt
from generator.llm.prompts import PromptSource
from generator.llm.request_form import Way, Ways
from generator.llm.throttle import CallInFlight, CallVerdict, Gate, call_verdict
from generator.llm.unusable import reason_of
from generator.reporting.jsonl import CallLog, SignalFile

_log = logging.getLogger(__name__)


class CallWorker:
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
                self._gate.leave(flight, CallVerdict.FAILED)

    def _ask(self, flight: CallInFlight) -> None:
        prompt, way = self._prompts.next(), self._ways.now()
        call = self._caller.call(prompt, flight, way)
        if call is None:
            self._gate.leave(flight, None)
            return
        verdict = self._end(flight, call, prompt, way)
        self._prompts.learn(prompt, call, verdict)

    def _end(self, flight: CallInFlight, call: CallRecord, prompt: Prompt, way: Way) -> CallVerdict:
        reply = read_reply(call, self._shared.scope.catalogue)
        verdict = call_verdict(call, usable=bool(reply.candidates))
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
        if verdict is CallVerdict.FORMAT and another_way:
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
