"""Requests about a row of a multi-simulation: which child is its own, and what the children share."""

import pytest

from generator.brain.errors import BrainAwayError, BrainError, BrainGoneError, BrainLimitError
from generator.brain.inquiry import Inquiry
from generator.brain.responses import Ended, Progress, Running, Status
from generator.brain.states import Missing
from generator.storage.simulations import Simulation

PARENT = Ended(Status.COMPLETE, children=("k0", "k1", "k2"))


class Answers:
    """BRAIN's answers by address; counts the requests."""

    per_simulation = 10

    def __init__(self, **answers: Progress | BrainError) -> None:
        self.answers: dict[str, Progress | BrainError] = {"/simulations/m": PARENT, **answers}
        self.asked: list[str] = []

    def simulation(self, address: str) -> Progress:
        self.asked.append(address)
        found = self.answers[address]
        if isinstance(found, BrainError):
            raise found
        return found


def row(place: int) -> Simulation:
    return Simulation("e", place, "running", location="/simulations/m", place=place)


def inquiry(answers: Answers) -> tuple[Inquiry, list[None]]:
    answered: list[None] = []
    return Inquiry(answers, lambda: answered.append(None)), answered  # type: ignore[arg-type]


def end(alpha: str, code: str = "") -> Ended:
    return Ended(Status.COMPLETE, alpha, code=code)


def test_children_are_known_by_their_expression_or_else_by_their_place() -> None:
    answers = Answers(k0=end("o", "rank( open );"), k1=end("c", "rank(close)"), k2=end("l"))
    asks, _ = inquiry(answers)
    found = [
        asks.fact(row(place), code) for place, code in enumerate(("rank(close)", "rank(open)", "rank(low)"))
    ]
    assert [one.alpha for one in found if isinstance(one, Ended)] == ["c", "o", "l"]


def test_after_a_restart_the_rest_of_a_multi_simulation_keeps_its_places() -> None:
    asks, _ = inquiry(Answers(k2=end("c")))
    assert asks.fact(row(2), "rank(low)") == end("c")


def test_without_a_child_of_its_own_a_row_was_cancelled() -> None:
    other = end("x", "rank(high)")
    asks, _ = inquiry(Answers(k0=other, k1=end("y"), k2=other))
    assert asks.fact(row(0), "rank(close)") == Ended(Status.CANCELLED)


def test_siblings_share_a_rounds_answers() -> None:
    answers = Answers(k0=end("a", "rank(close)"), k1=Running(3.0), k2=BrainGoneError("404"))
    asks, answered = inquiry(answers)
    assert asks.fact(row(0), "rank(close)") == end("a", "rank(close)")
    assert asks.fact(row(1), "rank(open)") == Running(3.0)
    assert asks.fact(row(2), "rank(low)") == Missing()
    assert answers.asked == ["/simulations/m", "k0", "k1", "k2"]
    assert len(answered) == 4
    asks.begin_round()
    asks.fact(row(1), "rank(open)")
    assert answers.asked[4:] == ["/simulations/m", "k1"]


def test_a_failure_at_the_shared_address_is_one_failure() -> None:
    answers = Answers(**{"/simulations/m": BrainAwayError("502")})
    asks, answered = inquiry(answers)
    errors = []
    for place in (0, 1):
        with pytest.raises(BrainAwayError) as caught:
            asks.fact(row(place), "rank(close)")
        errors.append(caught.value)
    assert errors[0] is errors[1]
    assert (answers.asked, answered) == (["/simulations/m"], [])


def test_a_limit_of_the_account_is_no_answer_about_a_row() -> None:
    asks, _ = inquiry(Answers(**{"/simulations/m": BrainLimitError("slow down")}))
    with pytest.raises(BrainLimitError):
        asks.fact(row(0), "rank(close)")
