"""The report of a benchmark as a Markdown table, and its section of `docs/benchmarks.md`."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """A table with its title; `notes` describe the workload, the machine and the baseline of ratios."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str = ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def row(line: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([row(lines[0]), rule, *map(row, lines[1:])])


def show(report: Report) -> str:
    """Return a report as Markdown."""
    parts = [f"## {report.title}", table(report.head, report.rows), report.notes]
    return "\n\n".join(part for part in parts if part)


def section(name: str, reports: Sequence[Report], *, when: str, where: str) -> str:
    """Return a benchmark's section between its markers, by which the next run finds it."""
    body = "\n\n".join([*map(show, reports), f"Measured {when} on {where}."])
    return f"<!-- {name} -->\n{body}\n<!-- /{name} -->"


def replace_section(page: str, name: str, text: str) -> str:
    """Return the page with the section replaced, or appended if it is new."""
    start, end = page.find(f"<!-- {name} -->"), page.find(f"<!-- /{name} -->")
    if start < 0 or end < start:
        return f"{page.rstrip()}\n\n{text}\n"
    return page[:start] + text + page[end + len(f"<!-- /{name} -->") :]
