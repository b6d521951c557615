"""`ladder`: the rungs in force, with each one's need by Ollama's figures. Pure."""

from collections.abc import Sequence
from typing import Any

from fleet.policy.rules import Rules
from fleet.runtime.logging import plain_text
from fleet.runtime.units import show_size


def rung_rows(rules: Rules) -> list[dict[str, Any]]:
    """Return the rungs for `--json`, sizes in bytes, null where not known."""
    return [
        {
            "index": rung.index,
            "model": rung.model,
            "options": dict(rung.options),
            "weights": rules.size(rung.index),
            "need": rules.need(rung.index),
            "threshold": rules.threshold(rung),
            "fits": rules.can_fit(rung.index) if rules.need(rung.index) and rules.free else None,
        }
        for rung in rules.ladder
    ]


def rung_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """Return the rungs as lines for a person."""
    return [_line(row) for row in found]


def _line(row: dict[str, Any]) -> str:
    weights = "weights unknown" if row["weights"] is None else f"{show_size(row['weights'])} of weights"
    need = "" if row["need"] is None else f", {show_size(row['need'])} with its cache"
    fits = ", more than is free" if row["fits"] is False else ""
    options = ", ".join(f"{key}={value}" for key, value in sorted(row["options"].items()))
    label = plain_text(row["model"]) + (f" ({plain_text(options)})" if options else "")
    return f"{row['index']}  {label}: {weights}{need}{fits}; threshold {row['threshold']}"
