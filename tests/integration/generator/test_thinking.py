"""Thinking models: the stand-in behaves as Ollama's eras do, and the generator gets alphas from each.

The stand-in's texts and shapes are those of Ollama's own source: `GenerateHandler` and `ThinkValue`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.ollama import Ollama
from fleet.runtime.clock import SystemClock
from fleet.runtime.units import parse_size
from generator.catalogue import load_catalogue
from generator.domain import Assignment, CallVerdict
from generator.llm.candidates import read_reply
from generator.llm.client import Caller
from generator.llm.context_window import Window
from generator.llm.feedback import Feedback
from generator.llm.prompt import build_prompt
from generator.llm.request_form import RequestForms
from generator.llm.throttle import CallInFlight, call_verdict
from standin.faults import Fault, FaultKind
from standin.models.specs import SEED_MODELS, spec_for
from standin.ollama import StandinOllama, standin
from standin.settings import Era, StandinSettings
from tests.processes.generator import MODEL, generating
from tests.processes.standin_client import Client, client_of

QWEN, R1, GPT_OSS, PLAIN = "qwen3:4b", "deepseek-r1:8b", "gpt-oss:20b", "llama3.2:3b"
MODELS = (
    *SEED_MODELS,
    *(spec_for(name, parse_size("1 GB")) for name in (QWEN, R1, GPT_OSS, "qwen3-coder:30b")),
)
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}
CATALOGUE = load_catalogue()
NEEDS = '"high", "medium", "low", "max", true, or false'


@contextmanager
def serving(era: Era = Era.NEW, **more: Any) -> Iterator[StandinOllama]:
    settings = StandinSettings(vram=parse_size("9 GB"), era=era, pace=0, seed=3, **more)
    with standin(MODELS, settings) as server:
        yield server


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving() as server, client_of(server) as one:
        yield one


@pytest.mark.parametrize(
    ("model", "era", "thinks"),
    [
        (QWEN, Era.NEW, True),
        (R1, Era.NEW, True),
        (GPT_OSS, Era.NEW, True),
        ("tinyllama:1.1b", Era.NEW, True),
        (PLAIN, Era.NEW, False),
        ("qwen3-coder:30b", Era.NEW, False),
        (QWEN, Era.OLD, False),
    ],
)
def test_show_and_tags_list_the_capability(model: str, era: Era, thinks: bool) -> None:
    with serving(era, thinking=frozenset({"tinyllama:1.1b"})) as server, client_of(server) as client:
        shown = client.ask("POST", "/api/show", {"model": model}).body["capabilities"]
        [row] = [row for row in client.ask("GET", "/api/tags").body["models"] if row["name"] == model]
        assert shown == row["capabilities"] == ["completion", *["thinking"] * thinks]


@pytest.mark.parametrize("think", [True, "low"])
def test_a_model_that_cannot_think_refuses_to(client: Client, think: bool | str) -> None:
    answer = client.generate(PLAIN, think=think)
    assert (answer.status, answer.body) == (400, {"error": f'"{PLAIN}" does not support thinking'})


@pytest.mark.parametrize("think", [False, None])
def test_a_model_that_cannot_think_takes_a_think_that_asks_for_none(client: Client, think: object) -> None:
    assert client.generate(PLAIN, think=think).status == 200


@pytest.mark.parametrize(
    ("think", "error"),
    [
        ("off", f'invalid think value: "off" (must be {NEEDS})'),
        ("", f'invalid think value: "" (must be {NEEDS})'),
        (3, f"think must be a boolean or string ({NEEDS})"),
        ([], f"think must be a boolean or string ({NEEDS})"),
    ],
)
def test_a_think_of_no_known_value_is_refused(client: Client, think: object, error: str) -> None:
    for model in (QWEN, PLAIN, "nosuch:1b"):
        answer = client.generate(model, think=think)
        assert (answer.status, answer.body) == (400, {"error": error})


def test_without_thoughts_the_answer_is_in_the_response(client: Client) -> None:
    body = client.generate(QWEN, think=False, format=SCHEMA).body
    assert (json.loads(body["response"]), body["done_reason"]) == ({"a": "x"}, "stop")
    assert "thinking" not in body


def test_a_schema_keeps_the_answer_in_thoughts_that_the_template_opened(client: Client) -> None:
    body = client.generate(QWEN, format=SCHEMA).body
    assert (body["response"], json.loads(body["thinking"])) == ("", {"a": "x"})


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_can_use_up_the_replys_tokens(client: Client, stream: bool) -> None:
    answer = client.generate(R1, stream=stream, options={"num_predict": 50})
    rows = answer.rows if stream else [answer.body]
    assert "".join(row.get("response", "") for row in rows) == ""
    assert "rank(volume)" in "".join(row.get("thinking", "") for row in rows)
    assert (rows[-1]["done_reason"], rows[-1]["eval_count"]) == ("length", 50)


def test_thoughts_come_before_the_answer(client: Client) -> None:
    rows = client.generate(R1, stream=True, think=True).rows
    kinds = ["thinking" if row.get("thinking") else "response" for row in rows]
    assert kinds == sorted(kinds, reverse=True)
    assert "stand-in" in "".join(row["response"] for row in rows)
    assert "thinking" not in rows[-1]


@pytest.mark.parametrize(("think", "short"), [("low", True), (False, False), (True, False), (None, False)])
def test_a_harmony_model_always_thinks(client: Client, think: object, short: bool) -> None:
    body = client.generate(GPT_OSS, think=think).body
    assert body["response"]
    assert (len(body["thinking"]) < 400) is short


def test_a_schema_empties_a_harmony_models_reply(client: Client) -> None:
    body = client.generate(GPT_OSS, think="low", format=SCHEMA).body
    assert (body["response"], body["done_reason"], "thinking" in body) == ("", "stop", False)


def test_a_chat_has_thoughts_in_its_message_and_the_schema_after_them(client: Client) -> None:
    asked = {"model": QWEN, "stream": False, "format": SCHEMA, "messages": [{"role": "user", "content": "x"}]}
    message = client.ask("POST", "/api/chat", asked).body["message"]
    assert json.loads(message["content"]) == {"a": "x"}
    assert message["thinking"]


def test_a_server_before_09_ignores_think_and_leaves_thoughts_in_the_reply() -> None:
    with serving(Era.OLD) as server, client_of(server) as client:
        for think in (None, False, "off", 3):
            body = client.generate(R1, think=think).body
            assert body["response"].startswith("<think>")
            assert "</think>" in body["response"]
            assert "thinking" not in body
        assert client.generate(PLAIN, think=True).status == 200


def asked(server: StandinOllama, model: str, times: int) -> list[tuple[CallVerdict, list[str]]]:
    """Return what became of so many calls as the generator makes them: verdicts and expressions."""
    ollama = Ollama(server.url)
    caller = Caller(
        ollama,
        Assignment(model, {}),
        clock=SystemClock(),
        keep_alive=60.0,
        first_token=20.0,
        source="stand-in",
    )
    forms, ended = RequestForms(lambda: ollama.show(model)), []
    for seed in range(times):
        prompt = build_prompt(CATALOGUE, Feedback(), count=2, window=Window(4096), seed=seed)
        form = forms.now()
        call = caller.call(prompt, CallInFlight(1.0, 1.0), form)
        assert call is not None
        candidates = read_reply(call, CATALOGUE).candidates
        verdict = call_verdict(call, usable=bool(candidates))
        forms.learn(form, verdict)
        ended.append((verdict, [one.expression for one in candidates]))
    return ended


@pytest.mark.parametrize("era", list(Era))
@pytest.mark.parametrize("model", [QWEN, R1, GPT_OSS, PLAIN])
def test_each_kind_of_model_gives_alphas_from_the_first_call_on(era: Era, model: str) -> None:
    with serving(era) as server:
        for verdict, expressions in asked(server, model, 3):
            assert verdict is CallVerdict.ANSWERED
            assert "rank(volume)" not in expressions


@pytest.mark.parametrize(
    "text",
    [
        f'"{QWEN}" does not support thinking',
        'invalid think value: "low" (must be "high", "medium", "low", "max", true, or false)',
        "json: cannot unmarshal string into Go struct field GenerateRequest.think of type bool",
        'think value "low" is not supported for this model',
        f"registry.example/{QWEN} does not support thinking. Pull the model again",
        'json: unknown field "think"',
    ],
)
@pytest.mark.parametrize("model", [QWEN, GPT_OSS])
def test_where_think_is_refused_it_is_left_out(model: str, text: str) -> None:
    with serving() as server:
        server.apply(Fault(FaultKind.ERROR, times=1, status=400, text=text, path="/api/generate"))
        verdicts = [verdict for verdict, _ in asked(server, model, 3)]
    assert verdicts == [CallVerdict.THINK, CallVerdict.ANSWERED, CallVerdict.ANSWERED]


def test_a_model_whose_capabilities_cannot_be_asked_is_read_all_the_same() -> None:
    with serving() as server:
        server.apply(Fault(FaultKind.ERROR, status=500, path="/api/show"))
        assert [verdict for verdict, _ in asked(server, QWEN, 3)] == [CallVerdict.ANSWERED] * 3
        tried = [verdict for verdict, _ in asked(server, GPT_OSS, 7)]
    assert tried == [CallVerdict.EMPTY] * 6 + [CallVerdict.ANSWERED]


@pytest.mark.slow
@pytest.mark.parametrize("model", [QWEN, GPT_OSS])
def test_a_generator_mines_with_a_thinking_model(tmp_path: Path, model: str) -> None:
    with serving() as server, generating(write_state(tmp_path, model), server.url) as generator:
        generator.until(lambda: generator.heartbeat().get("totals", {}).get("valid", 0) >= 4, what="alphas")
        assert generator.heartbeat()["unusable"] is None
        assert generator.end()[0] == 0
    assert "replies.unusable" not in generator.log


def write_state(home: Path, model: str) -> Path:
    state = {"current_model": model, "current_model_index": 0, "switches": 7}
    (home / "fleet.toml").write_text(f'[[ladder]]\nmodel = "{model}"\nsize = "1 GB"\n')
    (home / "model_fleet_state.json").write_text(json.dumps(state))
    return home


@pytest.mark.slow
def test_a_model_that_gives_nothing_usable_is_reported_slowed_down_and_forgiven(tmp_path: Path) -> None:
    with serving() as server:
        server.apply(Fault(FaultKind.RUBBISH, what="schema", path="/api/generate"))
        with generating(tmp_path, server.url) as generator:
            found = generator.until(lambda: generator.heartbeat().get("unusable"), what="a report")
            assert (found["kind"], found["calls"] >= 5) == ("invalid", True)
            said = "times in a row: no reply held a valid"
            generator.until(lambda: said in generator.told, what="the report's sentence")
            assert f"{MODEL} gave nothing usable " in generator.told
            generator.until(
                lambda: (generator.heartbeat()["unusable"] or {}).get("calls", 0) >= 7, what="more"
            )
            began = [row["started"] for row in generator.signals()]
            assert max(after - before for before, after in pairwise(began)) >= 1.9
            server.clear()
            generator.until(lambda: generator.heartbeat()["unusable"] is None, what="the streak's end")
            generator.until(lambda: "gives usable replies again" in generator.told, what="the end's report")
            assert generator.end()[0] == 0
    assert generator.log.count(" replies.unusable ") == 1
