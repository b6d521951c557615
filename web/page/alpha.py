"""HTML of one alpha: expression, figures, checks, tree, prompt and reply (pure)."""

from collections.abc import Mapping
from typing import Any

from cli.alphas.details import check_line, figure_line, luck_line, simulation_line, tree_lines
from cli.alphas.query import AlphaDetails
from web.page.markup import block, facts, moment, table, text

_STRETCHES = {"": "Figures", "validation_": "Validation", "test_": "Test"}


def standing(found: AlphaDetails) -> str:
    """Return the alpha's row as a list: expression, origin, figures, pool, luck and settings."""
    alpha = found.alpha
    figures = {name: figure_line(alpha, prefix) for prefix, name in _STRETCHES.items()}
    rows = [
        ("Expression", f"<code>{text(alpha['expression'])}</code>"),
        ("Model", text(alpha["model"])),
        ("Origin", text(alpha.get("origin") or "model")),
        ("Parents", "<br>".join(text(parent) for parent in alpha.get("parents") or ())),
        (
            "Source",
            text(alpha["source"]) + (' <span class="badge good">kept</span>' if alpha["kept"] else ""),
        ),
        ("Evaluated", moment(alpha["time"]) if alpha.get("time") else ""),
        *((name, text(line)) for name, line in figures.items()),
        ("Pool", _pool(alpha)),
        ("Luck", text(luck_line(alpha))),
        ("No figures", text(alpha.get("error") or "")),
        ("Settings", text(", ".join(f"{name} {value}" for name, value in (alpha["settings"] or {}).items()))),
        ("BRAIN", "<br>".join(text(simulation_line(one)) for one in found.simulations)),
    ]
    return facts(rows)


def _pool(alpha: Mapping[str, Any]) -> str:
    if alpha.get("admitted") is None:
        return ""
    return "admitted" if alpha["admitted"] else f"not admitted: {text(alpha.get('admission') or '')}"


def checks(found: AlphaDetails) -> str:
    """Return the checks with their results."""
    rows = [
        (
            text(one.get("name", "")).replace("_", "_<wbr>"),
            _result(str(one.get("result", ""))),
            text(check_line({**one, "name": "", "result": ""})),
        )
        for one in found.alpha.get("checks") or ()
    ]
    return (
        table(("Check", "Result", "Detail"), rows, caption="Checks") if rows else "<p>No checks are kept.</p>"
    )


def _result(result: str) -> str:
    kind = {"PASS": "good", "FAIL": "bad"}.get(result, "warn")
    return f'<span class="badge {kind}">{text(result)}</span>'


def tree(found: AlphaDetails) -> str:
    """Return the expression's tree."""
    lines = tree_lines(str(found.alpha["expression"]))
    return block(lines) if lines else "<p>It is not read any more.</p>"


def call(found: AlphaDetails) -> str:
    """Return the prompt and the reply that the alpha came from."""
    row = found.call
    if row is None:
        return "<p>No model wrote it, or its call is gone.</p>"
    parts = []
    for name in ("prompt", "reply"):
        said = row.get(name)
        lines = str(said).splitlines() if said else ["cleared away ([generator] keep_calls)"]
        parts.append(f"<h3>{name.capitalize()}</h3>{block(lines)}")
    return "".join(parts)
