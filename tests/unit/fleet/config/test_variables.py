"""Every `FLEET_…` variable that the product names is known, so that none of its own is called unread or misspelt."""

import re
from collections.abc import Iterator
from pathlib import Path

from fleet.config.load import KEYS
from fleet.config.variables import meant_by, unread
from fleet.runtime.home import ROOT

_PACKAGES = (
    "cli",
    "fleet",
    "generator",
    "monitor",
    "notifier",
    "standin",
    "state",
    "web",
    "docs",
    "container",
)
_OF_TESTS = {"FLEET_FUZZ", "FLEET_REQUIRE"}  # README and CONTRIBUTING name them
_NAME = re.compile(r"\bFLEET_[A-Z_]*[A-Z]\b")


def _texts() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from (ROOT / package).rglob("*.*")
    yield from ROOT.glob("*.*")


def _named() -> set[str]:
    files = [path for path in _texts() if path.suffix in {".py", ".md", ".toml", ".yml", ".conf", ".sh"}]
    return {name for path in files if path.name != "CHANGELOG.md" for name in _NAME.findall(path.read_text())}


def test_every_variable_of_the_product_is_known() -> None:
    named = _named()
    assert {"FLEET_HOME", "FLEET_STANDIN_SEED", "FLEET_SWITCHES", "FLEET_DATA"} <= named
    assert not unread(named - _OF_TESTS, KEYS)
    assert not [name for name in named if meant_by(name, KEYS)]


def test_a_variable_that_nothing_reads_is_named() -> None:
    given = ["PATH", "FLEET_HOME", "FLEET_THRESHOLD", "FLEET_POLICY_WINDOW", "FLEET_A"]
    assert unread(given, KEYS) == ["FLEET_A", "FLEET_THRESHOLD"]


def test_variables_of_other_programs_are_not_taken_for_misspelt_ones() -> None:
    others = ("FLEET_URL", "FLEET_ENROLL", "FLEET_CA", "FLEET_SERVER_ENABLE", "FLEET_REQUIRE", "FLEET_BENCH")
    assert [meant_by(name, KEYS) for name in others] == [""] * len(others)
