import pytest

from generator.brain.errors import (
    BrainAccessError,
    BrainAwayError,
    BrainError,
    BrainLimitError,
    BrainQuotaError,
    PersonaError,
)
from generator.brain.limits import Slots, budget_left, wait_after


def test_slots_shrink_to_what_was_running_and_grow_back() -> None:
    slots = Slots(3, 3).refused(2, now=0.0)
    assert slots.allowed == 2
    assert slots.at(599.0).allowed == 2
    assert slots.at(600.0).allowed == 3
    assert slots.at(600.0).at(99999.0).allowed == 3


def test_there_is_always_one_slot() -> None:
    assert Slots(3, 3).refused(0, now=0.0).allowed == 1


def test_a_refusal_never_adds_slots() -> None:
    assert Slots(8, 2).refused(5, now=0.0).allowed == 2


@pytest.mark.parametrize(("most", "sent", "left"), [(0, 99, None), (10, 3, 7), (10, 12, 0)])
def test_budget(most: int, sent: int, left: int | None) -> None:
    assert budget_left(most, sent) == left


AWAY = BrainAwayError("gone")


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (AWAY, [2.0, 4.0, 8.0, 16.0]),
        (PersonaError("https://x"), [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]),
        (BrainAccessError("no"), [30.0, 60.0, 120.0, 240.0, 300.0]),
        (BrainLimitError("full"), [5.0, 10.0, 20.0]),
        (BrainError("odd"), [30.0, 60.0]),
    ],
)
def test_waits_double_up_to_a_bound(error: BrainError, waits: list[float]) -> None:
    assert [wait_after(error, number, 0.0) for number in range(1, len(waits) + 1)] == waits


def test_chance_shortens_by_up_to_a_third() -> None:
    assert wait_after(AWAY, 3, 0.999) == pytest.approx(8.0 * 2 / 3, rel=0.01)


def test_what_brain_asks_for_is_obeyed() -> None:
    assert wait_after(BrainLimitError("full", wait=0.25), 1, 0.0) == 0.25
    assert wait_after(BrainLimitError("full", wait=120.0), 2, 0.0) == 120.0
    assert wait_after(BrainLimitError("full", wait=0.0), 4, 0.0) == 40.0


def test_a_quota_is_waited_out() -> None:
    assert wait_after(BrainQuotaError("used up", wait=5000.0), 1, 0.9) == 5000.0
    assert wait_after(BrainQuotaError("used up"), 1, 0.9) == 3600.0


def test_thousands_of_failures_overflow_nothing() -> None:
    assert wait_after(AWAY, 10**6, 0.0) == 300.0
