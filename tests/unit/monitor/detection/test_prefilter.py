"""The prefilter against its plain meaning: a line matters if it holds a literal of the table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.line_parser import CONSIDERED
from monitor.detection.prefilter import COARSE, Prefilter, table_needles

PREFILTER = Prefilter()
NEEDLES = sorted(needle.encode() for needle in table_needles())

pieces = st.one_of(
    st.sampled_from(NEEDLES), st.sampled_from(COARSE), st.sampled_from([b" ", b'"', b"\r", b"x"])
)
lines = st.lists(st.lists(pieces, max_size=5).map(b"".join), max_size=6)


def kept(chunk: bytes) -> list[bytes]:
    return [chunk[start:end] for start, end in PREFILTER.candidates(chunk)]


@given(lines)
def test_exactly_the_lines_with_a_literal_of_the_table_are_kept(lines: list[bytes]) -> None:
    wanted = [line for line in lines if any(needle in line for needle in NEEDLES)]
    assert kept(b"\n".join(lines)) == wanted


@pytest.mark.parametrize("needle", NEEDLES)
def test_a_literal_counts_after_a_coarse_one_that_led_nowhere(needle: bytes) -> None:
    coarse = next(coarse for coarse in COARSE if coarse in needle)
    assert kept(b"a\n" + coarse + b" " + needle + b"\nb\n") == [coarse + b" " + needle]


def test_what_the_detector_does_not_look_at_is_not_searched() -> None:
    failure = b"CUDA error: out of memory"
    assert kept(b"x" * (CONSIDERED - len(failure)) + failure) != []
    assert kept(b"memory " * CONSIDERED + failure) == []
