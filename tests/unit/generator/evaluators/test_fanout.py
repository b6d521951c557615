"""Batches for dask workers: what they lose is evaluated here, and each candidate has one result."""

from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, cast

import pytest

from fleet.config.schema import PanelSettings
from fleet.runtime.errors import GeneratorError
from generator.domain import AlphaFigures, Candidate, ClusterState, Source
from generator.evaluators.batch import read_job, results_text
from generator.evaluators.fanout import FanoutEvaluator
from generator.evaluators.local import LocalEvaluator, LocalPlan

if TYPE_CHECKING:
    from generator.evaluators.cluster import Cluster


class ScriptedCluster:
    """A cluster whose answers the test gives."""

    def __init__(self, workers: int) -> None:
        self.state = ClusterState(workers)
        self.jobs: list[tuple[list[str], Future[str]]] = []
        self.closed = False

    def submit(self, text: str) -> "Future[str]":
        future: Future[str] = Future()
        self.jobs.append((list(read_job(text).expressions), future))
        return future

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEvaluator]:
    evaluator = LocalPlan(PanelSettings(), Source.SYNTHETIC).load()
    yield evaluator
    evaluator.close()


def made(local: LocalEvaluator, workers: int = 2) -> tuple[FanoutEvaluator, ScriptedCluster]:
    cluster = ScriptedCluster(workers)
    return FanoutEvaluator(local, cast("Cluster", cluster), panel=PanelSettings()), cluster


def candidates(*numbers: int) -> list[Candidate]:
    texts = [f"ts_mean(close, {number})" for number in numbers]
    return [Candidate(text, text, text) for text in texts]


def drained(evaluator: FanoutEvaluator) -> dict[str, float]:
    found: dict[str, float] = {}
    for _ in range(20):
        for one, result in evaluator.results(0.0):
            assert one.digest not in found
            assert isinstance(result, AlphaFigures)
            found[one.digest] = result.sharpe
    return found


def answer(sharpe: float, count: int) -> str:
    return results_text([AlphaFigures(sharpe, 0.1, 0.1, 0.1, 0.1, 0.1, 1, 1, 0)] * count)


def test_batches_of_eight_go_to_the_workers(local: LocalEvaluator) -> None:
    evaluator, cluster = made(local)
    assert evaluator.free == 32
    evaluator.submit(candidates(*range(2, 12)))
    assert [len(expressions) for expressions, _ in cluster.jobs] == [8, 2]
    assert evaluator.free == 22
    assert drained(evaluator) == {}
    for number, (expressions, future) in enumerate(cluster.jobs):
        future.set_result(answer(float(number), len(expressions)))
    assert sorted(drained(evaluator).values()) == [0.0] * 8 + [1.0] * 2
    assert evaluator.free == 32


@pytest.mark.parametrize(
    "outcome",
    [GeneratorError("away"), OSError("gone"), CancelledError(), "", answer(9.0, 1), answer(9.0, 3)],
    ids=["away", "error", "cancelled", "no answer", "too few", "too many"],
)
def test_a_lost_or_malformed_batch_is_evaluated_here(
    local: LocalEvaluator, outcome: "str | BaseException"
) -> None:
    evaluator, cluster = made(local)
    evaluator.submit(candidates(2, 3))
    [(_, future)] = cluster.jobs
    if isinstance(outcome, CancelledError):
        future.cancel()
        future.set_running_or_notify_cancel()
    elif isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    found = drained(evaluator)
    assert found.keys() == {"ts_mean(close, 2)", "ts_mean(close, 3)"}
    assert 9.0 not in found.values()
    assert len(cluster.jobs) == 1


def test_without_workers_the_local_engine_evaluates(local: LocalEvaluator) -> None:
    evaluator, cluster = made(local, workers=0)
    assert evaluator.free == local.free
    evaluator.submit(candidates(5))
    assert evaluator.free == local.free - 1
    assert drained(evaluator).keys() == {"ts_mean(close, 5)"}
    assert cluster.jobs == []


def test_a_candidate_under_way_is_not_sent_twice_and_its_result_is_of_the_newest_claim(
    local: LocalEvaluator,
) -> None:
    evaluator, cluster = made(local)
    [one] = candidates(2)
    evaluator.submit([one])
    evaluator.submit([Candidate(one.digest, one.expression, one.canonical, claim=7)])
    [(_, future)] = cluster.jobs
    future.set_result(answer(1.0, 1))
    [(found, _)] = evaluator.results(0.0)
    assert found.claim == 7


def test_a_closed_evaluator_closes_the_connection() -> None:
    evaluator, cluster = made(LocalPlan(PanelSettings(), Source.SYNTHETIC).load())
    evaluator.submit(candidates(2))
    evaluator.close()
    assert cluster.closed
    assert evaluator.results(0.0) == []
