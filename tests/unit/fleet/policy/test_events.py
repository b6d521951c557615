"""Events as sentences."""

import pytest

from fleet.policy.events import Event, EventKind, sentence


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
