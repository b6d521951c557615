"""`alphas show`: one alpha with its prompt, reply, tree, checks, parents and simulations."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from cli.alphas.query import AlphaDetails, alpha_details
from cli.target import Fleet
from fleet.runtime.errors import FleetError
from fleet.runtime.logging import indented_text
from generator.catalogue import load_catalogue
from generator.language import Call, ExpressionError, Node, parse, show
from generator.storage.read import database_location

_FIGURES = ("sharpe", "fitness", "turnover", "returns", "drawdown", "margin", "days")
_STRETCHES = ("validation", "test")
_MOST_LINES = 40


def find_alpha(fleet: Fleet, number: int) -> AlphaDetails:
    """Return the alpha with this id; raise FleetError if there is none."""
    found = alpha_details(database_location(fleet.settings.generator.database, fleet.home), number)
    if found is None:
        raise FleetError(f"there is no alpha {number}", hint="`alphas --json` lists them with their ids.")
    return found


def detail_lines(found: AlphaDetails) -> list[str]:
    """Return an alpha's details for a terminal."""
    alpha = found.alpha
    lines = [
        _line("alpha", f"{alpha['id']}  [{alpha['source']}]" + ("  kept" if alpha["kept"] else "")),
        _line("expression", alpha["expression"]),
        _line("model", alpha["model"]),
        _line("origin", alpha.get("origin") or "model"),
        *(_line("parent", parent) for parent in alpha.get("parents") or ()),
        _line("evaluated", _moment(alpha.get("time"))),
        _line("settings", ", ".join(f"{name} {value}" for name, value in (alpha["settings"] or {}).items())),
        _line("figures", figure_line(alpha, "")),
        *(
            _line(name, figure_line(alpha, f"{name}_"))
            for name in _STRETCHES
            if alpha.get(f"{name}_sharpe") is not None
        ),
        _line("pool", _admission(alpha)),
        _line("luck", luck_line(alpha)),
        _line("no figures", alpha.get("error") or ""),
        *(_line("check", check_line(check)) for check in alpha.get("checks") or ()),
        *(_line("" if number else "tree", line) for number, line in enumerate(tree_lines(alpha["expression"]))),
        *(_line("simulation", simulation_line(one)) for one in found.simulations),
        *_call_lines(found.call),
    ]  # fmt: skip
    return [line for line in lines if line]


def _line(label: str, text: object) -> str:
    return f"{label:<13}{indented_text(str(text))}" if text else ""


def _moment(stamp: float | None) -> str:
    return "" if stamp is None else time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(stamp))


def figure_line(alpha: Mapping[str, Any], prefix: str) -> str:
    """Return the known figures of a stretch."""
    values = [(name, alpha.get(prefix + name)) for name in _FIGURES]
    return "  ".join(f"{name} {value:.4g}" for name, value in values if isinstance(value, (int, float)))


def _admission(alpha: Mapping[str, Any]) -> str:
    admitted = alpha.get("admitted")
    if admitted is None:
        return ""
    correlation = alpha.get("self_correlation")
    nearest = "" if correlation is None else f", highest correlation with a member {correlation:.2f}"
    return (
        "admitted" if admitted else f"not admitted: {alpha.get('admission') or 'no reason was given'}"
    ) + nearest


def luck_line(alpha: Mapping[str, Any]) -> str:
    """Return the mark of luck with the inputs of the deflated Sharpe ratio; empty where there is no mark."""
    if alpha.get("luck") is None:
        return ""
    return (
        f"{alpha['luck']}: deflated Sharpe ratio {alpha['dsr']:.3f} by {alpha['trials']} trials so far, "
        f"of which {alpha['effective_trials']:.0f} differ (variance {alpha['trials_variance']:.3g}); "
        f"daily Sharpe ratio {alpha['daily_sharpe']:.3g} over {alpha['daily_days']} days, "
        f"skewness {alpha['skewness']:.2f}, kurtosis {alpha['kurtosis']:.2f}"
    )


def check_line(check: Mapping[str, Any]) -> str:
    """Return a check's name, result, value and limit."""
    parts = [str(check.get("name", "")), str(check.get("result", ""))]
    shown = {name: check[name] for name in ("value", "limit", "reason") if check.get(name) is not None}
    parts += [
        f"{name} {one:.4g}" if isinstance(one, float) else f"{name} {one}" for name, one in shown.items()
    ]
    return " ".join(parts)


def simulation_line(row: Mapping[str, Any]) -> str:
    """Return a simulation's state with BRAIN."""
    parts = (
        row.get("state"),
        row.get("status"),
        row.get("alpha_id"),
        _moment(row.get("sent")),
        row.get("message"),
    )
    return "  ".join(str(part) for part in parts if part)


def tree_lines(expression: str) -> list[str]:
    """Return an expression's tree, an indented line a node; empty for one that is not read any more."""
    try:
        node = parse(expression, load_catalogue())
    except ExpressionError:
        return []
    lines = list(_tree(node, 0, ""))
    return (
        lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], f"… {len(lines) - _MOST_LINES} more"]
    )


def _tree(node: Node, depth: int, name: str) -> Iterator[str]:
    label = f"{name}=" if name else ""
    if not isinstance(node, Call):
        yield "  " * depth + label + show(node)
        return
    yield "  " * depth + label + node.name
    for part in node.args:
        yield from _tree(part, depth + 1, "")
    for key, part in node.named:
        yield from _tree(part, depth + 1, key)


def _call_lines(call: Mapping[str, Any] | None) -> Sequence[str]:
    if call is None:
        return [_line("call", "none: no model wrote it, or its row is gone")]
    seconds = (call.get("ended") or 0.0) - (call.get("started") or 0.0)
    lines = [_line("call", f"{call['id']}  {_moment(call.get('started'))}  {seconds:.1f} s")]
    for name in ("prompt", "reply"):
        text = call.get(name)
        if not text:
            lines.append(_line(name, "cleared away ([generator] keep_calls)"))
            continue
        lines.append(click.style(name, bold=True))
        lines += ["  " + indented_text(line) for line in str(text).splitlines()]
    return lines
