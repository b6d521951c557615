"""Logs from public reports, each with the incidents it holds: scanned and followed, in every wrapping and file form.

`tests/data/field/index.json` says where each log is from and why it holds what it holds.
"""

import gzip
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from monitor.incidents import GroupingRules
from monitor.incidents.messages import FailedCall
from monitor.scan.scan import scan_file
from tests.reference.log_courses import Live, follow, found, times
from tests.reference.ollama_log import DETECTOR, OOM, gin
from tests.reference.wrappings import WRAPPINGS

FIELD = Path(__file__).parents[3] / "data" / "field"
LOGS = {row["file"]: tuple(row["incidents"]) for row in json.loads((FIELD / "index.json").read_text("utf-8"))}
FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "utf-16 with a mark": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "utf-16 big-endian": lambda text: text.encode("utf-16-be"),
}


def text_of(name: str) -> str:
    packed = FIELD / f"{name}.gz"
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else (FIELD / name).read_bytes()
    return data.decode("utf-8", "replace")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LOGS)
def test_a_field_log_scanned(name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "ollama.log"
    path.write_bytes(FORMS[form](text_of(name)))
    report = scan_file(str(path), GroupingRules(), DETECTOR)
    assert (
        tuple(f"{i.kind.value}/{i.cause.value}{'+' if i.counts else ''}" for i in report.incidents)
        == LOGS[name]
    )


@cache
def lines_that_matter(name: str) -> list[tuple[str, float]]:
    """Return the lines that pass the prefilter, with their times."""
    lines = text_of(name).splitlines()
    pairs = zip(lines, times(lines), strict=True)
    return [(line, at) for line, at in pairs if DETECTOR.prefilter.matters(line.encode())]


@pytest.mark.slow
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_field_logs_wrapped(wrapping: str) -> None:
    wrap = WRAPPINGS[wrapping]
    got = {name: found([wrap(line, at) for line, at in lines_that_matter(name)]) for name in LOGS}
    assert got == LOGS


@pytest.mark.parametrize("stamped", [False, True], ids=["bare", "stamped"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
@pytest.mark.parametrize("name", LOGS)
def test_a_field_log_followed(name: str, *, stamped: bool, restarted: bool) -> None:
    live = follow(text_of(name).splitlines(), stamped=stamped, restarted=restarted)
    assert live.closed_causes == LOGS[name]
    assert live.counted == live.count == sum("+" in one for one in LOGS[name]), "counted for a while"


RETRIED = {
    "40-derived-retry-fails-500-first.log": 1,
    "40b-derived-retry-fails-500-last.log": 1,
    "41b-derived-retry-heals-alone.log": 0,
}


def places(lines: list[str]) -> list[int]:
    """Return the positions at which something else can be read between two lines that matter."""
    return [n for n, line in enumerate(lines) if list(DETECTOR.candidates(line.encode()))] + [len(lines)]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.02, 3.9, 8.0])
@pytest.mark.parametrize("name", RETRIED)
def test_requests_of_other_models_change_nothing_wherever_they_end(name: str, seconds: float) -> None:
    lines = text_of(name).splitlines()
    wrong = {}
    for place in places(lines):
        for status in (200, 500) if RETRIED[name] else (200,):
            live = Live(stamped=False, restarted=False)
            for number, (line, at) in enumerate(zip(lines, times(lines), strict=True)):
                if number == place:
                    live.line(gin(at, status, seconds, "/api/embed"), at)
                live.line(line, at)
            live.wait(live.now + 1000.0)
            if live.count != RETRIED[name]:
                wrong[place, status] = live.count
    assert not wrong


@pytest.mark.parametrize("name", [name for name, count in RETRIED.items() if count])
def test_an_answer_to_a_retried_load_is_part_of_its_failure_wherever_it_is_read(name: str) -> None:
    lines = text_of(name).splitlines()
    printed = times(lines)
    call = FailedCall("1", printed[0] - 0.1, printed[-1] + 0.2, "llama3.2:3b", 500, OOM)
    wrong = {}
    for place in places(lines):
        live = Live(stamped=False, restarted=False)
        for number, (line, at) in enumerate(zip(lines, printed, strict=True)):
            if number == place:
                live.see(call)
            live.line(line, at)
        if place == len(lines):
            live.see(call)
        live.wait(live.now + 1000.0)
        if live.count != 1:
            wrong[place] = live.count
    assert not wrong
