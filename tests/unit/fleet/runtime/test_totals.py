"""Counters and histograms in JSON: they only grow, and odd stored values cost no more than themselves."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.runtime.totals import BOUNDS, OTHER, counters, histogram, increased, observed

NAME = "switch_seconds"


def test_a_counter_grows_below_its_labels() -> None:
    totals = increased(increased({}, ("incidents", "host", "a")), ("incidents", "host", "a"), 2)
    totals = increased(totals, ("incidents", "swap", ""))
    assert totals == {"incidents": {"host": {"a": 3}, "swap": {"": 1}}}
    assert counters(totals, "incidents", 2) == {("host", "a"): 3, ("swap", ""): 1}
    assert counters(increased({}, ("trials",)), "trials", 0) == {(): 1}


@pytest.mark.parametrize("amount", [0, -1])
def test_no_amount_lets_a_counter_shrink(amount: int) -> None:
    assert increased({"trials": 3}, ("trials",), amount) == {"trials": 3}


def test_labels_beyond_the_limit_are_counted_together() -> None:
    totals: dict[str, object] = {}
    for number in range(1000):
        totals = increased(totals, ("tokens", f"model{number}"))
    found = counters(totals, "tokens", 1)
    assert len(found) <= 65
    assert sum(found.values()) == 1000
    assert found[(OTHER,)] > 900


def test_a_histogram_counts_each_value_in_its_bucket() -> None:
    totals: dict[str, object] = {}
    for seconds in (0.5, 0.6, 1e9, -3.0):
        totals = observed(totals, NAME, seconds)
    found = histogram(totals, NAME)
    assert found is not None
    assert found.bounds == BOUNDS[NAME]
    assert found.counts[:2] == (2, 3)
    assert found.counts[-1] == 4
    assert found.counts[-2] == 3
    assert found.sum == pytest.approx(1e9 + 1.1)


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_cumulative_counts_never_fall_and_end_with_the_number(values: list[float]) -> None:
    totals: dict[str, object] = {}
    for value in values:
        totals = json.loads(json.dumps(observed(totals, NAME, value)))
    found = histogram(totals, NAME)
    assert (found is None) == (not values)
    if found is not None:
        assert list(found.counts) == sorted(found.counts)
        assert found.counts[-1] == len(values)


ODD = [None, "x", "3", True, -1, float("nan"), float("inf"), 10**400, [], {}, {"buckets": "x"}, {"buckets": [1]},
       {"buckets": [1, -1] + [0] * 9, "sum": 1}, {"buckets": ["1"] * 11, "sum": 1}]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_stored_value_counts_as_absent(odd: object) -> None:
    assert counters({"trials": odd}, "trials", 0) == {}
    assert counters({"incidents": {"a": odd, "b": {"m": 2}}}, "incidents", 2)[("b", "m")] == 2
    assert counters(odd, "trials", 0) == {}
    assert histogram({NAME: odd}, NAME) is None
    assert increased({"trials": odd}, ("trials",))["trials"] == 1
    after = histogram(observed({NAME: odd}, NAME, 1.0), NAME)
    assert after is not None
    assert after.counts[-1] == 1
