"""Reading a stamped log again and again: each kept line comes once, wherever a reader died."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.sources.base import keep_all
from monitor.sources.docker.dedup import LIMIT, MARGIN, SECOND, Ledger, StampedReader, earliest, parse_stamp

START = 1_795_000_000 * SECOND


def stamp_text(nanoseconds: int) -> bytes:
    whole = datetime.fromtimestamp(nanoseconds // SECOND, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanoseconds % SECOND:09}Z".encode()


def message(stamp: int, text: str) -> bytes:
    return stamp_text(stamp) + b" " + text.encode() + b"\n"


Log = list[tuple[int, str]]

LOGS = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 300, SECOND, 5 * SECOND]), st.sampled_from("abc")), max_size=60
).map(
    lambda steps: [
        (START + sum(step for step, _ in steps[: n + 1]), text) for n, (_, text) in enumerate(steps)
    ]
)


def read_again(log: Log, ledger: Ledger, count: int) -> list[str]:
    """Read the log from where the ledger says, and die after so many frames."""
    reader = StampedReader(ledger, keep_all, ledger.since, terminal=False)
    found = []
    for stamp, text in [row for row in log if row[0] >= earliest(ledger.since)][:count]:
        found += reader.feed([message(stamp, text)], live=True)
        ledger.settle(ledger.last - MARGIN)
    return [line.text for line in found]


@settings(deadline=None)
@given(LOGS, st.lists(st.integers(0, 30), max_size=10))
def test_any_crash_point_gives_the_same_lines(log: Log, counts: list[int]) -> None:
    cursor = Ledger(0).to_cursor()
    found = []
    for count in [*counts, len(log)]:
        ledger = Ledger.from_cursor(cursor)
        assert ledger is not None
        found += read_again(log, ledger, count)
        cursor = ledger.to_cursor()
    assert found == [text for _, text in log]


@pytest.mark.parametrize("step", [0, 1, SECOND])
def test_more_lines_than_are_written_down_come_once_too(step: int) -> None:
    log = [(START + n * step, f"{n % 7}") for n in range(3 * LIMIT)]
    ledger, found = Ledger(0), list[str]()
    for count in [LIMIT // 2, LIMIT, 2 * LIMIT, 3 * LIMIT, 3 * LIMIT]:
        found += read_again(log, ledger, count)
    assert found == [text for _, text in log]


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_what_an_engine_repeats_while_it_rotates_comes_once(seed: int) -> None:
    """It goes back in the log, within one stream, to anywhere in what it has sent lately."""
    random = Random(seed)
    log = [(START + n * 1000, random.choice(["same", f"other {n}"])) for n in range(120)]
    reader = StampedReader(Ledger(0), keep_all, 0, terminal=False, repeats=True)
    at, found = 0, list[str]()
    while at < len(log):
        if random.random() < 0.1:
            at = max(0, at - random.randint(1, 40))
        part = log[at : at + random.randint(1, 10)]
        found += [line.text for line in reader.feed([message(*row) for row in part], live=True)]
        at += len(part)
    assert Counter(found) == Counter(text for _, text in log)


def test_lines_just_before_the_beginning_are_no_step_back_of_the_clock() -> None:
    """docker-py rounds the time; the lines that come too early have been handled, and leave no trace."""
    since = START + 777
    ledger = Ledger(since)
    reader = StampedReader(ledger, keep_all, since, terminal=False)
    assert reader.feed([message(START + 1, "early"), message(START + 776, "early")], live=True) == []
    assert (ledger.since, reader.take_count()) == (since, 0)
    assert [line.text for line in reader.feed([message(since, "new")], live=True)] == ["new"]


def test_a_clock_that_steps_back_loses_nothing() -> None:
    ledger = Ledger(START)
    reader = StampedReader(ledger, keep_all, START, terminal=False, repeats=True)
    before, after = START + 10 * SECOND, START - 3600 * SECOND
    found = reader.feed([message(before, "one"), message(after, "one"), message(after + 1, "two")], live=True)
    assert [line.text for line in found] == ["one", "one", "two"]
    assert ledger.since <= after


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "file"},
        {"since": "x"},
        {"last": None},
        {"forgotten": 1.5},
        {"seen": [[1]]},
        {"seen": [["a", 1]]},
    ],
    ids=str,
)
def test_a_cursor_that_cannot_be_ours_is_none(damage: dict[str, object]) -> None:
    cursor = Ledger(START).to_cursor()
    assert Ledger.from_cursor(cursor) is not None
    assert Ledger.from_cursor({**cursor, **damage}) is None  # type: ignore[dict-item]  # damage is of any type


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2026-11-18T12:26:40.123456789Z", 1_795_004_800_123_456_789),
        (b"2026-11-18T12:26:40.5Z", 1_795_004_800_500_000_000),
        (b"2026-11-18T12:26:40Z", 1_795_004_800_000_000_000),
        (b"2026-11-18T13:26:40.000000001+01:00", 1_795_004_800_000_000_001),
        (b"2026-02-31T00:00:00Z", None),
        (b"yesterday", None),
        (b"", None),
    ],
)
def test_stamps_are_whole_nanoseconds(text: bytes, expected: int | None) -> None:
    assert parse_stamp(text) == expected


@settings(deadline=None)
@given(st.integers(1, 4_000_000_000 * SECOND))
def test_the_beginning_of_an_answer_is_a_float_without_rounding(since: int) -> None:
    """docker-py sends the shortest digits of the float; the Engine reads them as seconds and nanoseconds."""
    early = earliest(since)
    assert since - 1000 < early <= since
    seconds, _, rest = f"{Decimal(repr(early / SECOND)):f}".partition(".")
    assert int(seconds) * SECOND + int(rest.ljust(9, "0")) == early
