"""The README's picture: what a demonstration's history becomes, and that the kept picture shows two downgrades."""

from xml.etree import ElementTree as ET

import pytest

from fleet.config.ladder import Rung
from fleet.policy.events import Event, EventKind
from tools.demo_picture import PICTURE, Stay, draw, run_of

LADDER = [Rung(0, "big"), Rung(1, "middle <b>"), Rung(2, "small")]
SVG = "{http://www.w3.org/2000/svg}"


def incident(number: int, time: float, model: str, *, counted: bool = True) -> Event:
    return Event(number, time, EventKind.INCIDENT, {"model": model, "counted": counted})


def downgrade(number: int, time: float, before: str, after: str) -> Event:
    fields = {"switch": "downgrade", "from": before, "to": after, "why": f"{before} & its failures"}
    return Event(number, time, EventKind.SWITCH_COMMITTED, fields)


HISTORY = [
    incident(1, 101.0, "big"),
    incident(2, 102.0, "big", counted=False),
    downgrade(3, 110.0, "big", "middle <b>"),
    incident(4, 112.0, "middle <b>"),
    downgrade(5, 115.0, "middle <b>", "small"),
]


def test_a_history_becomes_stays_with_the_reason_that_ended_each() -> None:
    run = run_of(LADDER, HISTORY, [118.0])
    assert run.stays == [
        Stay("big", 0.0, 10.0, "big & its failures"),
        Stay("middle <b>", 10.0, 15.0, "middle <b> & its failures"),
        Stay("small", 15.0, 20.0, ""),
    ]
    assert run.incidents == [(1.0, "big"), (12.0, "middle <b>")]
    assert run.alphas == [18.0]


@pytest.mark.parametrize("events", [[], HISTORY[:1]])
def test_a_history_without_a_switch_is_refused(events: list[Event]) -> None:
    with pytest.raises(ValueError, match="make demo"):
        run_of(LADDER, events, [])


def test_a_run_is_drawn_with_each_model_and_reason() -> None:
    picture = ET.fromstring(draw(run_of(LADDER, HISTORY, [118.0, 118.5])))
    words = [element.text for element in picture.iter(f"{SVG}text")]
    assert {"big", "middle <b>", "small", "2 alphas"} <= set(words)
    assert "downgrade: big & its failures" in words


def test_the_kept_picture_shows_two_downgrades() -> None:
    picture = ET.fromstring(PICTURE.read_text("utf-8"))
    words = [element.text or "" for element in picture.iter(f"{SVG}text")]
    assert len([text for text in words if text.startswith("downgrade: ")]) == 2
    assert any(text.endswith(" alphas") for text in words)
