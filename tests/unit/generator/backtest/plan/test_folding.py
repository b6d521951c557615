"""What has its sign folded in is, to the last bit, what a change of sign makes of it."""

import numpy as np
import pytest

from generator.backtest.plan.folding import fold_signs
from generator.backtest.plan.graph import Graph
from generator.backtest.plan.primitives import PRIMITIVES
from generator.backtest.run.engine import Engine
from generator.backtest.synthetic import synthetic_panel
from generator.catalogue import load_catalogue
from generator.language import Node, parse

PANEL = synthetic_panel(days=70, instruments=37)
SIGNED = {
    "rank": "rank({x})",
    "ts_rank": "ts_rank({x}, 6)",
    "ts_corr": "ts_corr({x}, volume, 5)",
    "ts_covariance": "ts_covariance({x}, volume, 5)",
    "ts_std_dev": "ts_std_dev({x}, 5)",
    "ts_av_diff": "ts_av_diff({x}, 5)",
    "ts_zscore": "ts_zscore({x}, 5)",
    "ts_delta": "ts_delta({x}, 3)",
}


def tree(text: str) -> Node:
    return parse(text, load_catalogue(higher=True))


def test_every_signed_primitive_has_a_case() -> None:
    assert set(SIGNED) == {name for name, primitive in PRIMITIVES.items() if primitive.signed}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SIGNED.values())
@pytest.mark.parametrize("x", ["close", "ts_delta(close, 1) * (close > 50)"], ids=["prices", "many zeros"])
def test_a_folded_sign_changes_nothing_else(shape: str, x: str, dtype: type) -> None:
    text = shape.format(x=x)
    engine = Engine(PANEL, dtype=dtype, threads=2)
    (plain,) = engine.values([tree(text)])
    (negative,) = engine.values([tree(f"-{text}")])
    both = engine.values([tree(f"-{text}"), tree(text)])  # needed as it is, too
    twice = engine.values([tree(f"-{text} * abs(-{text})")])[0]
    np.testing.assert_array_equal(
        negative.view(np.int64)[~np.isnan(plain)], (-plain).view(np.int64)[~np.isnan(plain)]
    )
    np.testing.assert_array_equal(both[0], negative)
    np.testing.assert_array_equal(both[1], plain)
    np.testing.assert_allclose(twice, -plain * abs(plain), rtol=1e-6 if dtype is np.float32 else 1e-15)


def graph_of(*steps: tuple[str, tuple[int, ...]]) -> Graph:
    graph = Graph()
    for op, inputs in steps:
        graph.emit(op, *inputs)
    return graph


def test_a_step_that_something_else_needs_stays_as_it_is() -> None:
    graph = graph_of(("field", ()), ("rank", (0,)), ("reverse", (1,)), ("add", (1, 2)))
    assert fold_signs(graph, [3]).steps == graph.steps
    assert fold_signs(graph, [2, 1]).steps == graph.steps
    assert fold_signs(graph, [2]).steps[2].op == "rank"


def test_only_steps_that_the_roots_need_count() -> None:
    graph = graph_of(("field", ()), ("rank", (0,)), ("reverse", (1,)), ("abs", (1,)))
    assert fold_signs(graph, [2]).steps[2].sign == -1.0
    assert fold_signs(graph, [2, 3]).steps == graph.steps


def test_two_changes_of_sign_cancel() -> None:
    graph = graph_of(("field", ()), ("rank", (0,)), ("reverse", (1,)), ("reverse", (2,)))
    folded = fold_signs(graph, [3]).steps[3]
    assert (folded.op, folded.inputs, folded.sign) == ("rank", (0,), 1.0)


def test_a_step_without_a_signed_kernel_keeps_its_reverse() -> None:
    graph = graph_of(("field", ()), ("reverse", (0,)), ("abs", (1,)), ("reverse", (2,)))
    assert fold_signs(graph, [3]).steps == graph.steps
