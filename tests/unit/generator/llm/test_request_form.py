from collections.abc import Callable

import pytest

from fleet.clients.ollama import ModelDetails
from fleet.runtime.errors import OllamaAwayError
from generator.llm.request_form import Way, Ways, ways_for
from generator.llm.throttle import CallVerdict

PLAIN = ModelDetails(None, {}, "llama")


def details(family: str = "qwen3", values: tuple[bool | str, ...] | None = None) -> ModelDetails:
    return ModelDetails(None, {}, family, thinks=True, think_values=values)


def shows(*answers: ModelDetails | Exception) -> tuple[Callable[[], ModelDetails], list[int]]:
    """Return an /api/show that gives one answer after the other, and the list of its calls."""
    calls: list[int] = []

    def show() -> ModelDetails:
        calls.append(1)
        answer = answers[min(len(calls), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return show, calls


@pytest.mark.parametrize(
    ("model", "first"),
    [
        (PLAIN, Way()),
        (details(), Way(think=False)),
        (details(values=(False, True)), Way(think=False)),
        (details(values=("low", "medium", "high")), Way(think="low", thoughts=True)),
        (details(values=("high", "max")), Way(think="high", thoughts=True)),
        (details(values=(True,)), Way(thoughts=True)),
        (details(values=()), Way(thoughts=True)),
        (details("gptoss"), Way(think="low", schema=False, thoughts=True)),
        (details("gpt-oss"), Way(think="low", schema=False, thoughts=True)),
    ],
)
def test_thoughts_are_switched_off_where_they_can_be_and_else_kept_short(
    model: ModelDetails, first: Way
) -> None:
    ways = ways_for(model)
    assert ways[0] == first
    assert len(ways) == len(set(ways)) >= 2


def test_the_server_is_asked_once() -> None:
    show, calls = shows(details())
    ways = Ways(show)
    for _ in range(5):
        assert ways.now().think is False
    assert len(calls) == 1


def test_while_the_server_does_not_answer_a_model_is_asked_as_one_that_cannot_think() -> None:
    show, calls = shows(OllamaAwayError("away"), OllamaAwayError("away"), details())
    ways = Ways(show)
    assert [ways.now(), ways.now(), ways.now(), ways.now()] == [
        Way(),
        Way(),
        Way(think=False),
        Way(think=False),
    ]
    assert len(calls) == 3


def test_a_server_that_answers_without_its_show_is_not_asked_again() -> None:
    show, calls = shows(OllamaAwayError("away"))
    ways = Ways(show)
    ways.learn(ways.now(), CallVerdict.ANSWERED)
    assert ways.now() == Way()
    assert len(calls) == 1


def test_a_refused_think_is_not_sent_again() -> None:
    ways = Ways(shows(details())[0])
    assert ways.learn(ways.now(), CallVerdict.THINK)
    assert ways.now() == Way(thoughts=True)
    assert not ways.learn(ways.now(), CallVerdict.THINK)


def test_a_think_that_is_refused_of_every_way_is_left_out() -> None:
    ways = Ways(shows(details("gptoss"))[0])
    ways.learn(ways.now(), CallVerdict.THINK)
    assert ways.now() == Way(schema=False, thoughts=True)


def test_a_refused_schema_is_not_sent_again() -> None:
    ways = Ways(shows(PLAIN)[0])
    assert ways.learn(ways.now(), CallVerdict.FORMAT)
    assert ways.now() == Way(schema=False)
    assert not ways.learn(Way(), CallVerdict.FORMAT), "a call that was in flight"


def test_several_empty_replies_in_a_row_lead_to_the_next_way_and_round_again() -> None:
    ways = Ways(shows(details())[0])
    first, seen = ways.now(), []
    for _ in range(3):
        for _ in range(3):
            ways.learn(ways.now(), CallVerdict.EMPTY)
        seen.append(ways.now())
    assert seen == [*ways_for(details())[1:], first]


@pytest.mark.parametrize("between", [CallVerdict.ANSWERED, CallVerdict.UNUSABLE])
def test_a_reply_with_text_keeps_the_way(between: CallVerdict) -> None:
    ways = Ways(shows(details())[0])
    for verdict in (
        CallVerdict.EMPTY,
        CallVerdict.EMPTY,
        between,
        CallVerdict.EMPTY,
        CallVerdict.EMPTY,
        CallVerdict.MEMORY,
    ):
        assert not ways.learn(ways.now(), verdict)
