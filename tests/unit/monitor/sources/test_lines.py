from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.sources.base import LogLine, Span, keep_all
from monitor.sources.lines import MAX_LINE, LineBuffer, kept_lines

PIECES = st.sampled_from([b"\n", b"\r", b"\0", b"a", b"bc", b"\xff", "ü".encode(), b"out of memory", b"\r\n"])


def read(data: bytes, cuts: list[int], *, finish: bool = True) -> list[LogLine]:
    buffer = LineBuffer()
    edges = [0, *sorted({c for c in cuts if c < len(data)}), len(data)]
    regions = [buffer.feed(data[a:b]) for a, b in pairwise(edges)]
    regions += [buffer.finish()] if finish else []
    return [line for region in regions if region for line in kept_lines(region, keep_all, live=True)]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"\n\n", ["", ""]),
        (b"half", ["half"]),
        (b"caf\xe9\n", ["caf�"]),
        (b"\0\0\0after a hole\n", ["after a hole"]),
        (b"in\0side\n", ["in\0side"]),
        (b"a\rb\n", ["a\rb"]),
    ],
)
def test_lines_are_told_apart(data: bytes, texts: list[str]) -> None:
    assert [line.text for line in read(data, [])] == texts


@settings(deadline=None)
@given(st.lists(PIECES, max_size=60).map(b"".join), st.lists(st.integers(0, 200)))
def test_any_split_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    assert read(data, cuts) == read(data, [])


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([b"x" * (MAX_LINE - 1), b"y" * 70_000, b"z", b"\0", b"\r", b"\n"]), max_size=8
    ).map(b"".join),
    st.lists(st.integers(0, 300_000), max_size=12),
)
def test_any_split_gives_the_same_long_lines(data: bytes, cuts: list[int]) -> None:
    assert read(data, cuts) == read(data, [])


@settings(deadline=None)
@given(st.lists(PIECES, max_size=40).map(b"".join), st.lists(st.integers(0, 100)))
def test_every_byte_is_accounted_for(data: bytes, cuts: list[int]) -> None:
    buffer = LineBuffer()
    edges = [0, *sorted({c for c in cuts if c < len(data)}), len(data)]
    taken = 0
    for a, b in pairwise(edges):
        region = buffer.feed(data[a:b])
        taken += region.size if region else 0
        assert taken + buffer.size == b


def test_a_line_of_ten_megabytes_is_cut_and_the_rest_counted() -> None:
    size = 10_000_000
    buffer = LineBuffer()
    for _ in range(size // 100_000):
        assert buffer.feed(b"e" * 100_000) is None
        assert len(buffer._held) <= MAX_LINE
    region = buffer.feed(b"\nnext\n")
    assert region is not None
    first, second = kept_lines(region, keep_all, live=True)
    assert (first.text, first.cut) == ("e" * MAX_LINE, size - MAX_LINE)
    assert (second.text, second.cut) == ("next", 0)
    assert region.size == size + len("\nnext\n")


def keep_error(chunk: bytes) -> Iterator[Span]:
    for start, end in keep_all(chunk):
        if b"error" in chunk[start:end]:
            yield start, end + 1


@pytest.mark.parametrize("cuts", [[], [MAX_LINE // 2, MAX_LINE, MAX_LINE + 10]])
def test_a_long_line_is_judged_by_what_is_kept_of_it(cuts: list[int]) -> None:
    far, near = b"-" * MAX_LINE + b"error\n", b"error" + b"-" * MAX_LINE + b"\n"
    buffer = LineBuffer()
    data = far + near
    edges = [0, *cuts, len(data)]
    regions = [buffer.feed(data[a:b]) for a, b in pairwise(edges)]
    kept = [line for region in regions if region for line in kept_lines(region, keep_error, live=True)]
    assert [line.text[:6] for line in kept] == ["error-"]
