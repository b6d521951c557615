import json
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.sources.base import LogLine, keep_all
from monitor.sources.journal.entries import (
    MAX_ENTRY,
    PATIENCE,
    Entry,
    EntryReader,
    JournalPosition,
    parse_entry,
)

CURSOR = "s=c1a2;i=1;b=01;m=6;t=6;x=8"


def row(number: int, **fields: Any) -> bytes:
    facts = {"__CURSOR": f"i={number}", "__REALTIME_TIMESTAMP": str(1_000_000 * number), **fields}
    return json.dumps(facts).encode() + b"\n"


START = JournalPosition()


def read(rows: list[bytes], place: JournalPosition = START, *, past: str | None = None) -> list[LogLine]:
    return EntryReader(place, keep_all, past=past).feed(b"".join(rows))


def texts(rows: list[bytes], place: JournalPosition = START) -> list[str]:
    return [line.text for line in read(rows, place)]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("plain", b"plain"),
        ("caf\u00e9", "caf\u00e9".encode()),
        ([99, 117, 100, 97, 27, 255], b"cuda\x1b\xff"),
        (["one", [116, 119, 111]], b"one\ntwo"),
        (None, None),
        ([], None),
        ([300], None),
        ({"a": 1}, None),
    ],
    ids=["text", "unicode", "bytes", "the field twice", "too large", "empty list", "no bytes", "an object"],
)
def test_a_message_is_text_or_bytes_or_cannot_be_read(message: Any, expected: bytes | None) -> None:
    assert parse_entry(row(7, MESSAGE=message)) == Entry("i=7", 7_000_000, expected)


@pytest.mark.parametrize(
    "junk", [b"", b"-- No entries --", b"{}", b"[1]", b'{"__CURSOR":"a"}', b"[" * 90_000]
)
def test_what_is_no_entry_is_none(junk: bytes) -> None:
    assert parse_entry(junk) is None


def test_lines_bear_their_entry_s_time() -> None:
    lines = read([row(1, MESSAGE="a\nb\n"), row(2, MESSAGE="c"), row(3), row(4, MESSAGE=None)])
    assert [(line.text, line.time) for line in lines] == [("a", 1.0), ("b", 1.0), ("c", 2.0)]


def test_what_is_up_to_the_past_s_last_entry_is_not_live() -> None:
    rows = [row(n, MESSAGE=str(n)) for n in range(4)]
    assert [line.live for line in read(rows, past="i=1")] == [False, False, True, True]
    assert [line.live for line in read(rows, JournalPosition("i=0"), past="i=0")] == [True, True, True]


def test_the_entry_of_the_cursor_is_left_out_where_it_still_is() -> None:
    rows = [row(n, MESSAGE=str(n)) for n in range(3, 6)]
    assert texts(rows, JournalPosition("i=3")) == ["4", "5"]
    assert texts(rows, JournalPosition("i=2")) == ["3", "4", "5"]


def test_pieces_of_a_line_are_joined_also_amid_another_program_s() -> None:
    cut = {"_LINE_BREAK": "line-max"}
    rows = [
        row(1, MESSAGE="o" * 10, _STREAM_ID="1", **cut),
        row(2, MESSAGE="e" * 3, _STREAM_ID="2", **cut),
        row(3, MESSAGE="whole", _STREAM_ID="3"),
        row(4, MESSAGE="!", _STREAM_ID="1"),
        row(5, MESSAGE="?", _STREAM_ID="2", _LINE_BREAK="eof"),
    ]
    assert texts(rows) == ["whole", "o" * 10 + "!", "eee?"]


def test_a_joined_line_is_bounded() -> None:
    rows = [row(n, MESSAGE="x" * 49152, _STREAM_ID="1", _LINE_BREAK="line-max") for n in range(1, 10)]
    (line,) = read([*rows, row(10, MESSAGE="end", _STREAM_ID="1")])
    assert (len(line.text), line.cut) == (65536, 9 * 49152 + 3 - 65536)


def test_a_line_whose_end_never_comes_is_given_out_after_a_while() -> None:
    rows = [row(1, MESSAGE="cut", _STREAM_ID="1", _LINE_BREAK="line-max")]
    rows += [row(n, MESSAGE=str(n), _STREAM_ID="2") for n in range(2, PATIENCE + 3)]
    assert "cut" in texts(rows)
    assert len(texts(rows)) == len(rows)


def test_an_entry_without_bounds_costs_bounded_memory_and_only_itself() -> None:
    reader = EntryReader(JournalPosition(), keep_all, past=None)
    for _ in range(40):
        assert reader.feed(b'"' + b"x" * (MAX_ENTRY // 10)) == []
    assert [line.text for line in reader.feed(b'"}\n' + row(2, MESSAGE="next"))] == ["next"]


@pytest.mark.parametrize(
    "damage",
    [{"kind": "file"}, {"cursor": 5}, {"cursor": "a b --unit=x"}, {"time": "now"}, {"done": None}],
    ids=str,
)
def test_a_cursor_that_cannot_be_ours_is_none(damage: dict[str, Any]) -> None:
    good = JournalPosition(CURSOR, 5, 2)
    assert JournalPosition.from_cursor(good.to_cursor()) == good
    assert JournalPosition.from_cursor({**good.to_cursor(), **damage}) is None


ENTRIES = st.lists(
    st.tuples(st.text("ab\n\u00e9", max_size=6), st.sampled_from("123"), st.booleans()), max_size=90
)


def journal(entries: list[tuple[str, str, bool]]) -> list[bytes]:
    return [
        row(n, MESSAGE=text, _STREAM_ID=stream, **({"_LINE_BREAK": "line-max"} if cut else {}))
        for n, (text, stream, cut) in enumerate(entries, start=1)
    ]


@settings(deadline=None)
@given(ENTRIES, st.randoms(use_true_random=False))
def test_any_split_into_chunks_gives_the_same_lines(
    entries: list[tuple[str, str, bool]], random: Random
) -> None:
    rows = journal(entries)
    data = b"".join(rows)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(5))
    reader = EntryReader(JournalPosition(), keep_all, past=None)
    found = [line for a, b in pairwise([0, *cuts, len(data)]) for line in reader.feed(data[a:b])]
    assert found == read(rows)


@settings(deadline=None)
@given(ENTRIES, st.lists(st.integers(0, 20), max_size=12))
def test_any_crash_point_gives_the_same_lines(entries: list[tuple[str, str, bool]], steps: list[int]) -> None:
    """The reader dies after so many entries each time, and begins anew where its place says."""
    rows = journal(entries)
    place, found = JournalPosition(), list[str]()
    for step in [*steps, len(rows) + 1]:
        at = int(place.cursor.removeprefix("i=") or 1) - 1
        reader = EntryReader(place, keep_all, past=None)
        found += [line.text for line in reader.feed(b"".join(rows[at : at + step]))]
        place = reader.position
    assert found == texts(rows)
