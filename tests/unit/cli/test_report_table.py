"""The table of `report` at terminals of any width."""

import sys
from typing import Any

import click
import pytest

from cli.report_table import report_lines

MODEL: dict[str, Any] = {
    "model": "llama3.2:3b", "on_ladder": True, "seconds_in_use": 4000.0, "incidents": 3, "vram_bytes": 3 << 30,
    "tokens_per_second": 41.25, "valid_share": 1.0, "unique_share": 0.9, "evaluated": 1200, "kept": 12, "likely": 1,
    "mean_sharpe": 0.5, "best_sharpe": 1.75, "seconds_between_incidents": 1333.0, "load_seconds": 2.5,
    "alphas_per_hour": 10.8,
}  # fmt: skip
ROW = {"models": [MODEL, {**MODEL, "model": "a-name:of-some-length"}], "standin": False, "away": {}}


def table(width: int) -> list[str]:
    return [click.unstyle(line) for line in report_lines(ROW, width)]


@pytest.mark.parametrize("width", [40, 79, 80, 100, 130])
def test_a_terminal_gets_tables_that_fit_and_a_pipe_gets_one(width: int) -> None:
    whole, lines = table(sys.maxsize), table(width)
    assert len(whole) == 3
    assert max(map(len, lines)) <= width
    blocks = "\n".join(lines).split("\n\n")
    assert all(block.splitlines()[1].startswith("llama3.2:3b  ") for block in blocks)
    for number in range(3):
        parts = [block.splitlines()[number].split("  ") for block in blocks]
        figures = [part.strip() for block in parts for part in block[1:] if part.strip()]
        assert figures == [part.strip() for part in whole[number].split("  ")[1:] if part.strip()]


def test_a_terminal_narrower_than_any_figure_gets_a_table_for_each() -> None:
    assert len("\n".join(table(1)).split("\n\n")) == 14
