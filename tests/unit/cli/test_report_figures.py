from cli.report import incidents, time_in_use
from fleet.config.schema import SEED_LADDER
from fleet.policy.events import Event, EventKind

TOP, SECOND = "llama3.2:3b", "phi3:mini"


def committed(number: int, time: float, old: str, new: str) -> Event:
    return Event(number, time, EventKind.SWITCH_COMMITTED, {"from": old, "to": new})


def incident(number: int, time: float, model: str | None, *, counted: bool = True) -> Event:
    return Event(number, time, EventKind.INCIDENT, {"model": model, "counted": counted})


MOVES = [committed(1, 110.0, TOP, SECOND), committed(2, 140.0, SECOND, "old:1b (num_ctx=512)")]


def test_time_in_use_is_from_switch_to_switch() -> None:
    spans = time_in_use(MOVES, SEED_LADDER, "old:1b", began=100.0, ended=200.0)
    assert spans == {TOP: 10.0, SECOND: 30.0, "old:1b": 60.0}


def test_time_before_the_asked_moment_is_left_out() -> None:
    spans = time_in_use(MOVES, SEED_LADDER, "old:1b", began=100.0, ended=200.0, since=120.0)
    assert spans == {SECOND: 20.0, "old:1b": 60.0}


def test_time_that_is_not_known_is_not_made_up() -> None:
    assert time_in_use([], SEED_LADDER, TOP, began=None, ended=200.0) == {}
    assert time_in_use(MOVES, SEED_LADDER, "old:1b", began=None, ended=100.0) == {SECOND: 30.0}


def test_incidents_are_those_of_the_model_named_or_in_use() -> None:
    events = [
        incident(1, 101.0, TOP),
        incident(2, 102.0, None),
        incident(3, 103.0, TOP, counted=False),
        committed(4, 110.0, TOP, SECOND),
        incident(5, 111.0, None),
    ]
    assert incidents(events, SEED_LADDER, SECOND) == {TOP: 2, SECOND: 1}
    assert incidents(iter(events), SEED_LADDER, SECOND) == {TOP: 2, SECOND: 1}
    assert incidents(events[:2], SEED_LADDER, SECOND) == {TOP: 1, SECOND: 1}
    assert incidents(events, SEED_LADDER, SECOND, since=102.0) == {TOP: 1, SECOND: 1}
