"""Breeding and refining prompts in a real generator process, on a panel whose returns come back."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.processes.generator import GeneratorProcess, generating

DAYS, SYMBOLS = 600, 40


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(vram=24 * 10**9)) as server:
        yield server


def write_panel(path: Path) -> None:
    """Write a panel in which half of each day's move comes back on the next."""
    rng = np.random.default_rng(1)
    moves = rng.normal(0.0, 0.02, (DAYS, SYMBOLS))
    for day in range(1, DAYS):
        moves[day] -= 0.5 * moves[day - 1]
    close = 50 * np.exp(np.cumsum(moves, axis=0))
    dates = np.datetime64("2022-01-03") + np.arange(DAYS)
    rows = {
        "date": np.repeat(dates, SYMBOLS),
        "symbol": np.tile([f"S{number:02d}" for number in range(SYMBOLS)], DAYS),
        "close": close.ravel(),
        "high": (close * 1.01).ravel(),
        "low": (close * 0.99).ravel(),
        "volume": rng.lognormal(12, 0.4, DAYS * SYMBOLS),
    }
    pl.DataFrame(rows).write_parquet(path)


def rows(generator: GeneratorProcess, statement: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in generator.query(statement)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_variants_of_the_pool_are_tried_and_the_model_refines_it(
    tmp_path: Path, ollama: StandinOllama
) -> None:
    write_panel(tmp_path / "mine.parquet")
    with generating(tmp_path, ollama.url, FLEET_PANEL_PATH=str(tmp_path / "mine.parquet")) as generator:
        generator.until(
            lambda: (
                generator.count("evaluations", "origin = 'bred' AND state = 'done'") >= 20
                and generator.count("calls", "prompt LIKE '%Improve these alphas%'") >= 3
            ),
            what="variants and refining prompts",
            seconds=240,
        )
        bred = generator.count("evaluations", "origin = 'bred'")
        written = generator.count("evaluations", "origin = 'model'")
        parents = rows(generator, "SELECT parents FROM evaluations WHERE origin = 'bred'")
        known = {
            name for (name,) in rows(generator, "SELECT digest FROM evaluations WHERE admitted IS NOT NULL")
        }
        assert bred <= 2 * written
        assert {name for (text,) in parents for name in json.loads(str(text))} <= known
        assert "Traceback" not in generator.log
