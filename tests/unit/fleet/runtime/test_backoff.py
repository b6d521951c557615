"""The two back-offs: a table of steps, and doubling up to a bound."""

import pytest

from fleet.runtime.backoff import backoff_step, doubling_backoff


@pytest.mark.parametrize(("failures", "wait"), [(1, 5.0), (2, 10.0), (3, 30.0), (4, 30.0), (10**6, 30.0)])
def test_the_last_step_is_repeated(failures: int, wait: float) -> None:
    assert backoff_step((5.0, 10.0, 30.0), failures) == wait


@pytest.mark.parametrize(("failures", "wait"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 10.0), (10**6, 10.0)])
def test_doubling_stops_at_the_bound(failures: int, wait: float) -> None:
    assert doubling_backoff(0.5, failures, most=10.0) == wait
