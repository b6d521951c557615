"""Mining on a stand-in BRAIN through faults of BRAIN's and of Ollama's: database, BRAIN and log tell one story.

FLEET_FUZZ=1 makes it an hour; another number, so many seconds.
"""

import json
import time
from pathlib import Path
from random import Random

import pytest

from standin import faults as ollamas
from standin.brain.faults import BrainFault, BrainFaultKind
from standin.brain.server import StandinBrain, standin_brain
from standin.brain.settings import BrainStandinSettings as BrainSettings
from standin.ollama import standin
from standin.settings import StandinSettings
from tests.processes.generator import GeneratorProcess, generating
from tests.reference.expressions import amount, patient

PATH = "/api/generate"
OPEN = """
    SELECT id FROM evaluations AS e WHERE state IN ('done', 'failed') AND NOT EXISTS
    (SELECT 1 FROM simulations AS s WHERE s.digest = e.digest AND s.state = 'ended')
"""
FAILED = ("Division by nothing", "Incompatible unit")


def brains(random: Random) -> BrainFault:
    """Return something that goes wrong at BRAIN, once or twice."""
    times = random.choice((1, 1, 2))
    return random.choice(
        (
            BrainFault(BrainFaultKind.ERROR, times=times, path="/simulations/", status=random.choice((500, 503))),
            BrainFault(BrainFaultKind.HTML, times=times, path="/simulations/", status=502),
            BrainFault(
                BrainFaultKind.ERROR,
                method="POST",
                path="/simulations",
                status=429,
                text="slow down",
                retry_after="0.3",
            ),
            BrainFault(BrainFaultKind.EXPIRE, path="/simulations"),
            BrainFault(BrainFaultKind.REFUSE, times=times, path=random.choice(("/alphas/", "/simulations"))),
            BrainFault(BrainFaultKind.LOSE, method="POST", path="/simulations"),
            BrainFault(BrainFaultKind.STALL, path="/simulations/", seconds=random.random()),
            BrainFault(BrainFaultKind.OUTCOME, status_text="WARNING", text="Incompatible unit"),
            BrainFault(BrainFaultKind.OUTCOME, status_text="ERROR", text="Division by nothing"),
            BrainFault(BrainFaultKind.BLANK, times=2),
        )
    )  # fmt: skip


def models(random: Random) -> ollamas.Fault:
    """Return something that goes wrong at Ollama, once."""
    return random.choice(
        (
            ollamas.Fault(ollamas.FaultKind.ERROR, times=1, status=500, path=PATH),
            ollamas.Fault(ollamas.FaultKind.BREAK, times=1, after=random.randrange(8)),
            ollamas.Fault(ollamas.FaultKind.RUBBISH, times=1, path=PATH, what="cut"),
            ollamas.Fault(ollamas.FaultKind.AWAY, seconds=random.random()),
        )
    )


@pytest.mark.slow
@patient
def test_database_brain_and_log_agree_after_faults_of_all_kinds(tmp_path: Path) -> None:
    random = Random(7)
    account = tmp_path / "credential.txt"
    account.write_text(json.dumps(["someone@example.com", "standin"]))
    account.chmod(0o600)
    with (
        standin(settings=StandinSettings(pace=0.0)) as ollama,
        standin_brain(BrainSettings(seconds=amount(0.3, 2), retry_after=0.1)) as brain,
        generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator,
    ):
        end = time.monotonic() + amount(12, 3600)
        brain.apply(BrainFault(BrainFaultKind.OUTCOME, status_text="ERROR", text="Division by nothing"))
        while time.monotonic() < end:
            brain.apply(brains(random))
            if random.random() < 0.2:
                ollama.apply(models(random))
            time.sleep(2 * random.random())
            assert generator.process.poll() is None
        brain.board.clear()
        brain.apply(BrainFault(BrainFaultKind.OUTCOME, status_text="ERROR", text="Division by nothing"))
        generator.until(lambda: generator.count("evaluations", "state = 'failed'") >= 1, what="a failed one")
        before = generator.count("evaluations", "state = 'done'")
        generator.until(
            lambda: generator.count("evaluations", "state = 'done'") >= before + 6, what="alphas after it"
        )
        assert generator.end(seconds=60.0)[0] == 0
        agree(generator, brain)


def agree(generator: GeneratorProcess, brain: StandinBrain) -> None:
    """Compare the stored rows with BRAIN's requests and answers, and with the log."""
    assert "Traceback" not in generator.log + generator.told
    assert len(brain.world.taken) == len(set(brain.world.taken)), "a simulation was paid for twice"
    rows = generator.query("SELECT id, expression, alpha_id, sharpe, state, error FROM evaluations")
    assert len({row[1] for row in rows}) == len(rows), "an expression stands twice"
    finished = [row for row in rows if row[4] in {"done", "failed"}]
    assert {row[1] for row in finished} <= set(brain.world.taken)
    for _, expression, alpha, sharpe, state, error in finished:
        if state == "failed":
            assert error in FAILED
            continue
        assert brain.world.alphas[alpha]["regular"]["code"] == expression
        assert brain.world.alphas[alpha]["is"]["sharpe"] == sharpe
    for event, state in (("evaluation.done", "done"), ("evaluation.failed", "failed")):
        lines = [line for line in generator.log.splitlines() if f" {event} " in line]
        reports = sorted(int(line.split(" id=")[1].split()[0]) for line in lines)
        assert reports == sorted(row[0] for row in rows if row[4] == state)
    assert any(row[4] == "failed" for row in rows), "no simulation failed, so that nothing was tested"
    assert generator.query(OPEN) == []
