import json
import threading
from pathlib import Path
from random import Random

import pytest

from generator.domain import CallVerdict
from generator.llm.throttle import RateLimit, Throttle, TokenBucket
from tests.reference.manual_clock import StillClock


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def make(clock: StillClock, tmp_path: Path, **changes: object) -> Throttle:
    parts = {"most": 2, "pause_file": tmp_path / "pause.json", "rng": Random(1), **changes}
    return Throttle(clock=clock, **parts)  # type: ignore[arg-type]  # the tests' own parts


def proven(throttle: Throttle, clock: StillClock) -> None:
    flight = throttle.enter()
    assert flight is not None
    clock.now += 1
    throttle.leave(flight, CallVerdict.ANSWERED)


def test_the_first_call_goes_alone_and_then_as_many_as_are_allowed(clock: StillClock, tmp_path: Path) -> None:
    throttle = make(clock, tmp_path)
    first = throttle.enter()
    assert first is not None
    assert throttle.wait_needed() > 0
    throttle.leave(first, CallVerdict.ANSWERED)
    flights = [throttle.enter(), throttle.enter()]
    assert all(flights)
    assert throttle.wait_needed() > 0
    assert throttle.state().in_flight == 2
    assert throttle.state().request_since == 1000.0


def test_after_a_memory_failure_the_next_waits_five_seconds(clock: StillClock, tmp_path: Path) -> None:
    throttle = make(clock, tmp_path)
    proven(throttle, clock)
    flight = throttle.enter()
    assert flight is not None
    clock.now += 1
    pace = throttle.leave(flight, CallVerdict.MEMORY)
    assert pace.failures == 1
    assert throttle.wait_needed() == pytest.approx(5.0)
    clock.now += 5.0
    assert throttle.wait_needed() == 0.0


def test_a_pause_holds_until_its_time_and_no_longer(clock: StillClock, tmp_path: Path) -> None:
    throttle = make(clock, tmp_path)
    (tmp_path / "pause.json").write_text(json.dumps({"since": 1000.0, "until": 1060.0, "why": "probe"}))
    assert throttle.wait_needed() > 0
    view = throttle.state()
    assert view.pause is not None
    assert (view.pause.why, view.pause.cut) == ("probe", False)
    clock.now = 1060.0
    assert throttle.wait_needed() == 0.0
    assert throttle.state().pause is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"until": null}', '{"until": true}', '{"until": "soon"}', '{"until": NaN}']
)
def test_an_invalid_pause_is_none(clock: StillClock, tmp_path: Path, content: str) -> None:
    (tmp_path / "pause.json").write_text(content)
    assert make(clock, tmp_path).wait_needed() == 0.0


def test_calls_in_flight_are_cancelled_and_the_throttle_stays_open(clock: StillClock, tmp_path: Path) -> None:
    throttle = make(clock, tmp_path)
    flight = throttle.enter()
    assert flight is not None
    throttle.cancel_calls()
    assert flight.cancel.cancelled
    throttle.leave(flight, None)
    assert not throttle.closed
    assert throttle.wait_needed() == 0.0, "a cut call is no failure and slows nothing down"


def test_no_call_begins_without_capacity(clock: StillClock, tmp_path: Path) -> None:
    assert make(clock, tmp_path, has_capacity=lambda: False).wait_needed() > 0


def test_a_token_bucket_bounds_the_rate(clock: StillClock, tmp_path: Path) -> None:
    bucket = TokenBucket(RateLimit(burst=1, every=3.0, gap=0.0), left=1, at=clock.now)
    throttle = make(clock, tmp_path, bucket=bucket)
    proven(throttle, clock)
    assert throttle.wait_needed() == pytest.approx(2.0)


def test_a_cancelled_call_changes_nothing(clock: StillClock, tmp_path: Path) -> None:
    throttle = make(clock, tmp_path)
    flight = throttle.enter()
    assert flight is not None
    before = throttle.pace
    assert throttle.leave(flight, None) == before
    assert throttle.leave(flight, CallVerdict.FAILED) == before


def test_closing_admits_no_call_and_cancels_those_in_flight(clock: StillClock, tmp_path: Path) -> None:
    throttle = make(clock, tmp_path)
    flight = throttle.enter()
    assert flight is not None
    entered: list[object] = []
    waiting = threading.Thread(target=lambda: entered.append(throttle.enter()))
    waiting.start()
    throttle.close()
    waiting.join(10.0)
    assert entered == [None]
    assert flight.cancel.cancelled


def test_an_end_waits_for_calls_in_flight_and_not_longer_than_it_may(
    clock: StillClock, tmp_path: Path
) -> None:
    throttle = make(clock, tmp_path)
    assert throttle.wait_idle(0.0)
    flight = throttle.enter()
    assert flight is not None
    assert not throttle.wait_idle(0.0)
    leaving = threading.Timer(0.05, throttle.leave, [flight, CallVerdict.ANSWERED])
    leaving.start()
    assert throttle.wait_idle(60.0)
    leaving.join()
