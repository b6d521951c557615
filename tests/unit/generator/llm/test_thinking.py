import pytest

from generator.catalogue import load_catalogue
from generator.domain import CallRecord
from generator.llm.candidates import read_reply
from generator.llm.thinking import answer_in, answer_of

CATALOGUE = load_catalogue()
JSON = '{"expressions":[["rank",["ts_delta","close",5]]]}'


def expressions(reply: str) -> list[str]:
    call = CallRecord("c1", 1.0, 2.0, "m", 0, 0, "p", 200, reply=reply)
    return [one.expression for one in read_reply(call, CATALOGUE).candidates]


@pytest.mark.parametrize(
    "drafts",
    [
        "<think>\nrank(volume)\nno that is bad.\n</think>\n\n",
        "Okay, the user wants alphas.\nrank(volume)\nno that is bad.\n</think>\n\n",
        '<think>{"expressions":[["rank","volume"]]} no</think>',
        "<thinking>\nrank(volume)\n</thinking>",
        "<seed:think>rank(volume)</seed:think>",
        "[THINK]\nrank(volume)\n[/THINK]",
        "◁think▷\nrank(volume)\n◁/think▷",
        "<|begin_of_thought|>\nrank(volume)\n<|end_of_thought|>",
        "<|channel|>analysis<|message|>\nrank(volume)\n<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel|>analysis<|message|>rank(volume)<|end|><|channel|>final <|constrain|>json<|message|>",
        "analysisWe need alphas.\nrank(volume)\nassistantfinal",
        "<|channel>thought\nrank(volume)\n<channel|>",
        "<THINK>\nrank(volume)\n</THINK>\n</think>",
    ],
)
@pytest.mark.parametrize("answer", [JSON, "1. rank(ts_delta(close, 5))\n"])
def test_drafts_before_the_answer_are_no_alphas(drafts: str, answer: str) -> None:
    assert expressions(drafts + answer) == ["rank(ts_delta(close, 5))"]


@pytest.mark.parametrize(
    "thoughts",
    [
        "<think>\nrank(volume)\nno, rather ts_mean(close, 5)",
        "<|channel|>analysis<|message|>rank(volume)",
        "analysisWe try\nrank(volume)",
        "\nrank(volume)\n</think>",
        "<think>rank(volume)</think><think>rank(close)",
        '<think>I answer in {"expressions":[...]}.\nrank(volume)',
    ],
)
def test_thinking_without_an_answer_has_no_alphas(thoughts: str) -> None:
    assert answer_of(thoughts).strip() == ""
    assert expressions(thoughts) == []


@pytest.mark.parametrize(
    "text", [JSON, "1. rank(close)", "", "I think <b>rank(close)</b>", "analysis of close"]
)
def test_a_reply_without_thinking_is_unchanged(text: str) -> None:
    assert answer_of(text) == text


def test_special_tokens_at_the_end_are_removed() -> None:
    assert answer_of("x</think>rank(close)<|return|>") == "rank(close)"


@pytest.mark.parametrize(
    ("thoughts", "found"),
    [
        (JSON, ["rank(ts_delta(close, 5))"]),
        (f'First {{"expressions":[["rank","volume"]]}}. No, better:\n{JSON}', ["rank(ts_delta(close, 5))"]),
        ('{"expressions":[["rank","close"],["ra', ["rank(close)"]),
        ("1. rank(close)\n2. rank(volume)", []),
        ('I answer in {"expressions":[...]}.\nrank(volume)', []),
        ("", []),
    ],
)
def test_only_an_answer_in_the_schemas_form_is_read_from_thinking(thoughts: str, found: list[str]) -> None:
    assert expressions(answer_in(thoughts)) == found


def test_an_answer_that_a_grammar_forced_into_thinking_is_read() -> None:
    assert expressions(f"<think>{JSON}") == ["rank(ts_delta(close, 5))"]
