"""The engine's buffers are used again, so that its memory does not grow with the number of expressions."""

import tracemalloc

from generator.backtest.result.evaluate import engine_for, evaluate
from generator.backtest.settings import AlphaSettings
from generator.backtest.synthetic import synthetic_panel
from generator.catalogue import load_catalogue
from generator.language import parse

DAYS, ROUNDS = 600, 40
TABLE = DAYS * 6 * 8
"""Bytes of one expression's daily figures."""


def test_memory_does_not_grow_with_the_number_of_expressions() -> None:
    panel, settings, catalogue = synthetic_panel(days=DAYS, instruments=20), AlphaSettings(), load_catalogue()
    engine = engine_for(panel, settings)

    def evaluate_batch(shift: int) -> None:
        texts = [f"rank(close + {shift + i})" for i in range(4)]
        evaluate([parse(text, catalogue) for text in texts], panel, settings, engine=engine)

    evaluate_batch(0)  # compiles, and makes the buffers
    tracemalloc.start()
    try:
        evaluate_batch(4)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(ROUNDS):
            evaluate_batch(10 * number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        engine.close()

    assert after - before < ROUNDS * TABLE
