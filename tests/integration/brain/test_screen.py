"""A screening generator: a panel of one's own first, then a stand-in BRAIN; real processes."""

import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from generator.catalogue import load_catalogue
from generator.domain import Candidate
from generator.workers.sign_flip import reversed_candidate
from standin.brain.server import StandinBrain, standin_brain
from standin.brain.settings import BrainStandinSettings as BrainSettings
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.processes.generator import GeneratorProcess, generating


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(pace=0.0)) as server:
        yield server


@pytest.fixture
def brain() -> Iterator[StandinBrain]:
    with standin_brain(BrainSettings(seconds=0.5, retry_after=0.1)) as server:
        yield server


def panel(folder: Path, days: int = 300, stocks: int = 24) -> Path:
    """Write a market of random walks."""
    chance = Random(7)
    prices = [20.0 + 3 * number for number in range(stocks)]
    rows = ["date,symbol,open,high,low,close,volume,sector,industry,mine_alone"]
    for day in range(days):
        date = f"{2020 + day // 252}-{1 + day % 252 // 21:02d}-{1 + day % 21:02d}"
        for number in range(stocks):
            before = prices[number]
            prices[number] *= math.exp(chance.gauss(0.0, 0.02))
            low, high = sorted((before, prices[number]))
            figures = (before, high * 1.01, low * 0.99, prices[number], 1e5 * (1 + chance.random()))
            cells = ",".join(f"{figure:.4f}" for figure in figures)
            rows.append(f"{date},S{number:02d},{cells},s{number % 3},i{number % 6},{chance.random():.3f}")
    path = folder / "panel.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


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
