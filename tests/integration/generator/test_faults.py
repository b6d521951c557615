"""Mining through faults of all kinds: afterwards the database, the signals, the logs and the totals tell one story.

FLEET_FUZZ=1 makes it an hour; another number, so many seconds.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from standin.faults import Fault, FaultKind
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.processes.generator import GeneratorProcess, generating
from tests.reference.expressions import amount, patient

PATH = "/api/generate"
RARE = (FaultKind.OOM,)
"""After these the generator pauses for seconds, as it should."""


def faults(random: Random, rare: float) -> Fault:
    """Return a fault that happens once or twice."""
    times = random.choice((1, 1, 2))
    if random.random() < rare:
        return Fault(random.choice(RARE), times=1)
    return random.choice(
        (
            Fault(FaultKind.ERROR, times=times, status=random.choice((500, 503)), path=PATH),
            Fault(FaultKind.BREAK, times=times, after=random.randrange(8)),
            Fault(FaultKind.DIE, times=1, after=random.randrange(8)),
            Fault(FaultKind.REFUSE, times=times, path=PATH),
            Fault(FaultKind.AWAY, seconds=random.random()),
            Fault(
                FaultKind.RUBBISH, times=times, path=PATH,
                what=random.choice(("text", "cut", "schema", "nested", "html")),
            ),
        )
    )  # fmt: skip


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(pace=0.05)) as server:
        yield server


def events(generator: GeneratorProcess, name: str) -> list[dict[str, str]]:
    """Return the fields of a log's lines of one event, as far as they have no spaces."""
    lines = [line for line in generator.log.splitlines() if f" {name} " in line]
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]


@pytest.mark.slow
@patient
def test_tables_logs_signals_and_totals_agree(tmp_path: Path, ollama: StandinOllama) -> None:
    random = Random(4)
    end = time.monotonic() + amount(12, 3600)
    with generating(tmp_path, ollama.url) as generator:
        generator.until(lambda: generator.count("evaluations", "state = 'done'") >= 2, what="alphas")
        while time.monotonic() < end or not any(row["error"] for row in generator.signals()):
            ollama.apply(faults(random, rare=0.03))
            time.sleep(random.random())
            assert generator.process.poll() is None
        generator.until(lambda: generator.count("evaluations", "state = 'done'") >= 2, what="alphas")
        before = len(generator.signals())
        generator.until(lambda: len(generator.signals()) > before, what="a call after all of it")
        assert generator.end()[0] == 0
    rows = generator.query("SELECT id, status, error, reply, valid, invalid, duplicates FROM calls")
    assert "Traceback" not in generator.log
    agree_on_calls(tmp_path, generator, rows)
    agree_on_evaluations(generator)


def agree_on_calls(home: Path, generator: GeneratorProcess, rows: list[tuple[Any, ...]]) -> None:
    stored = {row[0]: row[1:3] for row in rows}
    assert {row["id"]: (row["status"], row["error"]) for row in generator.signals()} == stored
    files = sorted((home / "log").glob("calls.log*"))
    kept = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert {row["id"]: row["reply"] for row in kept}.items() <= {row[0]: row[3] for row in rows}.items()
    assert len(kept) == len(rows) or len(files) == 4  # the newest 20 MB
    reports = events(generator, "call.answered") + events(generator, "call.failed")
    assert sorted(row["id"] for row in reports) == sorted(stored)
    assert {row["id"] for row in events(generator, "call.failed")} == {row[0] for row in rows if row[2]}
    tallies = {
        row["id"]: tuple(int(row[name]) for name in ("valid", "invalid", "duplicates"))
        for row in events(generator, "call.stored")
    }
    assert tallies == {row[0]: row[4:] for row in rows}
    assert any(row[2] for row in rows), "no call failed, so that nothing was tested"


def agree_on_evaluations(generator: GeneratorProcess) -> None:
    for event, state in (("evaluation.done", "done"), ("evaluation.failed", "failed")):
        reports = [int(row["id"]) for row in events(generator, event)]
        assert sorted(reports) == [row[0] for row in generator.query(
            "SELECT id FROM evaluations WHERE state = ? ORDER BY id", state
        )]  # fmt: skip
    [(valid, duplicates)] = generator.query("SELECT sum(valid), sum(duplicates) FROM calls")
    assert generator.count("evaluations") == valid - duplicates
