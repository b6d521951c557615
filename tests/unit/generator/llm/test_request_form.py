from collections.abc import Callable

import pytest

from fleet.clients.ollama import ModelDetails
from fleet.runtime.errors import OllamaAwayError
from generator.domain import CallVerdict
from generator.llm.request_form import RequestForm, RequestForms, forms_for

PLAIN = ModelDetails(None, {}, "llama")


def details(family: str = "qwen3", values: tuple[bool | str, ...] | None = None) -> ModelDetails:
    return ModelDetails(None, {}, family, thinks=True, think_values=values)


def shows(*answers: ModelDetails | Exception) -> tuple[Callable[[], ModelDetails], list[int]]:
    """Return a fake /api/show with these answers in order, and the list of its calls."""
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
        (PLAIN, RequestForm()),
        (details(), RequestForm(think=False)),
        (details(values=(False, True)), RequestForm(think=False)),
        (details(values=("low", "medium", "high")), RequestForm(think="low", thinks=True)),
        (details(values=("high", "max")), RequestForm(think="high", thinks=True)),
        (details(values=(True,)), RequestForm(thinks=True)),
        (details(values=()), RequestForm(thinks=True)),
        (details("gptoss"), RequestForm(think="low", schema=False, thinks=True)),
        (details("gpt-oss"), RequestForm(think="low", schema=False, thinks=True)),
    ],
)
def test_thinking_is_off_where_possible_and_else_short(model: ModelDetails, first: RequestForm) -> None:
    forms = forms_for(model)
    assert forms[0] == first
    assert len(forms) == len(set(forms)) >= 2


def test_the_server_is_asked_once() -> None:
    show, calls = shows(details())
    forms = RequestForms(show)
    for _ in range(5):
        assert forms.now().think is False
    assert len(calls) == 1


def test_without_a_servers_answer_the_form_is_for_a_model_that_cannot_think() -> None:
    show, calls = shows(OllamaAwayError("away"), OllamaAwayError("away"), details())
    forms = RequestForms(show)
    assert [forms.now(), forms.now(), forms.now(), forms.now()] == [
        RequestForm(),
        RequestForm(),
        RequestForm(think=False),
        RequestForm(think=False),
    ]
    assert len(calls) == 3


def test_a_server_that_answers_without_its_show_is_not_asked_again() -> None:
    show, calls = shows(OllamaAwayError("away"))
    forms = RequestForms(show)
    forms.learn(forms.now(), CallVerdict.ANSWERED)
    assert forms.now() == RequestForm()
    assert len(calls) == 1


def test_a_refused_think_is_not_sent_again() -> None:
    forms = RequestForms(shows(details())[0])
    assert forms.learn(forms.now(), CallVerdict.THINK)
    assert forms.now() == RequestForm(thinks=True)
    assert not forms.learn(forms.now(), CallVerdict.THINK)


def test_a_think_that_is_refused_in_every_form_is_left_out() -> None:
    forms = RequestForms(shows(details("gptoss"))[0])
    forms.learn(forms.now(), CallVerdict.THINK)
    assert forms.now() == RequestForm(schema=False, thinks=True)


def test_a_refused_schema_is_not_sent_again() -> None:
    forms = RequestForms(shows(PLAIN)[0])
    assert forms.learn(forms.now(), CallVerdict.FORMAT)
    assert forms.now() == RequestForm(schema=False)
    assert not forms.learn(RequestForm(), CallVerdict.FORMAT), "a call that was in flight"


def test_several_empty_replies_in_a_row_rotate_the_forms() -> None:
    forms = RequestForms(shows(details())[0])
    first, seen = forms.now(), []
    for _ in range(3):
        for _ in range(3):
            forms.learn(forms.now(), CallVerdict.EMPTY)
        seen.append(forms.now())
    assert seen == [*forms_for(details())[1:], first]


@pytest.mark.parametrize("between", [CallVerdict.ANSWERED, CallVerdict.UNUSABLE])
def test_a_reply_with_text_keeps_the_form(between: CallVerdict) -> None:
    forms = RequestForms(shows(details())[0])
    for verdict in (
        CallVerdict.EMPTY,
        CallVerdict.EMPTY,
        between,
        CallVerdict.EMPTY,
        CallVerdict.EMPTY,
        CallVerdict.MEMORY,
    ):
        assert not forms.learn(forms.now(), verdict)
