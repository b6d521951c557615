import struct
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.sources.docker.frames import (
    MAX_FRAME,
    PIECE,
    BrokenStreamError,
    Dechunker,
    Frames,
    Messages,
    Terminal,
    split_joined,
)
from monitor.sources.lines import MAX_LINE

STAMP = b"2026-11-25T10:00:00.123456789Z "
LATER = b"2026-11-25T10:00:00.123456790Z "


def chunked(*contents: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(content), content) for content in contents)


def frame(text: bytes, stream: int = 1, stamp: bytes = STAMP) -> bytes:
    return struct.pack(">BxxxL", stream, len(stamp + text)) + stamp + text


def pieces_of(data: bytes, random: Random, count: int = 6) -> list[bytes]:
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(count))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]


def lines(messages: Messages, parts: list[bytes]) -> list[bytes]:
    regions = [region for part in parts for region in messages.feed(part)] + messages.finish()
    return [line for region in regions for line in region.data.split(b"\n")[:-1]]


# HTTP's chunks


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.booleans(), st.randoms(use_true_random=False)
)
def test_any_split_of_chunks_gives_their_content(contents: list[bytes], ends: bool, random: Random) -> None:
    data = chunked(*contents) + (b"0\r\n\r\n" if ends else b"")
    dechunker = Dechunker()
    found = b"".join(dechunker.feed(part) for part in pieces_of(data, random))
    assert found == b"".join(contents)
    assert dechunker.ended == ends


def test_a_chunk_s_extension_and_a_trailer_are_no_content() -> None:
    dechunker = Dechunker()
    assert dechunker.feed(b"3;name=value\r\nabc\r\n0\r\nExpires: never\r\n\r\n") == b"abc"
    assert dechunker.ended


@pytest.mark.parametrize("junk", [b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n", b"x" * 2000])
def test_what_is_no_chunk_breaks_the_stream(junk: bytes) -> None:
    with pytest.raises(BrokenStreamError):
        Dechunker().feed(junk)


# Frames


MESSAGES = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"."))),
    max_size=12,
)


@settings(deadline=None)
@given(MESSAGES, st.randoms(use_true_random=False))
def test_any_split_of_frames_gives_the_same_lines(messages: list[tuple[int, bytes]], random: Random) -> None:
    data = b"".join(frame(text + b"\n", stream) for stream, text in messages)
    assert lines(Frames(), pieces_of(data, random)) == [STAMP + text for _, text in messages]


def test_pieces_of_a_long_line_are_joined_by_stream() -> None:
    out, err = b"o" * PIECE, b"e" * PIECE
    data = frame(out) + frame(err, 2) + frame(out, stamp=LATER) + frame(b" out\n", stamp=LATER)
    data += frame(b" err\n", 2) + frame(b"short\n")
    assert lines(Frames(), [data]) == [STAMP + out * 2 + b" out", STAMP + err + b" err", STAMP + b"short"]


def test_the_last_words_of_a_program_need_no_newline() -> None:
    assert lines(Frames(), [frame(b"killed in mid"), frame(b"next\n")]) == [
        STAMP + b"killed in mid",
        STAMP + b"next",
    ]


def test_a_long_line_that_misses_its_end_is_given_out_when_the_stream_ends() -> None:
    assert lines(Frames(), [frame(b"x" * PIECE)]) == [STAMP + b"x" * PIECE]


def test_a_line_without_bounds_is_cut_and_what_went_off_is_counted() -> None:
    frames = Frames()
    for _ in range(100):
        assert frames.feed(frame(b"x" * PIECE)) == []
    (region,) = frames.feed(frame(b"end\n"))
    assert len(region.data) == len(STAMP) + MAX_LINE + 1
    assert region.cut == 100 * PIECE + 3 - MAX_LINE


def test_a_frame_too_large_to_be_one_breaks_the_stream() -> None:
    with pytest.raises(BrokenStreamError):
        Frames().feed(struct.pack(">BxxxL", 1, MAX_FRAME + 1))
    assert Frames().feed(struct.pack(">BxxxL", 1, MAX_FRAME) + b"x") == []


def test_an_empty_frame_is_nothing() -> None:
    assert lines(Frames(), [struct.pack(">BxxxL", 1, 0), frame(b"a\n")]) == [STAMP + b"a"]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_broken_or_harmless(data: bytes) -> None:
    for reader in (Frames(), Terminal()):
        try:
            reader.feed(data)
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
