"""Write the policy's transitions and invariants into `docs/architecture.md`: `python -m tests.reference.drawing`.

Tests compare the page with both.
"""

from itertools import groupby
from pathlib import Path

from benchmarks.report import replace_section, table
from tests.reference.transitions import TRANSITIONS, Place
from tests.space.invariants import INVARIANTS
from tests.space.search import Search

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
NAME = "transitions"


def diagram() -> str:
    """Return the places and what leads from one to another, as a Mermaid diagram."""
    ordered = sorted(TRANSITIONS, key=lambda row: (_rank(row.before), _rank(row.after)))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Place.REST}"]
    for (before, after), rows in groupby(ordered, key=lambda row: (row.before, row.after)):
        lines.append(f"    {before} --> {after}: {', '.join(row.fact for row in rows)}")
    return "\n".join([*lines, "```"])


def _rank(place: Place) -> int:
    return list(Place).index(place)


def section() -> str:
    """Return the page's section, between the marks by which it is found."""
    rows = [[row.before, f"`{row.fact}`", row.after, row.when] for row in TRANSITIONS]
    body = f"{diagram()}\n\n{table(['from', 'fact', 'to', 'when'], rows)}"
    return f"<!-- {NAME} -->\n{body}\n<!-- /{NAME} -->"


def invariants() -> str:
    """Return the page's table of invariants: each predicate with its sentence."""
    predicates = (*INVARIANTS, Search.comes_to_rest)
    rows = [[f"`{one.__name__}`", (one.__doc__ or "").partition("\n")[0]] for one in predicates]
    return f"<!-- invariants -->\n{table(['predicate', 'what holds'], rows)}\n<!-- /invariants -->"


def main() -> None:
    """Bring the page up to date."""
    page = replace_section(PAGE.read_text("utf-8"), NAME, section())
    PAGE.write_text(replace_section(page, "invariants", invariants()), "utf-8")


if __name__ == "__main__":
    main()
