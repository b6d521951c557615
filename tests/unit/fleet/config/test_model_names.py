"""One name of a model: every form that Ollama takes is the same to each part that compares."""

import pytest

from fleet.config.ladder import Ladder, Rung, full_name, same_model
from monitor.incidents.matching import same_weights
from monitor.incidents.messages import GroupingRules
from monitor.incidents.step import is_anothers

FORMS = ["llama3.2", "llama3.2:latest", "Library/Llama3.2", "registry.ollama.ai/library/llama3.2:latest",
         "https://registry.ollama.ai/library/llama3.2"]  # fmt: skip
OTHERS = ["llama3.2:3b", "me/llama3.2", "registry.ollama.ai/me/llama3.2", "hf.co/library/llama3.2", "llama3"]


@pytest.mark.parametrize("one", FORMS)
@pytest.mark.parametrize("other", FORMS)
def test_all_forms_are_one_model(one: str, other: str) -> None:
    assert full_name(one) == "llama3.2:latest"
    assert same_model(one, other)
    assert same_weights(one, other)
    assert not is_anothers(one, GroupingRules(model=other))
    assert Ladder([Rung(0, "a:1b"), Rung(1, one)]).named(other) is not None


@pytest.mark.parametrize("one", FORMS)
@pytest.mark.parametrize("other", OTHERS)
def test_other_models_stay_others(one: str, other: str) -> None:
    assert not same_model(one, other)
    assert not same_weights(one, other)
    assert is_anothers(one, GroupingRules(model=other))
