"""A screening generator: a panel of one's own first, then a stand-in BRAIN; real processes."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from generator.catalogue import load_catalogue
from generator.domain import Candidate
from generator.workers.sign_flip import reversed_candidate
from standin.brain.server import StandinBrain, standin_brain
from standin.brain.settings import BrainStandinSettings as BrainSettings
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.processes.generator import GeneratorProcess, generating
from tests.reference.random_walks import panel


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(pace=0.0)) as server:
        yield server


@pytest.fixture
def brain() -> Iterator[StandinBrain]:
    with standin_brain(BrainSettings(seconds=0.5, retry_after=0.1)) as server:
        yield server


def digest_of_opposite(expression: str) -> str:
    turned = reversed_candidate(Candidate("", expression, "", call="", model=""), load_catalogue())
    assert turned is not None
    return turned.digest


def brains(generator: GeneratorProcess) -> int:
    return generator.count("evaluations", "source = 'brain' AND state = 'done'")


@pytest.mark.slow
def test_the_panel_judges_all_and_brain_the_best(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    (tmp_path / "credential.txt").write_text(json.dumps(["someone@example.com", "standin"]))
    (tmp_path / "credential.txt").chmod(0o600)
    environ = {"FLEET_BRAIN_URL": brain.url, "FLEET_PANEL_PATH": str(panel(tmp_path))}
    for number in (1, 2):
        with generating(tmp_path, ollama.url, **environ) as killed:
            killed.until(lambda: brains(killed) >= 3 * number, what="alphas on BRAIN", seconds=150.0)  # noqa: B023
            killed.end(signal.SIGKILL, seconds=60.0)
    with generating(tmp_path, ollama.url, **environ) as generator:
        generator.until(lambda: brains(generator) >= 12, what="more of them", seconds=150.0)
        code, _ = generator.end(seconds=60.0)
    assert code == 0
    output = generator.log + generator.told
    assert "Traceback" not in output, output[output.index("Traceback") - 500 :][:4000]
    assert len(brain.world.taken) == len(set(brain.world.taken))
    on_panel = dict(
        generator.query("SELECT digest, fitness FROM evaluations WHERE source = 'panel' AND state = 'done'")
    )
    on_brain = generator.query("SELECT digest, expression, fitness FROM evaluations WHERE source = 'brain'")
    losers = [expression for _, expression, fitness in on_brain if fitness is not None and fitness < 0]
    turned = {digest_of_opposite(expression) for expression in losers}
    for digest, expression, _ in on_brain:
        assert (on_panel.get(digest) or 0.0) > 0 or digest in turned, (
            expression,
            on_panel.get(digest),
            on_brain,
        )
    sent = len(on_brain)
    assert generator.count("evaluations", "source = 'panel'") > sent
    assert generator.count("evaluations", "expression LIKE '%mine_alone%'") == 0
