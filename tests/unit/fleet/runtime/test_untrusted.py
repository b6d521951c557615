"""Numbers and JSON from outside: what no number is counts as missing."""

import math

import pytest

from fleet.runtime.untrusted import LARGEST, LATEST, finite, moment, parse_json, printable, whole_number

ODD = [
    "", ".", "1.2.3", "12.0.1", "NaN", "nan", "inf", "-Infinity", "1e999", "9" * 400, "9" * 5000, "0x10",
    math.nan, math.inf, -math.inf, 10**400, -(10**400), 2 * LARGEST, None, True, [], {}, b"1",
]  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20])
def test_what_is_no_number(value: object) -> None:
    assert finite(value) is None
    assert whole_number(value) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), (-0.5, -0.5), ("12.5", 12.5), (" 7 ", 7.0), (LARGEST, LARGEST), ("1e3", 1000.0)],
)
def test_numbers_and_their_texts(value: object, number: float) -> None:
    assert finite(value) == number
    assert whole_number(value) == int(number)


def test_a_moment_is_a_time_that_a_calendar_shows() -> None:
    assert [moment(value) for value in (0, "5", LATEST)] == [0.0, 5.0, LATEST]
    assert [moment(value) for value in (-1, LATEST + 1, 1e18, LARGEST, "x", None)] == [None] * 6


def test_a_whole_number_loses_no_digit() -> None:
    assert whole_number(2**63 - 1) == 2**63 - 1
    assert parse_json(str(2**63 - 1)) == 2**63 - 1


def test_a_bad_number_in_json_is_missing_and_the_rest_stands() -> None:
    huge, longer = "9" * 400, "9" * 5000
    text = f'{{"a": 1e999, "b": NaN, "c": -Infinity, "d": {huge}, "e": [{longer}, 2.5, 3], "f": "x"}}'
    assert parse_json(text) == {"a": None, "b": None, "c": None, "d": None, "e": [None, 2.5, 3], "f": "x"}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "nul", b"\xff"])
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_a_text_is_shown_in_one_line_and_short() -> None:
    assert printable("a\nb\tc\x1b[31m\x00\ud800\u202ed") == "a b c?[31m???d"
    assert printable("x" * 300, 10) == "x" * 9 + "…"
    assert printable("x" * 10, 10) == "x" * 10
    assert printable("several words here", 15) == "several words…"
    assert printable("several words", 13) == "several words"
    assert printable("a " + "x" * 300, 10) == "a " + "x" * 7 + "…"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"\ud800": ["a\uDFFFb"]}', {"?": ["a?b"]}),
        (r'"\ud83d\ude00 \ud83d"', "\U0001f600 ?"),
        (r'"\\ud800"', r"\ud800"),
        (b'"\xed\xa0\x80"', "?"),
    ],
)
def test_half_a_surrogate_pair_is_replaced(text: str | bytes, value: object) -> None:
    assert parse_json(text) == value
