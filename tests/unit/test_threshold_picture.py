"""The picture and the table of docs/thresholds.md are what the policy does."""

import re

import pytest

from fleet.config.schema import SEED_LADDER, PolicySettings
from fleet.policy.rules import Rules
from fleet.runtime.home import ROOT
from tools.threshold_picture import BASES, PICTURE, picture, points, threshold

PAGE = (ROOT / "docs" / "thresholds.md").read_text("utf-8")


def test_the_picture_is_of_the_present_function() -> None:
    assert PICTURE.read_text("utf-8") == picture(), "draw it: python -m tools.threshold_picture"


@pytest.mark.parametrize("base", BASES)
def test_its_staircases_fall_from_the_threshold_to_one_at_least(base: int) -> None:
    values = [value for _, value in points(base)]
    assert values[0] == base
    assert values == sorted(values, reverse=True)
    assert values[-1] >= 1
    assert threshold(base, 4) == max(1, round(base / 2))


def test_the_table_is_of_the_default_ladder() -> None:
    rows = re.findall(r"^\| (\S+:\S+) \| [^|]+ \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    expected = []
    for rung in SEED_LADDER:
        policies = [PolicySettings(threshold=base, dynamic_threshold=True) for base in (3, 6, 10)]
        expected.append((rung.model, *(str(Rules(SEED_LADDER, one).threshold(rung)) for one in policies)))
    assert rows == expected
