from typing import Any

import pytest

from generator.catalogue import load_catalogue
from generator.domain import CallRecord, CallVerdict
from generator.llm.context_window import Window
from generator.llm.feedback import FailedExpression, Feedback
from generator.llm.prompt import build_prompt
from generator.llm.request_form import RequestForm
from generator.llm.throttle import call_verdict
from generator.llm.unusable import unusable_reason

PROMPT = build_prompt(load_catalogue(), Feedback(), count=2, window=Window(4096), seed=11)
NARROW = build_prompt(load_catalogue(), Feedback(), count=2, window=Window(128), seed=11)
CONTEXT = '{"error":{"message":"request (4204 tokens) exceeds the available context size (4096 tokens)"}}'


def call(**values: Any) -> CallRecord:
    row: dict[str, Any] = {"status": 200, "reply_tokens": 448, **values}
    return CallRecord("c", 1.0, 2.0, "m:1b", 0, 0, "p", **row)


@pytest.mark.parametrize(
    ("one", "kind", "words"),
    [
        (call(done_reason="length", thinking="Okay"), "thoughts", "used up the reply's tokens (448 tokens)"),
        (call(done_reason="length", reply="<think>Okay"), "thoughts", "used up the reply's tokens"),
        (call(done_reason="stop", thinking="Okay"), "thoughts", "gave thoughts and no answer"),
        (call(done_reason="length"), "cut", "before its first word"),
        (call(done_reason="stop"), "empty", "done_reason stop, asked with a schema"),
        (call(done_reason="length", reply='{"expressions":[["ra'), "cut", "before its first expression"),
        (call(done_reason="stop", reply="I am sorry."), "invalid", "there was no expression"),
        (call(status=400, error=CONTEXT), "context", "longer than the model's context"),
        (call(status=400, error='invalid think value: "x"'), "refused", "invalid think value"),
        (call(status=401, error="unauthorized"), "refused", "Ollama refuses the request: unauthorized"),
    ],
)
def test_each_unusable_call_has_its_reason_and_a_mend(one: CallRecord, kind: str, words: str) -> None:
    failures = [FailedExpression("x", "there was no expression in the reply")]
    reason = unusable_reason(
        one, call_verdict(one, usable=False), form=RequestForm(), prompt=PROMPT, failures=failures
    )
    assert reason is not None
    assert reason.kind == kind
    assert words in reason.text
    assert reason.mend


def test_a_context_that_the_shortest_prompt_does_not_fit_is_named() -> None:
    one = call(done_reason="length")
    reason = unusable_reason(one, CallVerdict.EMPTY, form=RequestForm(), prompt=NARROW, failures=())
    assert reason is not None
    assert (reason.kind, PROMPT.fits) == ("context", True)
    assert "128 tokens is too small" in reason.text
    assert "num_ctx" in reason.mend


@pytest.mark.parametrize(
    "verdict",
    [CallVerdict.ANSWERED, CallVerdict.MEMORY, CallVerdict.MISSING, CallVerdict.AWAY, CallVerdict.FAILED],
)
def test_verdicts_independent_of_prompt_and_reply_have_no_reason(verdict: CallVerdict) -> None:
    one = call(status=500, error="boom")
    assert unusable_reason(one, verdict, form=RequestForm(), prompt=PROMPT, failures=()) is None


def test_a_models_words_are_cut_and_put_on_one_line() -> None:
    failures = [FailedExpression("x", "bad\n" * 500)]
    reason = unusable_reason(
        call(reply="x"), CallVerdict.UNUSABLE, form=RequestForm(), prompt=PROMPT, failures=failures
    )
    assert reason is not None
    assert len(reason.text) < 250
    assert "\n" not in reason.text
