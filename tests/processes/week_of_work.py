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
_PANEL = "week"
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
    calls: list[dict[str, object]] = []
    alphas: list[dict[str, object]] = []
    for number in range(count):
        stamp, model = end - 7 * DAY * (count - number) / count, rng.choice(_MODELS)
        if number % 2 == 0:
            calls.append(_call(f"{number:032x}", stamp, model))
        alphas.append(_alpha(rng, number, stamp, str(calls[-1]["model"])) | {"call_id": calls[-1]["id"]})
    counts = {
        "source": "panel",
        "panel": _PANEL,
        "trials": count,
        "sampled": 500,
        "distinct_sampled": 300,
        "variance": 0.002,
    }
    with sqlite3.connect(path) as connection:
        for table, rows in (("calls", calls), ("evaluations", alphas), ("trial_counts", [counts])):
            columns = ", ".join(rows[0])
            marks = ", ".join(f":{name}" for name in rows[0])
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


def _call(identity: str, stamp: float, model: str) -> dict[str, object]:
    return {
        "id": identity, "started": stamp - 4, "ended": stamp - 1, "model": model, "rung": 0, "switches": 0, "status": 200,
        "done_reason": "stop", "prompt_tokens": 1400, "reply_tokens": 90, "seed": 1, "source": "panel",
        "valid": 2, "invalid": 0, "duplicates": 0,
    }  # fmt: skip


def _alpha(rng: random.Random, number: int, stamp: float, model: str) -> dict[str, object]:
    sharpe = rng.gauss(0.3, 0.8)
    expression = f"rank(ts_mean(close, {number % 250 + 2})) + {number}"
    return {
        "digest": f"{number:064x}", "settings_key": "k", "source": "panel", "state": "done", "owner": "week",
        "expression": expression, "canonical": expression, "model": model, "settings": json.dumps({"panel": _PANEL}),
        "sharpe": sharpe, "turnover": rng.random(), "fitness": sharpe * 0.7, "returns": sharpe / 10, "drawdown": 0.1,
        "margin": 0.001, "days": 500, "kept": sharpe > 1.2, "published": True, "created": stamp, "time": stamp,
        "daily_sharpe": sharpe / 16, "daily_days": 500, "skewness": rng.gauss(0, 0.3), "kurtosis": 4.0,
        "test_sharpe": sharpe + rng.gauss(0, 0.5),
    }  # fmt: skip
