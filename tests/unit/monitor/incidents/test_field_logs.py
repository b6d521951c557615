"""Logs from public reports, each with the incidents it holds: scanned and followed, in every wrapping and file form.

`tests/data/field/index.json` says where each log is from and why it holds what it holds.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.incidents import GroupingRules
from monitor.scan.scan import scan_file
from tests.reference.log_courses import WRAPPINGS, follow, found, times
from tests.reference.ollama_log import DETECTOR

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


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", LOGS)
def test_a_field_log_wrapped(name: str, wrapping: str) -> None:
    lines = text_of(name).splitlines()
    wrapped = [WRAPPINGS[wrapping](line, at) for line, at in zip(lines, times(lines), strict=True)]
    assert found(wrapped) == LOGS[name]


@pytest.mark.parametrize("stamped", [False, True], ids=["bare", "stamped"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
@pytest.mark.parametrize("name", LOGS)
def test_a_field_log_followed(name: str, *, stamped: bool, restarted: bool) -> None:
    live = follow(text_of(name).splitlines(), stamped=stamped, restarted=restarted)
    assert live.closed_causes == LOGS[name]
    assert live.counted == live.count == sum("+" in one for one in LOGS[name]), "counted for a while"
