from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.sources.docker.frames import (
    PIECE,
    BrokenStreamError,
    Frames,
    Messages,
    Terminal,
    split_joined,
)
from monitor.sources.lines import MAX_LINE

STAMP = b"2026-11-25T10:00:00.123456789Z "
LATER = b"2026-11-25T10:00:00.123456790Z "


def message(text: bytes, stamp: bytes = STAMP) -> bytes:
    return stamp + text


def pieces_of(data: bytes, random: Random, count: int = 6) -> list[bytes]:
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(count))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]


def lines(messages: Messages, *feeds: list[bytes]) -> list[bytes]:
    regions = [region for items in feeds for region in messages.feed(items)] + messages.finish()
    return [line for region in regions for line in region.data.split(b"\n")[:-1]]


# Frames


TEXTS = st.lists(st.binary(max_size=20).map(lambda text: text.replace(b"\n", b".")), max_size=12)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 12))
def test_any_split_of_the_items_gives_the_same_lines(texts: list[bytes], cut: int) -> None:
    items = [message(text + b"\n") for text in texts]
    assert lines(Frames(), items[:cut], items[cut:]) == [STAMP + text for text in texts]


@pytest.mark.parametrize("cut", range(6))
def test_pieces_of_two_long_lines_are_joined_by_their_stamp(cut: int) -> None:
    out, err = b"o" * PIECE, b"e" * PIECE
    items = [message(out), message(err, LATER), message(out), message(b" out\n"), message(b" err\n", LATER)]
    items.append(message(b"short\n"))
    assert lines(Frames(), items[:cut], items[cut:]) == [
        STAMP + out * 2 + b" out",
        LATER + err + b" err",
        STAMP + b"short",
    ]


def test_pieces_with_stamps_of_their_own_do_not_pile_up() -> None:
    """Engines before 18.06 stamp each piece; the line comes in pieces then, and none is kept back for long."""
    stamps = [b"2026-11-25T10:00:00.%09dZ " % n for n in range(50)]
    frames = Frames()
    found = [region for stamp in stamps for region in frames.feed([message(b"x" * PIECE, stamp)])]
    assert len(found) >= 47
    assert len(found) + len(frames.finish()) == 50


def test_the_last_words_of_a_program_need_no_newline() -> None:
    assert lines(Frames(), [message(b"killed in mid"), message(b"next\n")]) == [
        STAMP + b"killed in mid",
        STAMP + b"next",
    ]


def test_an_item_without_a_line_end_waits_for_the_next_one() -> None:
    """A stream that is cut inside a message ends with a part of it."""
    frames = Frames()
    assert frames.feed([message(b"cudaMalloc failed: out of mem")]) == []
    (region,) = frames.feed([message(b"next\n", LATER)])
    assert region.data == message(b"cudaMalloc failed: out of mem\n") + message(b"next\n", LATER)


def test_a_long_line_that_misses_its_end_is_given_out_when_the_stream_ends() -> None:
    assert lines(Frames(), [message(b"x" * PIECE)]) == [STAMP + b"x" * PIECE]


def test_a_line_without_bounds_is_cut_and_what_went_off_is_counted() -> None:
    frames = Frames()
    for _ in range(100):
        assert frames.feed([message(b"x" * PIECE)]) == []
    (region,) = frames.feed([message(b"end\n")])
    assert len(region.data) == len(STAMP) + MAX_LINE + 1
    assert region.cut == 100 * PIECE + 3 - MAX_LINE


def test_single_bytes_are_no_messages() -> None:
    """A terminal's stream, read as one without: the container was made anew with a terminal a moment ago."""
    with pytest.raises(BrokenStreamError):
        Frames().feed([b"2", b"0"])


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8))
def test_garbage_is_broken_or_harmless(items: list[bytes]) -> None:
    for reader in (Frames(), Terminal()):
        try:
            reader.feed(items)
            reader.finish()
        except BrokenStreamError:
            pass


# Terminals


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20).map(lambda text: text.replace(b"\n", b".")), max_size=9), st.randoms())
def test_any_split_of_a_terminal_s_bytes_gives_the_same_lines(texts: list[bytes], random: Random) -> None:
    data = b"".join(STAMP + text + b"\r\n" for text in texts)
    assert lines(Terminal(), pieces_of(data, random)) == [STAMP + text + b"\r" for text in texts]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (STAMP + b"whole", [STAMP + b"whole"]),
        (STAMP + b"x" * PIECE + LATER + b"rest", [STAMP + b"x" * PIECE + b"rest"]),
        (STAMP + b"killed" + LATER + b"next run", [STAMP + b"killed", LATER + b"next run"]),
        (LATER + b"quotes " + STAMP + b"an older line", [LATER + b"quotes " + STAMP + b"an older line"]),
        (b"no stamp " + STAMP + b"x", [b"no stamp " + STAMP + b"x"]),
    ],
    ids=["one", "a piece", "two programs", "a quoted stamp", "no stamp"],
)
def test_what_one_line_of_a_terminal_holds(line: bytes, parts: list[bytes]) -> None:
    assert split_joined(line) == parts
