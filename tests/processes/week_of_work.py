"""A home with a week's work: many events in its history, many alphas in its database."""

import json
import random
import sqlite3
import time
from pathlib import Path

from fleet.runtime.home import Home
from generator.storage.store import AlphaStore
from state.history import rotated

DAY = 86400.0
_MODELS = ("llama3.2:3b", "phi3:mini", "tinyllama:1.1b", "qwen2.5:0.5b")


def write_week(home: Home, *, events: int = 100_000, alphas: int = 50_000) -> None:
    """Fill a fresh home; the events end a minute ago."""
    home.create()
    end = time.time() - 60
    _write_history(home.history, events, end)
    store = AlphaStore(f"sqlite:///{home.database}", owner="week")
    store.unpublished()  # makes the tables
    store.close()
    _write_alphas(home.database, alphas, end)


def _write_history(path: Path, count: int, end: float) -> None:
    rng = random.Random(1)
    lines = []
    for number in range(1, count + 1):
        stamp = end - 7 * DAY * (count - number) / count
        model = rng.choice(_MODELS)
        if number % 20 == 0:
            row = {
                "kind": "switch.committed",
                "switch": "downgrade",
                "from": model,
                "to": rng.choice(_MODELS),
                "why": "x",
            }
        else:
            row = {
                "kind": "incident", "id": f"{number}", "at": stamp, "cause": "allocation", "severity": "hard",
                "model": model, "counted": True, "reason": "", "errors": 1, "threshold": 3,
            }  # fmt: skip
        lines.append(json.dumps({"number": number, "time": stamp, **row}) + "\n")
    # All but the last in the older part: a running fleet rotates a long history away.
    rotated(path).write_text("".join(lines[:-1]))
    path.write_text(lines[-1])


def _write_alphas(path: Path, count: int, end: float) -> None:
    rng = random.Random(2)
    columns = (
        "digest", "settings_key", "source", "state", "owner", "expression", "canonical", "model", "settings",
        "sharpe", "turnover", "fitness", "returns", "drawdown", "margin", "days", "kept", "published", "created", "time",
    )  # fmt: skip
    rows = []
    for number in range(count):
        sharpe, stamp = rng.gauss(0.3, 0.8), end - 7 * DAY * (count - number) / count
        expression = f"rank(ts_mean(close, {number % 250 + 2})) + {number}"
        rows.append((
            f"{number:064x}", "k", "panel", "done", "week", expression, expression, rng.choice(_MODELS), "{}",
            sharpe, rng.random(), sharpe * 0.7, sharpe / 10, 0.1, 0.001, 500, sharpe > 1.2, True, stamp, stamp,
        ))  # fmt: skip
    marks = ", ".join("?" for _ in columns)
    with sqlite3.connect(path) as connection:
        connection.executemany(f"INSERT INTO evaluations ({', '.join(columns)}) VALUES ({marks})", rows)
