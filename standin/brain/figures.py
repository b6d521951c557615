"""Invented figures of an expression: always the same ones, and the opposite ones for its negative.

Pure. No backtest is behind the figures: they only fit together as BRAIN's do.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from fleet.runtime.home import ROOT

_FILES = ROOT / "generator" / "catalogue"
_NAME = re.compile(r"[A-Za-z_]\w*")
_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")
_WORDS = frozenset({"true", "false", "nan", "gaussian", "uniform", "cauchy", "exit", "max", "min"})
_GRADES = ((2.5, "SPECTACULAR"), (2.0, "EXCELLENT"), (1.5, "GOOD"), (1.0, "AVERAGE"))


@dataclass(frozen=True, slots=True)
class Mistake:
    """A fault in an expression, and its place: characters of its first line."""

    message: str
    start: int
    end: int


def operator_rows() -> list[dict[str, Any]]:
    """Return the rows of `/operators`: those of an ordinary account."""
    found = json.loads((_FILES / "operators.json").read_text(encoding="utf-8"))["operators"]
    return [
        {
            "name": row["name"],
            "category": row["category"],
            "scope": ["REGULAR"],
            "definition": row["signature"],
            "description": row["meaning"],
            "documentation": None,
            "level": "ALL",
        }
        for row in found
        if row["level"] == "base"
    ]


def field_rows() -> list[dict[str, Any]]:
    """Return the rows of `/data-fields`."""
    found = json.loads((_FILES / "fields.json").read_text(encoding="utf-8"))["fields"]
    return [
        {
            "id": row["id"],
            "type": row["kind"].upper(),
            "description": row.get("meaning", ""),
            "dataset": {"id": row.get("dataset", ""), "name": row.get("dataset", "")},
        }
        for row in found
    ]


def mistake_in(code: str, operators: frozenset[str], fields: frozenset[str]) -> Mistake | None:
    """Return the fault that BRAIN would report, None without one; only names and brackets are checked."""
    text = _STRING.sub(lambda match: " " * len(match[0]), code)
    known = fields | _WORDS | set(re.findall(r"([A-Za-z_]\w*)\s*=(?!=)", text))
    for match in _NAME.finditer(text):
        name = match[0]
        is_call = text[match.end() :].lstrip().startswith("(")
        if is_call and name not in operators:
            said = f'Attempted to use inaccessible or unknown operator "{name}"'
            return Mistake(said, match.start(), match.end())
        if not is_call and name.lower() not in known and name not in known:
            return Mistake(f'Attempted to use unknown variable "{name}"', match.start(), match.end())
    if not code.strip() or text.count("(") != text.count(")"):
        return Mistake("Unexpected end of input", len(code), len(code))
    return None


def alpha_id(code: str) -> str:
    """Return the alpha's name, of an expression."""
    return "SI" + hashlib.sha256(_squeezed(code).encode()).hexdigest()[:8].upper()


def sample_figures(code: str) -> dict[str, Any]:
    """Return an alpha's `is`: figures that fit together, and its checks."""
    core, sign = _unsigned(_squeezed(code))
    seed = hashlib.sha256(core.encode()).digest()
    sharpe = sign * round((seed[0] * 256 + seed[1]) / 65535 * 5.0 - 2.5, 2)
    turnover = round(0.02 + seed[2] / 255 * 0.8, 4)
    returns = round(sharpe * (0.03 + seed[3] / 255 * 0.07), 4)
    fitness = round(sharpe * math.sqrt(abs(returns) / max(turnover, 0.125)), 2)
    return {
        "pnl": round(returns * 1e7 * 5),
        "bookSize": 20_000_000,
        "longCount": 1200 + seed[4],
        "shortCount": 1200 + seed[5],
        "turnover": turnover,
        "returns": returns,
        "drawdown": round(0.02 + seed[6] / 255 * 0.2, 4),
        "margin": round(returns / (500 * turnover), 6),
        "sharpe": sharpe,
        "fitness": fitness,
        "startDate": "2019-01-01",
        "checks": [
            _check("LOW_SHARPE", sharpe, 1.25),
            _check("LOW_FITNESS", fitness, 1.0),
            _check("LOW_TURNOVER", turnover, 0.01),
            _check("HIGH_TURNOVER", turnover, 0.7, most=True),
            {"name": "SELF_CORRELATION", "result": "PENDING"},
        ],
    }


def _check(name: str, value: float, limit: float, *, most: bool = False) -> dict[str, Any]:
    passes = value <= limit if most else value >= limit
    return {"name": name, "result": "PASS" if passes else "FAIL", "limit": limit, "value": value}


def grade(fitness: float) -> str:
    """Return the grade of a fitness at delay 1."""
    return next((name for least, name in _GRADES if fitness > least), "INFERIOR")


def _squeezed(code: str) -> str:
    return "".join(code.split()).rstrip(";")


def _unsigned(code: str) -> tuple[str, int]:
    """Return an expression without its outer signs, and their product."""
    sign = 1
    while True:
        if code.startswith("reverse(") and code.endswith(")"):
            code, sign = code[len("reverse(") : -1], -sign
        elif code.startswith("-"):
            code, sign = code[1:], -sign
        else:
            return code, sign
