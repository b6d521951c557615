"""Every wording of `tests/data/wordings.txt` against what its heading says; a new wording is a new line there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor.detection.detector import Detector, detect

DATA = Path(__file__).parents[3] / "data" / "wordings.txt"
DETECTOR = Detector()


@dataclass(frozen=True, slots=True)
class Wording:
    """A line, its number in the file, and what its heading expects of it."""

    number: int
    line: str
    kind: str
    named: tuple[tuple[str, str], ...]


def wordings() -> Iterator[Wording]:
    kind, named = "none", ()
    for number, line in enumerate(DATA.read_text("utf-8").split("\n"), start=1):
        if line.startswith("### "):
            kind, *pairs = line[4:].split()
            named = tuple((key, value) for key, _, value in (pair.partition("=") for pair in pairs))
        elif line and not line.startswith("# "):
            yield Wording(number, line, kind, named)


@pytest.mark.parametrize("wording", list(wordings()), ids=lambda wording: f"{wording.number}-{wording.kind}")
def test_a_wording_is_what_its_heading_says(wording: Wording) -> None:
    signal = detect(wording.line)
    assert (signal.kind.value if signal else "none") == wording.kind
    for key, value in wording.named:
        assert str(getattr(signal, key)) == value
    assert signal is None or list(DETECTOR.candidates(wording.line.encode()))
