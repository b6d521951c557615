"""The table of states: every state meets every fact, and each move is the documented one."""

import re
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from generator.brain import states
from generator.brain.responses import Ended, Running, Status
from generator.brain.states import (
    LONGEST_WAIT,
    NO_TRACE,
    TOO_LONG,
    TRANSITIONS,
    Accepted,
    Declined,
    Fact,
    Failing,
    Faulty,
    ImpossibleFactError,
    Missing,
    Moved,
    advance,
    is_due,
)
from generator.storage.schema import ENDED, LOST, OPEN, QUEUED, READING, RUNNING, SENDING
from generator.storage.simulations import Simulation

NOW = 1_700_000_000.0
ROW = Simulation("e", 1, sent=NOW, since=NOW, due=NOW)
ONE_OF_EACH: dict[type, Fact] = {
    Accepted: Accepted("/simulations/1"),
    Declined: Declined(),
    Faulty: Faulty("blank"),
    Missing: Missing(),
    Failing: Failing(),
    Running: Running(5.0),
    Ended: Ended(Status.COMPLETE, "a1"),
}


def moved(state: str, fact: Fact, now: float = NOW, **values: object) -> Moved:
    return advance(replace(ROW, state=state, **values), fact, now)  # type: ignore[arg-type]


def moves(state: str, fact: Fact, count: int) -> Simulation:
    """Return the row after the same fact several times in a row, each at its due time."""
    row = replace(ROW, state=state, location="/simulations/1", alpha_id="a1")
    for _ in range(count):
        row = advance(row, fact, row.due).row
    return row


@pytest.mark.parametrize(("state", "kind"), list(product(sorted({*OPEN, ENDED, LOST}), ONE_OF_EACH)))
def test_a_state_takes_its_facts_and_refuses_the_others(state: str, kind: type) -> None:
    fact = ONE_OF_EACH[kind]
    if (state, kind) in TRANSITIONS:
        assert moved(state, fact).row.state in {*OPEN, ENDED, LOST}
    else:
        with pytest.raises(ImpossibleFactError, match=kind.__name__):
            moved(state, fact)


def test_the_pages_table_names_the_tables_facts_and_states() -> None:
    page = states.__doc__ or ""
    named = set(re.findall(r"`([A-Za-z]+)`", page))
    assert named >= {kind.__name__ for kind in get_args(Fact)} | OPEN | {ENDED, LOST}
    assert set(ONE_OF_EACH) == set(get_args(Fact))


@pytest.mark.parametrize(
    ("state", "fact", "after"),
    [
        (SENDING, Accepted("/simulations/1"), RUNNING),
        (SENDING, Declined(), QUEUED),
        (SENDING, Faulty("blank"), READING),
        (SENDING, Missing(), SENDING),
        (SENDING, Failing(), SENDING),
        (SENDING, Running(5.0), RUNNING),
        (SENDING, Ended(Status.COMPLETE, "a1"), READING),
        (RUNNING, Running(5.0), RUNNING),
        (RUNNING, Ended(Status.WARNING, "a1"), READING),
        (RUNNING, Ended(Status.ERROR, message="unknown"), READING),
        (RUNNING, Ended(Status.FAIL), ENDED),
        (RUNNING, Missing(), RUNNING),
        (RUNNING, Failing(), RUNNING),
        (READING, Missing(), READING),
        (READING, Failing(), READING),
    ],
    ids=str,
)
def test_a_first_fact_leads_to_its_state(state: str, fact: Fact, after: str) -> None:
    assert moved(state, fact).row.state == after


def test_an_accepted_request_is_polled_at_its_address_at_once() -> None:
    row = moved(SENDING, Accepted("/simulations/1"), NOW + 9, asks=3).row
    assert (row.location, row.due, row.asks, row.sent) == ("/simulations/1", NOW + 9, 0, NOW)


def test_a_declined_request_was_never_sent() -> None:
    row = moved(SENDING, Declined(alone=True), NOW + 9, place=3, account="me").row
    assert (row.state, row.sent, row.place, row.alone, row.due) == (QUEUED, 0.0, None, True, NOW + 9)


def test_a_refused_expression_costs_no_budget_and_keeps_brains_words() -> None:
    row = moved(SENDING, Faulty("This field may not be blank.")).row
    assert (row.sent, row.message, row.alpha_id) == (0.0, "This field may not be blank.", None)


@pytest.mark.parametrize(("asked", "waited"), [(0.0, 0.1), (2.5, 2.5), (900.0, 60.0)])
def test_a_poll_waits_as_long_as_brain_asks_within_bounds(asked: float, waited: float) -> None:
    row = moved(RUNNING, Running(asked), asks=2).row
    assert (row.due, row.asks) == (NOW + waited, 0)


def test_a_simulation_that_never_ends_is_searched_for_and_not_polled_again() -> None:
    late = NOW + TOO_LONG + 1
    row = moved(RUNNING, Running(5.0), late, location="/simulations/1").row
    assert (row.state, row.since) == (SENDING, late)
    assert advance(row, Running(5.0), late).row.state == SENDING


@pytest.mark.parametrize(
    ("state", "fact", "patience", "seconds"),
    [(RUNNING, Missing(), 4, 14), (RUNNING, Failing(), 7, 315)],
)
def test_an_address_that_answers_nothing_for_good_frees_its_slot(
    state: str, fact: Fact, patience: int, seconds: float
) -> None:
    assert moves(state, fact, patience - 1).state == state
    after = moves(state, fact, patience)
    assert (after.state, after.location) == (SENDING, "/simulations/1")
    assert after.since - NOW == seconds


@pytest.mark.parametrize(
    ("fact", "patience", "seconds"), [(Missing(), 61, 3442), (Failing(), 13, 2115)], ids=str
)
def test_an_alpha_without_figures_for_good_becomes_a_fault(fact: Fact, patience: int, seconds: float) -> None:
    assert moves(READING, fact, patience - 1).alpha_id == "a1"
    after = moves(READING, fact, patience)
    assert (after.state, after.alpha_id) == (READING, None)
    assert after.message == "BRAIN shows no figures of its alpha a1"
    assert after.since - NOW == seconds


@pytest.mark.parametrize("state", [SENDING, RUNNING, READING])
def test_while_all_of_brain_is_away_no_row_loses_patience(state: str) -> None:
    after = moves(state, Failing(counts=False), 1000)
    assert (after.state, after.asks, after.alpha_id) == (state, 0, "a1")
    assert after.due == NOW + 1000 * 5


def test_without_a_trace_a_request_is_lost_and_sent_again_and_after_the_third_time_given_up() -> None:
    row = moves(SENDING, Missing(), 10)
    assert (row.state, row.due - NOW) == (SENDING, 2 + 5 + 15 + 7 * 60)
    late = NOW + NO_TRACE + 1
    for tries in (1, 2):
        move = moved(SENDING, Missing(), late, tries=tries)
        assert move.row.state == LOST
        assert move.again is not None
        assert (move.again.state, move.again.tries, move.again.digest) == (QUEUED, tries + 1, "e")
    move = moved(SENDING, Missing(), late, tries=3)
    assert (move.row.state, move.again) == (READING, None)
    assert move.row.message == "BRAIN loses its simulation each time"


def fault(ended: Ended, *, tries: int = 1, several: bool = False) -> str | None:
    """Return the fault that an end means; None for one more simulation, of the candidate alone."""
    move = moved(RUNNING, ended, tries=tries, place=0 if several else None)
    if move.again is None:
        assert move.row.state == READING
        return move.row.message
    assert (move.row.state, move.again.alone, move.again.tries) == (ENDED, True, tries + 1)
    return None


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.WARNING])
def test_both_ends_with_an_alpha_are_read(status: Status) -> None:
    row = moved(RUNNING, Ended(status, "a1", message="Incompatible unit")).row
    assert (row.alpha_id, row.message, row.status) == ("a1", None, status.value)


def test_an_error_is_the_expressions_in_brains_words() -> None:
    assert fault(Ended(Status.ERROR, message="unknown operator")) == "unknown operator"
    assert fault(Ended(Status.FAIL, message="here", located=True)) == "here"
    assert "does not say" in (fault(Ended(Status.ERROR)) or "")


@pytest.mark.parametrize("status", [Status.FAIL, Status.TIMEOUT])
def test_what_brain_fails_at_is_tried_once_more(status: Status) -> None:
    assert fault(Ended(status)) is None
    assert "on BRAIN: why" in (fault(Ended(status, message="why"), tries=2) or "")


def test_an_end_without_its_alpha_is_tried_once_more() -> None:
    assert fault(Ended(Status.COMPLETE)) is None
    assert "without creating an alpha" in (fault(Ended(Status.COMPLETE), tries=2) or "")


def test_a_cancelled_sibling_is_sent_again_and_one_that_a_person_cancelled_is_not() -> None:
    assert fault(Ended(Status.CANCELLED), several=True) is None
    assert fault(Ended(Status.CANCELLED), several=True, tries=2) is None
    assert "cancelled" in (fault(Ended(Status.CANCELLED), several=True, tries=3) or "")
    assert "cancelled" in (fault(Ended(Status.CANCELLED)) or "")


@pytest.mark.parametrize(
    ("ahead", "due"), [(-1.0, True), (0.0, True), (1.0, False), (LONGEST_WAIT, True), (1e9, True)]
)
def test_a_row_is_due_at_its_time_and_when_the_clock_was_set_back(ahead: float, due: bool) -> None:
    assert is_due(replace(ROW, due=NOW + ahead), NOW) is due
