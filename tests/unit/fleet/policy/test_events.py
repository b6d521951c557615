"""Events as sentences."""

import pytest

from fleet.policy.events import Event, EventKind, parse_event, sentence


@pytest.mark.parametrize(
    ("cause", "start"),
    [
        ("allocation", "GPU-memory incident"),
        ("host", "host-memory incident"),
        ("gpu_lost", "GPU incident"),
    ],
)
def test_an_incident_is_named_by_the_memory_it_is_about(cause: str, start: str) -> None:
    fields = {"model": "phi3:mini", "cause": cause, "counted": False, "reason": "does not count"}
    assert (
        sentence(Event(1, 0.0, EventKind.INCIDENT, fields)) == f"{start}, phi3:mini: {cause} (does not count)"
    )


@pytest.mark.parametrize("time", [1e18, -1e18, "5", None, []])
def test_a_row_whose_time_no_calendar_shows_is_no_event(time: object) -> None:
    with pytest.raises(TypeError, match="a number and a time"):
        parse_event({"number": 1, "time": time, "kind": "unpinned"})


@pytest.mark.parametrize("until", [1e18, -1e18, 1e13, "x"])
def test_an_end_that_no_calendar_shows_gives_the_raw_fields(until: object) -> None:
    assert "until" in sentence(Event(1, 0.0, EventKind.PAUSED, {"until": until, "why": "by hand"}))
