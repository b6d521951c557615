import threading

import click
import pytest

from cli.parallel_checks import look_at
from cli.render import folded
from fleet.runtime.errors import FleetError


def refuse() -> None:
    raise FleetError("it is away", hint="start it")


def break_down() -> None:
    raise ValueError("odd")


def test_parts_are_seen_or_away_each_by_itself() -> None:
    seen, away = look_at({"one": lambda: 1, "two": refuse, "three": break_down, "none": lambda: None})
    assert seen == {"one": 1, "two": None, "three": None, "none": None}
    assert (away["two"].reason, away["two"].hint) == ("it is away", "start it")
    assert "odd" in away["three"].reason
    assert set(away) == {"two", "three"}


def test_a_frozen_part_stops_no_other() -> None:
    thaw = threading.Event()
    seen, away = look_at({"frozen": thaw.wait, "one": lambda: 1}, within=0.05)
    thaw.set()
    assert seen["one"] == 1
    assert "no answer within" in away["frozen"].reason


@pytest.mark.parametrize(
    ("line", "width", "rows"),
    [
        ("model        a b", 80, ["model        a b"]),
        ("model        one two three", 30, ["model        one two three"]),
        ("model        one two three four", 28, ["model        one two three", "             four"]),
        (
            "model        onetwothreefourfivesixseven x",
            28,
            ["model        onetwothreefourfivesixseven", "             x"],
        ),
        ("too narrow to fold", 10, ["too narrow to fold"]),
    ],
)
def test_lines_are_folded_between_words(line: str, width: int, rows: list[str]) -> None:
    assert folded(line, width).split("\n") == rows


def test_colours_take_no_room() -> None:
    line = f"model        {click.style('one', bold=True)} two three"
    assert folded(line, 28) == line
