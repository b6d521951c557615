import json
import threading
from pathlib import Path
from random import Random

import pytest

from generator.llm.throttle import Allowance, Budget, CallVerdict, Gate
from tests.reference.manual_clock import StillClock


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


def make(clock: StillClock, tmp_path: Path, **changes: object) -> Gate:
    parts = {"most": 2, "pause_file": tmp_path / "pause.json", "chance": Random(1), **changes}
    return Gate(clock=clock, **parts)  # type: ignore[arg-type]  # the tests' own parts


def proven(gate: Gate, clock: StillClock) -> None:
    flight = gate.enter()
    assert flight is not None
    clock.now += 1
    gate.leave(flight, CallVerdict.ANSWERED)


def test_the_first_call_goes_alone_and_then_as_many_as_are_allowed(clock: StillClock, tmp_path: Path) -> None:
    gate = make(clock, tmp_path)
    first = gate.enter()
    assert first is not None
    assert gate.wait_needed() > 0
    gate.leave(first, CallVerdict.ANSWERED)
    flights = [gate.enter(), gate.enter()]
    assert all(flights)
    assert gate.wait_needed() > 0
    assert gate.view().in_flight == 2
    assert gate.view().request_since == 1000.0


def test_after_a_memory_failure_the_next_waits_five_seconds(clock: StillClock, tmp_path: Path) -> None:
    gate = make(clock, tmp_path)
    proven(gate, clock)
    flight = gate.enter()
    assert flight is not None
    clock.now += 1
    pace = gate.leave(flight, CallVerdict.MEMORY)
    assert pace.failures == 1
    assert gate.wait_needed() == pytest.approx(5.0)
    clock.now += 5.0
    assert gate.wait_needed() == 0.0


def test_a_pause_holds_until_its_time_and_no_longer(clock: StillClock, tmp_path: Path) -> None:
    gate = make(clock, tmp_path)
    (tmp_path / "pause.json").write_text(json.dumps({"since": 1000.0, "until": 1060.0, "why": "probe"}))
    assert gate.wait_needed() > 0
    view = gate.view()
    assert view.pause is not None
    assert view.pause.why == "probe"
    clock.now = 1060.0
    assert gate.wait_needed() == 0.0
    assert gate.view().pause is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"until": null}', '{"until": true}', '{"until": "soon"}', '{"until": NaN}']
)
def test_a_pause_that_cannot_be_understood_is_none(clock: StillClock, tmp_path: Path, content: str) -> None:
    (tmp_path / "pause.json").write_text(content)
    assert make(clock, tmp_path).wait_needed() == 0.0


def test_no_call_begins_where_there_is_no_room_behind_it(clock: StillClock, tmp_path: Path) -> None:
    assert make(clock, tmp_path, room=lambda: False).wait_needed() > 0


def test_a_budget_bounds_the_rate(clock: StillClock, tmp_path: Path) -> None:
    budget = Budget(Allowance(burst=1, every=3.0, gap=0.0), left=1, at=clock.now)
    gate = make(clock, tmp_path, budget=budget)
    proven(gate, clock)
    assert gate.wait_needed() == pytest.approx(2.0)


def test_a_call_that_was_cut_changes_nothing(clock: StillClock, tmp_path: Path) -> None:
    gate = make(clock, tmp_path)
    flight = gate.enter()
    assert flight is not None
    before = gate.pace
    assert gate.leave(flight, None) == before
    assert gate.leave(flight, CallVerdict.FAILED) == before


def test_closing_lets_nobody_in_and_cuts_what_is_in_flight(clock: StillClock, tmp_path: Path) -> None:
    gate = make(clock, tmp_path)
    flight = gate.enter()
    assert flight is not None
    entered: list[object] = []
    waiting = threading.Thread(target=lambda: entered.append(gate.enter()))
    waiting.start()
    gate.close()
    waiting.join(10.0)
    assert entered == [None]
    assert flight.cancel.cancelled
