import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from fleet.clients.http import Cancel, TransportError, TransportTimeoutError
from fleet.clients.ollama import Ollama
from fleet.runtime.clock import SystemClock
from generator.catalogue import load_catalogue
from generator.catalogue.available import Scope
from generator.domain import Assignment, CallRecord, CallVerdict
from generator.llm.candidates import Reply, read_reply
from generator.llm.client import Caller, call_id
from generator.llm.context_window import Window
from generator.llm.feedback import Feedback, Notebook
from generator.llm.prompt import build_prompt
from generator.llm.prompt_source import PromptSource
from generator.llm.request_form import RequestForm
from generator.llm.throttle import CallInFlight, call_verdict
from tests.reference.manual_clock import StillClock

PROMPT = build_prompt(load_catalogue(), Feedback(), count=2, window=Window(4096), seed=11)


class Answer:
    def __init__(self, status: int, rows: list[Any]) -> None:
        self.status = status
        self._rows = rows

    def read(self) -> bytes:
        return b"".join(self.lines())

    def lines(self, *, stall: float | None = None) -> Iterator[bytes]:
        for row in self._rows:
            if isinstance(row, Exception):
                raise row
            yield row if isinstance(row, bytes) else json.dumps(row).encode()

    def close(self) -> None:
        pass


class Wire:
    """Returns prepared answers by path, and records the requests."""

    def __init__(self, **answers: "Answer | Exception") -> None:
        self._answers = {f"/api/{name}": answer for name, answer in answers.items()}
        self.asked: list[tuple[str, Any, float]] = []

    def request(
        self, method: str, path: str, body: object = None, *, timeout: float, cancel: Cancel | None = None
    ) -> Answer:
        self.asked.append((path, body, timeout))
        answer = self._answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer


def caller(wire: Wire, **options: Any) -> Caller:
    assignment = Assignment("m:1b", options, 2, 5)
    ollama = Ollama("http://o", wire)
    return Caller(ollama, assignment, clock=SystemClock(), keep_alive=1800.0, first_token=360.0)


GOOD = [
    {"response": '{"expressions":', "done": False},
    {"response": "[]}", "done": False},
    {"response": "", "done": True, "done_reason": "stop", "prompt_eval_count": 700, "eval_count": 9},
]


@pytest.mark.parametrize(
    ("count", "nanoseconds", "rate"),
    [(80, 2_000_000_000, 40.0), (7, 2_000_000_000, None), (80, 0, None), (80, -5, None), (10**30, 10, None)],
)
def test_the_rate_is_of_pure_generation_and_comes_with_the_servers_version(
    count: int, nanoseconds: int, rate: float | None
) -> None:
    last = {**GOOD[-1], "eval_count": count, "eval_duration": nanoseconds}
    wire = Wire(generate=Answer(200, [*GOOD[:-1], last]), version=Answer(200, [{"version": "0.12.3\ud800"}]))
    one = caller(wire)
    call = one.call(PROMPT, CallInFlight(10.0, 1.0))
    one.call(PROMPT, CallInFlight(11.0, 2.0))
    assert (call.rate, call.version) == (rate, "0.12.3?" if rate else "")
    assert len([path for path, _, _ in wire.asked if path == "/api/version"]) == (1 if rate else 0)


def test_an_answer_is_a_record_with_all_of_its_text_and_figures() -> None:
    call = caller(Wire(generate=Answer(200, GOOD))).call(PROMPT, CallInFlight(10.0, 1.0))
    assert (call.reply, call.status, call.error, call.done_reason) == (
        '{"expressions":[]}',
        200,
        None,
        "stop",
    )
    assert (call.prompt_tokens, call.reply_tokens, call.seed) == (700, 9, 11)
    assert (call.model, call.rung, call.switches, call.started) == ("m:1b", 2, 5, 10.0)


@pytest.mark.parametrize("count", [10**30, -1])
def test_a_count_that_no_database_can_hold_is_none(count: int) -> None:
    rows = [{**GOOD[-1], "prompt_eval_count": count, "eval_count": 5}]
    call = caller(Wire(generate=Answer(200, rows))).call(PROMPT, CallInFlight(10.0, 1.0))
    assert (call.prompt_tokens, call.reply_tokens) == (None, 5)


@pytest.mark.parametrize("ahead", [8 * 3600.0, -8 * 3600.0], ids=["suspended, or set forward", "set back"])
def test_a_call_takes_its_monotonic_seconds_whatever_the_clock_does(ahead: float) -> None:
    class StepsClock(StillClock):
        def time(self) -> float:
            return self.now + ahead

    asking = caller(Wire(generate=Answer(200, GOOD)))
    asking._clock = StepsClock(20.0)
    assert asking.call(PROMPT, CallInFlight(10.0, 5.0)).seconds == 15.0


def test_an_answer_that_was_whole_before_the_end_is_kept() -> None:
    flight = CallInFlight(10.0, 1.0)

    class Ending(Answer):
        def close(self) -> None:
            flight.cancel()

    call = caller(Wire(generate=Ending(200, GOOD))).call(PROMPT, flight)
    assert (call.cut, call.reply, call.reply_tokens) == (False, '{"expressions":[]}', 9)
    call = caller(Wire(generate=Ending(200, GOOD[:1]))).call(PROMPT, flight)
    assert (call.cut, call.reply, call.error) == (True, "", None)


def test_characters_that_no_database_can_hold_are_replaced() -> None:
    strange = [{"response": "a\ud800b\0", "done": False}, {"done": True, "done_reason": "x" * 99}]
    call = caller(Wire(generate=Answer(200, strange))).call(PROMPT, CallInFlight(10.0, 1.0))
    assert (call.reply, call.done_reason) == ("a?b\ufffd", "x" * 32)
    call = caller(Wire(generate=Answer(500, [{"error": "\ud800"}]))).call(PROMPT, CallInFlight(10.0, 1.0))
    assert call.error == "?"


def test_the_request_carries_schema_options_and_keep_alive() -> None:
    wire = Wire(generate=Answer(200, GOOD))
    caller(wire, num_ctx=1024, temperature=0.1).call(PROMPT, CallInFlight(10.0, 1.0))
    path, body, timeout = wire.asked[0]
    assert (path, timeout) == ("/api/generate", 360.0)
    assert body["format"]["required"] == ["expressions"]
    assert body["options"] == {
        "temperature": 0.1, "top_p": 0.95, "seed": 11, "num_predict": PROMPT.reply_tokens, "num_ctx": 1024
    }  # fmt: skip
    assert body["keep_alive"] == "1800s"
    assert body["stream"] is True
    assert not {"temperature", "num_predict"} & body.keys()


def test_a_server_without_schemas_gets_none() -> None:
    wire = Wire(generate=Answer(200, GOOD))
    caller(wire).call(PROMPT, CallInFlight(10.0, 1.0), RequestForm(schema=False))
    assert "format" not in wire.asked[0][1]


def test_think_follows_the_form_and_thinking_gets_the_rest_of_the_window() -> None:
    def body(form: RequestForm, **options: Any) -> Any:
        wire = Wire(generate=Answer(200, GOOD))
        caller(wire, **options).call(PROMPT, CallInFlight(10.0, 1.0), form)
        return wire.asked[0][1]

    assert "think" not in body(RequestForm())
    quiet = body(RequestForm(think=False))
    assert (quiet["think"], quiet["options"]["num_predict"]) == (False, PROMPT.reply_tokens)
    low = body(RequestForm(think="low", schema=False, thinks=True))
    assert (low["think"], "format" in low) == ("low", False)
    assert PROMPT.reply_tokens < low["options"]["num_predict"] == PROMPT.most_tokens
    assert PROMPT.estimated + low["options"]["num_predict"] < 4096
    assert body(RequestForm(thinks=True), num_predict=7)["options"]["num_predict"] == 7


def thought(response: str, thinking: str, reason: str = "stop") -> CallRecord:
    rows = [
        {"response": "", "thinking": thinking[:9], "done": False},
        {"response": response, "thinking": thinking[9:], "done": False},
        {"response": "", "done": True, "done_reason": reason},
    ]
    return caller(Wire(generate=Answer(200, rows))).call(PROMPT, CallInFlight(10.0, 1.0))


def test_an_answer_in_thinking_alone_is_the_reply() -> None:
    form = '{"expressions":[["rank","close"]]}'
    assert thought("", form).reply == form
    assert thought(" \n", f"Well, {form}").reply == form
    assert thought("", f"Well, rank(volume)</think>\n{form}").reply.strip() == form
    assert thought("", "Well, rank(volume)</think>\nrank(close)").reply.strip() == "rank(close)"
    assert thought("", form).thinking == form


def test_an_answer_beside_thoughts_is_the_reply_and_drafts_are_none() -> None:
    assert thought("rank(close)", '{"expressions":[["rank","volume"]]}').reply == "rank(close)"
    call = thought("", "Okay. rank(volume) is bad.", "length")
    assert (call.reply, call.thinking, call.done_reason) == ("", "Okay. rank(volume) is bad.", "length")


def test_endless_thinking_is_cut_like_an_endless_answer() -> None:
    call = caller(Wire(generate=Answer(200, [{"thinking": "x" * 2**20}] * 6))).call(
        PROMPT, CallInFlight(1.0, 1.0)
    )
    assert call_verdict(call) is CallVerdict.FAILED


@pytest.mark.parametrize(
    ("shown", "thinks", "values"),
    [
        ({"capabilities": ["completion", "thinking"]}, True, None),
        ({"capabilities": ["thinking"], "thinking": {"values": ["low", False, 3]}}, True, ("low", False)),
        ({"capabilities": ["completion"], "thinking": {"values": []}}, False, ()),
        ({"capabilities": "thinking", "thinking": [], "details": 7}, False, None),
        ({"capabilities": None}, False, None),
        ({}, False, None),
    ],
)
def test_show_says_whether_a_model_thinks(shown: Any, thinks: bool, values: Any) -> None:
    details = Ollama("http://o", Wire(show=Answer(200, [shown]))).show("m:1b")
    assert (details.thinks, details.think_values) == (thinks, values)


@pytest.mark.parametrize(
    ("answer", "status", "verdict"),
    [
        (Answer(500, [{"error": "cudaMalloc failed: out of memory"}]), 500, CallVerdict.MEMORY),
        (Answer(404, [{"error": "model 'm:1b' not found"}]), 404, CallVerdict.MISSING),
        (Answer(200, [GOOD[0], {"error": "unexpected EOF"}]), 200, CallVerdict.FAILED),
        (Answer(200, [GOOD[0]]), 0, CallVerdict.AWAY),
        (Answer(200, [GOOD[0], TransportError("cut")]), 0, CallVerdict.AWAY),
        (Answer(200, [b"<html>"]), 0, CallVerdict.AWAY),
        (Answer(200, [{"response": "x" * 2**20}] * 6), 200, CallVerdict.FAILED),
        (TransportError("connection refused"), 0, CallVerdict.AWAY),
        (TransportTimeoutError("no answer"), 0, CallVerdict.AWAY),
    ],
    ids=["memory", "missing", "mid-stream", "broke-off", "cut", "no-json", "endless", "refused", "timeout"],
)
def test_a_failure_is_a_record_too(answer: Answer | Exception, status: int, verdict: CallVerdict) -> None:
    call = caller(Wire(generate=answer)).call(PROMPT, CallInFlight(10.0, 1.0))
    assert call.status == status
    assert call.error
    assert call_verdict(call) is verdict


def test_a_cancelled_call_is_cut_and_neither_answered_nor_failed() -> None:
    flight = CallInFlight(10.0, 1.0)
    flight.cancel()
    broken = Answer(200, [GOOD[0], TransportError("the request was cancelled")])
    call = caller(Wire(generate=broken)).call(PROMPT, flight)
    assert (call.done_reason, call.status, call.error, call.reply) == ("cut", 0, None, "")
    assert call.cut
    assert not call.answered
    assert read_reply(call, load_catalogue()) == Reply()


def test_ids_sort_by_time_and_differ() -> None:
    assert call_id(10.0) < call_id(11.0) < call_id(1795478540.7)
    assert call_id(10.0) != call_id(10.0)


class TestPromptSource:
    """Prompts fit the model's context."""

    def source(self, wire: Wire, **options: Any) -> PromptSource:
        return PromptSource(
            scope=Scope(load_catalogue(), None),
            notebook=Notebook(),
            assignment=Assignment("m:1b", options),
            ollama=Ollama("http://o", wire),
            count=2,
            rng=Random(1),
        )

    def learned(self, wire: Wire, **options: Any) -> int:
        source = self.source(wire, **options)
        call = caller(Wire(generate=Answer(200, GOOD))).call(PROMPT, CallInFlight(10.0, 1.0))
        source.learn(PROMPT, call, CallVerdict.ANSWERED)
        return source.window.tokens

    def test_the_first_window_is_small(self) -> None:
        assert self.source(Wire()).window.tokens == 2048
        assert self.source(Wire(), num_ctx=1024).window.tokens == 1024
        assert self.source(Wire(), num_ctx=8192).window.tokens == 2048

    def test_the_loaded_models_context_is_used(self) -> None:
        loaded = {
            "models": [{"name": "other:1b", "context_length": 9}, {"name": "M:1b", "context_length": 8192}]
        }
        assert self.learned(Wire(ps=Answer(200, [loaded])), num_ctx=16384) == 8192

    def test_without_a_loaded_context_the_trained_one_is_used(self) -> None:
        shown = {"model_info": {"llama.context_length": 2048}}
        wire = Wire(ps=Answer(200, [{"models": [{"name": "m:1b"}]}]), show=Answer(200, [shown]))
        assert self.learned(wire) == 2048

    def test_a_trained_context_is_bounded_by_the_servers_default(self) -> None:
        shown = {"model_info": {"llama.context_length": 131072}}
        assert self.learned(Wire(ps=Answer(200, [{}]), show=Answer(200, [shown]))) == 4096

    def test_without_an_answer_the_requested_context_is_used(self) -> None:
        assert self.learned(Wire(ps=TransportError("away")), num_ctx=1024) == 1024

    def test_a_refused_context_makes_the_next_prompt_shorter(self) -> None:
        source = self.source(Wire())
        before = source.next().estimated
        failed = caller(Wire(generate=Answer(400, [{"error": "exceed_context_size_error"}])))
        call = failed.call(PROMPT, CallInFlight(10.0, 1.0))
        for _ in range(3):
            source.learn(PROMPT, call, CallVerdict.CONTEXT)
        assert source.next().estimated < before
