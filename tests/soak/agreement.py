"""The checker of mining: database, BRAIN and log held against each other. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Books:
    """What each of the three recorded, and how many generators were ended by `kill -9`.

    `simulations` have the expression of their candidate. `taken` are the expressions that BRAIN simulated, one for
    each time. `alphas` are BRAIN's, by id. `log` are the events of the generator.
    """

    evaluations: Sequence[Row]
    simulations: Sequence[Row]
    taken: Sequence[str]
    alphas: Mapping[str, Row]
    log: Sequence[Row]
    kills: int = 0


def disagreements(books: Books) -> list[str]:
    """Return what is recorded in one place and not so in another, empty if all agree."""
    rows: tuple[tuple[str, Sequence[object]], ...] = (
        ("expressions evaluated twice", _evaluated_twice(books.evaluations)),
        ("results that are not BRAIN's", _foreign_results(books)),
        ("expressions that BRAIN simulated more or less often than the rows say", _miscounted(books)),
        *_against_log(books),
    )
    return [f"{len(wrong)} {text}: {list(wrong)[:5]}" for text, wrong in rows if wrong]


def _evaluated_twice(evaluations: Iterable[Row]) -> list[object]:
    counts = Counter((row["digest"], row["settings_key"], row["source"]) for row in evaluations)
    return [key for key, times in counts.items() if times > 1]


def _foreign_results(books: Books) -> list[object]:
    """Return BRAIN's results in the database whose alpha, expression or Sharpe ratio is not BRAIN's."""
    done = (row for row in books.evaluations if row["source"] == "brain" and row["state"] == "done")
    return [row["id"] for row in done if not _is_brains(row, books.alphas.get(row["alpha_id"]))]


def _is_brains(row: Row, alpha: Row | None) -> bool:
    return (
        alpha is not None
        and alpha["is"]["sharpe"] == row["sharpe"]
        and _squeezed(alpha["regular"]["code"]) == _squeezed(row["expression"])
    )


def _squeezed(code: str) -> str:
    return "".join(code.split())


def _miscounted(books: Books) -> list[object]:
    """Return expressions that BRAIN took beyond the requests, or fewer times than were answered."""
    taken = Counter(books.taken)
    sent = Counter(row["expression"] for row in books.simulations if row["sent"])
    open_ended = Counter(
        row["expression"] for row in books.simulations if row["sent"] and row["state"] in {"lost", "sending"}
    )
    return [one for one in taken | sent if not sent[one] - open_ended[one] <= taken[one] <= sent[one]]


def _against_log(books: Books) -> Iterable[tuple[str, Sequence[object]]]:
    """Yield what rows and log lines do not share. A row is stored before its line: a kill may come in between."""
    evaluations, simulations = books.evaluations, books.simulations
    pairs = {
        "evaluation.done": [row["id"] for row in evaluations if row["state"] == "done"],
        "evaluation.failed": [row["id"] for row in evaluations if row["state"] == "failed"],
        "simulation.ended": [row["id"] for row in simulations if row["status"]],
        "simulation.lost": [row["id"] for row in simulations if row["state"] == "lost"],
    }
    for name, stored in pairs.items():
        lines = Counter(line["id"] for line in books.log if line["event"] == name)
        unlogged = sorted(set(stored) - lines.keys())
        yield f"lines {name} without a row", sorted(lines.keys() - set(stored))
        yield f"lines {name} that came twice", [one for one, times in lines.items() if times > 1]
        # Two workers store results, each one at a time.
        yield f"rows without a line {name}", unlogged if len(unlogged) > 2 * books.kills else []
