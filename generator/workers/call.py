"""Call worker: sends one call after another to Ollama, as the throttle admits them."""

import logging
from collections.abc import Callable

from fleet.runtime.logging import fields
from generator.context import Shared
from generator.domain import CallRecord, CallVerdict
from generator.llm.candidates import FinishedCall, Reply, read_reply
from generator.llm.client import Caller
from generator.llm.prompt import Prompt
from generator.llm.prompt_source import PromptSource
from generator.llm.request_form import RequestForm, RequestForms
from generator.llm.throttle import CallInFlight, Throttle, call_verdict
from generator.llm.unusable import unusable_reason
from generator.reporting.jsonl import CallLog, SignalFile

_log = logging.getLogger(__name__)


class CallWorker:
    """Runs calls until the throttle is closed; several threads may run one worker.

    Finished calls go to `signals.jsonl`, which the monitor reads, and to the queue of finished calls. `wake` is
    called at the start and the end of each call.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        throttle: Throttle,
        caller: Caller,
        forms: RequestForms,
        prompts: PromptSource,
        signals: SignalFile,
        log: CallLog,
        wake: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._throttle = throttle
        self._caller = caller
        self._forms = forms
        self._prompts = prompts
        self._signals = signals
        self._log = log
        self._log_failed = False
        self._wake = wake

    def run(self) -> None:
        """Run calls until the throttle is closed."""
        while (flight := self._throttle.enter()) is not None:
            self._wake()
            try:
                self._run_call(flight)
            except Exception:  # noqa: BLE001  # a thread's loop: logged, counted as a failed call
                _log.exception("asking.failed")
                self._throttle.leave(flight, CallVerdict.FAILED)

    def _run_call(self, flight: CallInFlight) -> None:
        prompt, form = self._prompts.next(), self._forms.now()
        call = self._caller.call(prompt, flight, form)
        if call.cut:
            self._cut(flight, call)
            return
        verdict = self._end(flight, call, prompt, form)
        self._prompts.learn(prompt, call, verdict)

    def _cut(self, flight: CallInFlight, call: CallRecord) -> None:
        """Store a call that a pause has cut: no failure, and without a signal to the monitor.

        An ending program stores none: its successor waits for its end.
        """
        if not self._throttle.closed:
            self._shared.finished.put(FinishedCall(call, Reply()))
            self._shared.stats.count(calls=1)
            self._shared.events.call_cut(call)
        self._throttle.leave(flight, None)
        self._wake()

    def _end(self, flight: CallInFlight, call: CallRecord, prompt: Prompt, form: RequestForm) -> CallVerdict:
        reply = read_reply(call, self._shared.scope.catalogue)
        verdict = call_verdict(call, usable=bool(reply.candidates))
        reason = unusable_reason(call, verdict, form=form, prompt=prompt, failures=reply.failures)
        self._write_signal(call)
        # Both before the call leaves the throttle: a stop waits for calls in flight and queued, not for
        # threads.
        self._write_log(call)
        self._shared.finished.put(FinishedCall(call, reply))
        self._shared.stats.count(calls=1, failed=int(not call.answered))
        self._shared.stats.call(call)
        another_form = self._forms.learn(form, verdict)
        pace = self._throttle.leave(flight, verdict, reason)
        self._wake()
        wait = max(0.0, pace.not_before - self._shared.clock.monotonic())
        self._shared.events.call_ended(
            call, verdict, failures=lambda: self._throttle.pace.failures, wait=wait
        )
        self._shared.events.replies(lambda: self._throttle.pace.streak)
        if verdict is CallVerdict.FORMAT and another_form:
            self._shared.events.schemas_refused()
        return verdict

    def _write_signal(self, call: CallRecord) -> None:
        try:
            self._signals.append(call)
        except OSError as error:
            _log.error("signals.unwritten", extra=fields(id=call.id, error=error.strerror))

    def _write_log(self, call: CallRecord) -> None:
        """Write prompt and reply to calls.log; a failure is logged once, and mining goes on."""
        try:
            self._log.append(call)
        except OSError as error:
            if not self._log_failed:
                _log.error("calls.unwritten", extra=fields(id=call.id, error=error.strerror))
            self._log_failed = True
        else:
            self._log_failed = False
