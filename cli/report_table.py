"""The table of `report` for a terminal (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from fleet.runtime.logging import plain_text
from fleet.runtime.units import show_duration, show_size

_REPORT = (
    "model",
    "in use",
    "incidents",
    "GPU memory",
    "tokens/s",
    "valid",
    "alphas",
    "kept",
    "likely",
    "mean Sharpe",
    "best",
    "between",
    "load",
    "unique",
    "kept/h",
)


_REPORT_TIMES = ("seconds_between_incidents", "load_seconds")


def report_lines(row: Mapping[str, Any], width: int) -> list[str]:
    """Return the report as a table, one line a model; where it is wider, as tables below each other."""
    cells = [list(_REPORT), *(_report_cells(one) for one in row["models"])]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_REPORT))]
    lines = []
    for columns in _fitting(widths, width):
        head, *body = (
            "  ".join(line[one].rjust(widths[one]) if one else line[0].ljust(widths[0]) for one in columns)
            for line in cells
        )
        lines += ["", click.style(head.rstrip(), bold=True), *(line.rstrip() for line in body)]
    del lines[0]
    if row["standin"]:
        lines.append("Speed and alphas are those of the stand-in, not of a real model.")
    lines += [
        click.style(f"{part} is away: {plain_text(one['reason'])}", fg="red")
        for part, one in row["away"].items()
    ]
    return lines


def _fitting(widths: Sequence[int], width: int) -> list[list[int]]:
    """Return the columns of each table, which is not wider than `width` if possible and begins with the first column."""
    tables = [[0]]
    for column in range(1, len(widths)):
        wide = sum(widths[one] + 2 for one in tables[-1]) + widths[column] > width
        if wide and len(tables[-1]) > 1:
            tables.append([0])
        tables[-1].append(column)
    return tables


def _report_cells(one: Mapping[str, Any]) -> list[str]:
    def figure(name: str, form: str) -> str:
        return "-" if one[name] is None else format(one[name], form)

    return [
        plain_text(one["model"]) + ("" if one["on_ladder"] else " (not on the ladder)"),
        show_duration(one["seconds_in_use"]) if one["seconds_in_use"] else "-",
        str(one["incidents"]),
        "-" if one["vram_bytes"] is None else show_size(one["vram_bytes"]),
        figure("tokens_per_second", ".1f"),
        figure("valid_share", ".0%"),
        str(one["evaluated"]),
        str(one["kept"]),
        str(one["likely"]),
        figure("mean_sharpe", "+.2f"),
        figure("best_sharpe", "+.2f"),
        *("-" if one[name] is None else show_duration(one[name]) for name in _REPORT_TIMES),
        figure("unique_share", ".0%"),
        figure("alphas_per_hour", ".1f"),
    ]
