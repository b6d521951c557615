"""A short run of `python -m tests.fuzz`; FLEET_FUZZ makes it longer."""

import os
import random

import pytest

from tests.fuzz import Fuzzer, fuzz, hostile

INPUTS = int(os.environ.get("FLEET_FUZZ", "3000"))


@pytest.mark.slow
def test_mutated_lines_raise_nothing_and_pass_the_prefilter_where_they_say_something() -> None:
    fuzz(INPUTS, seed=7)


def test_hostile_lines_are_taken() -> None:
    fuzzer = Fuzzer(random.Random(7))
    for line in list(hostile())[::9]:
        fuzzer.feed(line)
