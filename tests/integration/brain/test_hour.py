"""An hour of random faults on the stand-in BRAIN, on a clock that the test moves: database, BRAIN and log agree.

Restarts, faults that pass and addresses that fail for good. FLEET_FUZZ=1 makes it a day; another number, so many hours.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from generator.domain import AlphaFigures
from generator.storage.schema import EvaluationRow, SimulationRow
from standin.brain import figures
from tests.reference.brain_faults import random_fault
from tests.reference.brain_world import QUICK, BrainWorld

SEEDS = (1, 2)
SETTINGS = replace(QUICK, seconds=40.0, retry_after=5.0)


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BrainWorld]:
    made = BrainWorld(tmp_path, replace(SETTINGS, several=request.param))
    yield made
    made.close()


def hours() -> float:
    given = float(os.environ.get("FLEET_FUZZ") or 0.0)
    return 24.0 if given == 1.0 else given or 1.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("world", [False, True], indirect=True, ids=["single", "multi"])
def test_database_brain_and_log_agree_after_an_hour_of_faults(
    world: BrainWorld, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "generator.brain.events")
    random = Random(seed)
    count = int(120 * hours())
    waiting = world.candidates(*(f"rank(ts_mean(close, {days}))" for days in range(2, count + 2)))
    running: list[int] = []
    end = world.clock.now + hours() * 3600
    while world.clock.now < end and len(world.done) < count:
        if random.random() < 0.5:
            world.server.apply(random_fault(random, world.server, lasting=0.1))
        left = [one for one in waiting if one.digest not in world.done]
        # A new simulator is a restart.
        simulator = world.simulator()
        pause = world.clock.now + random.choice((3.0, 20.0, 60.0, 300.0))

        def enough(pause: float = pause) -> bool:
            running.append(world.server.world.running())
            return world.clock.now >= pause

        world.run(simulator, left, until=enough)
    world.server.board.clear()
    left = [one for one in waiting if one.digest not in world.done]
    world.run(world.simulator(), left, hours=48.0)
    assert max(running) <= 3
    agree(world, caplog)


def agree(world: BrainWorld, caplog: pytest.LogCaptureFixture) -> None:
    """Compare the rows with BRAIN's simulations and alphas, and with the log."""
    row = SimulationRow
    with world.store.transaction() as connection:
        rows = connection.execute(select(row.id, row.digest, row.state, row.sent, row.status)).all()
        stored = {
            one.digest: one
            for one in connection.execute(
                select(
                    EvaluationRow.digest, EvaluationRow.state, EvaluationRow.sharpe, EvaluationRow.alpha_id
                )
            )
        }
    assert {one.state for one in rows} <= {"ended", "lost"}
    # Each result is stored, and is BRAIN's.
    assert stored.keys() == world.done.keys()
    for digest, found in world.done.items():
        if isinstance(found, AlphaFigures):
            assert stored[digest].state == "done"
            assert stored[digest].alpha_id == figures.alpha_id(digest)
            assert stored[digest].sharpe == world.server.world.alphas[found.alpha_id or ""]["is"]["sharpe"]
        else:
            assert stored[digest].state == "failed"
    # Each simulation that BRAIN took is a row; a row without one was lost on its way.
    taken = Counter(world.server.world.taken)
    sent = Counter(one.digest for one in rows if one.sent)
    lost = Counter(one.digest for one in rows if one.state == "lost")
    for digest in stored:
        assert sent[digest] - lost[digest] <= taken[digest] <= sent[digest]
    # The log tells of each end, and of each request that was lost.
    events = {
        name: sorted(record.fields["id"] for record in caplog.records if record.message == name)  # type: ignore[attr-defined]
        for name in ("simulation.ended", "simulation.lost")
    }
    assert events["simulation.ended"] == sorted(one.id for one in rows if one.status)
    assert events["simulation.lost"] == sorted(one.id for one in rows if one.state == "lost")
