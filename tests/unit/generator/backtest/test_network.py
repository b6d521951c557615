"""The sorting network against numpy's sort, and its comparators by the 0-1 principle."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator.backtest.kernels.network import LANES, SORT_EIGHT, lanes_for, sort_rows

LAST = 0xFFFFFFFF


def test_the_comparators_of_eight_sort_every_row_of_zeros_and_ones() -> None:
    for bits in itertools.product((0, 1), repeat=8):
        row = list(bits)
        for a, b in SORT_EIGHT:
            row[a], row[b] = min(row[a], row[b]), max(row[a], row[b])
        assert row == sorted(row)


@pytest.mark.parametrize("columns", [*range(1, 70), 127, 128, 129, 255, 256, 257, 777, 1000, 2049, 5000])
def test_rows_of_any_length_are_sorted(columns: int) -> None:
    chance = np.random.default_rng(columns)
    for most in (LAST, 3):  # all different, and full of equal ones
        lanes = lanes_for(columns)
        for _ in range(3):  # in the same room
            keys = chance.integers(0, most, (LANES, columns), dtype=np.uint32, endpoint=True)
            wanted = np.sort(keys, axis=1)
            sort_rows(keys, lanes)
            np.testing.assert_array_equal(keys, wanted)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.data())
def test_rows_of_zeros_and_ones_are_sorted(columns: int, data: st.DataObject) -> None:
    ones = data.draw(st.lists(st.integers(0, columns - 1), max_size=columns))
    keys = np.zeros((8, columns), np.uint32)
    keys[:, ones] = 1
    keys[1::2] = 1 - keys[1::2]
    wanted = np.sort(keys, axis=1)
    sort_rows(keys, lanes_for(columns))
    np.testing.assert_array_equal(keys, wanted)
