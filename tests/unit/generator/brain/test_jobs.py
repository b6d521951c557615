import pytest

from fleet.config.schema import BrainSettings, PanelSettings
from generator.brain.api import payload, same_code, same_settings, simulation_settings
from generator.brain.jobs import Job, NextStep, next_step, pair
from generator.brain.responses import Ended, Status
from generator.domain import Candidate, ExpressionFault


def fault(ended: Ended, *, tries: int = 1, multi: bool = False) -> str:
    step = next_step(ended, tries=tries, multi=multi)
    assert isinstance(step, ExpressionFault)
    return step.reason


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.WARNING])
def test_both_ends_with_an_alpha_are_read(status: Status) -> None:
    assert next_step(Ended(status, "a1"), tries=1, multi=False) is NextStep.READ


def test_an_error_is_the_expressions_in_brains_words() -> None:
    assert fault(Ended(Status.ERROR, message="unknown operator")) == "unknown operator"
    assert fault(Ended(Status.FAIL, message="here", located=True)) == "here"
    assert "does not say" in fault(Ended(Status.ERROR))


@pytest.mark.parametrize("status", [Status.FAIL, Status.TIMEOUT])
def test_what_brain_fails_at_is_tried_once_more(status: Status) -> None:
    assert next_step(Ended(status), tries=1, multi=False) is NextStep.RESEND
    assert "on BRAIN" in fault(Ended(status, message="why"), tries=2)


def test_an_end_without_its_alpha_is_tried_once_more() -> None:
    assert next_step(Ended(Status.COMPLETE), tries=1, multi=False) is NextStep.RESEND
    assert "without creating an alpha" in fault(Ended(Status.COMPLETE), tries=2)


def test_a_cancelled_sibling_is_sent_again_and_one_that_a_person_cancelled_is_not() -> None:
    assert next_step(Ended(Status.CANCELLED), tries=1, multi=True) is NextStep.RESEND
    assert "cancelled" in fault(Ended(Status.CANCELLED), tries=1)
    assert "cancelled" in fault(Ended(Status.CANCELLED), tries=3, multi=True)


def job(name: str, place: int) -> Job:
    return Job(Candidate(name, name, name), place=place)


def test_children_are_known_by_their_expression_or_else_by_their_place() -> None:
    jobs = [job("rank(close)", 0), job("rank(open)", 1), job("rank(low)", 2)]
    swapped = [
        Ended(Status.COMPLETE, "o", code="rank( open );"),
        Ended(Status.COMPLETE, "c", code="rank(close)"),
        Ended(Status.COMPLETE, "l"),
    ]
    found = pair(jobs, swapped)
    assert [ended.alpha if ended else None for _, ended in found] == ["c", "o", "l"]


def test_after_a_restart_the_rest_of_a_multi_simulation_keeps_its_places() -> None:
    [(_, ended)] = pair([job("rank(low)", 2)], [Ended(Status.COMPLETE, name) for name in "abc"])
    assert ended is not None
    assert ended.alpha == "c"


def test_a_child_that_is_missing_or_another_is_none() -> None:
    other = Ended(Status.COMPLETE, "x", code="rank(high)")
    assert [end for _, end in pair([job("rank(close)", 0), job("rank(low)", 1)], [other])] == [None, None]


def test_settings_fall_back_on_the_panels() -> None:
    panel = PanelSettings(delay=0, decay=4, neutralization="sector", truncation=0.05)
    assert simulation_settings(BrainSettings(), panel) == {
        "instrumentType": "EQUITY",
        "region": "USA",
        "universe": "TOP3000",
        "delay": 0,
        "decay": 4,
        "neutralization": "SECTOR",
        "truncation": 0.05,
        "pasteurization": "ON",
        "unitHandling": "VERIFY",
        "nanHandling": "OFF",
        "language": "FASTEXPR",
        "visualization": False,
    }
    own = BrainSettings(delay=1, decay=0, neutralization="crowding", truncation=0.0, universe="TOP200")
    found = simulation_settings(own, panel)
    assert (found["delay"], found["decay"], found["neutralization"], found["truncation"]) == (
        1,
        0,
        "CROWDING",
        0.0,
    )
    assert found["universe"] == "TOP200"


def test_a_requests_body() -> None:
    assert payload("rank(close)", {"delay": 1}) == {
        "type": "REGULAR",
        "settings": {"delay": 1},
        "regular": "rank(close)",
    }


def test_the_same_expression_and_settings_are_recognised() -> None:
    assert same_code("rank( close );\n", "rank(close)")
    assert not same_code("rank(close)", "rank(open)")
    assert same_settings({"delay": 1, "maxTrade": "OFF"}, {"delay": 1, "region": "USA"})
    assert not same_settings({"delay": 0}, {"delay": 1})
