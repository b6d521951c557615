import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet.runtime.pause_request import Pause
from generator.domain import (
    AlphaFigures,
    Assignment,
    Candidate,
    Evaluated,
    Reason,
    Source,
    Streak,
    ThrottleState,
)
from generator.reporting.heartbeat import Heartbeat
from generator.reporting.stats import RunStats


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def test_it_is_written_on_change_and_every_five_seconds(tmp_path: Path) -> None:
    path = tmp_path / "generator.json"
    beat = Heartbeat(path, Assignment("m:1b", {}, 2, 5), standin=True)
    done = RunStats().row()
    quiet = ThrottleState(0, None, None)
    beat.beat(quiet, done, now=100.0, monotonic=0.0)
    beat.beat(quiet, done, now=104.0, monotonic=4.0)
    assert read(path)["heartbeat"] == 100.0
    beat.beat(quiet, done, now=105.0, monotonic=5.0)
    assert read(path)["heartbeat"] == 105.0
    beat.beat(ThrottleState(1, 105.5, Pause(200.0, "x")), done, now=105.6, monotonic=5.6)
    row = read(path)
    assert (row["request_since"], row["paused"], row["requests"]) == (105.5, True, 1)
    assert (row["model"], row["rung"], row["switches"], row["standin"]) == ("m:1b", 2, 5, True)


def test_a_streak_of_unusable_calls_stands_in_it(tmp_path: Path) -> None:
    path = tmp_path / "generator.json"
    beat = Heartbeat(path, Assignment("m:1b", {}, 2, 5), standin=False)
    streak = Streak()
    for number in range(5):
        beat.beat(ThrottleState(0, None, None, streak), RunStats().row(), now=9.0, monotonic=float(number))
        assert read(path)["unusable"] is None
        streak = streak.extended(
            Reason("empty", "the replies are empty", "Update Ollama."), started=7.0 + number
        )
    beat.beat(ThrottleState(0, None, None, streak), RunStats().row(), now=9.0, monotonic=5.0)
    assert read(path)["unusable"] == {
        "since": 7.0, "calls": 5, "kind": "empty", "reason": "the replies are empty", "mend": "Update Ollama."
    }  # fmt: skip


def test_the_last_alphas_and_the_totals_stand_in_it() -> None:
    board = RunStats()
    for number in range(8):
        figures = AlphaFigures(float(number), 0.2, float("nan"), 0.1, 0.1, 0.1, 5.0, 5.0, 10)
        candidate = Candidate(str(number), f"rank(a{number})", "x", model="m")
        one = Evaluated(candidate, Source.SYNTHETIC, {}, figures, kept=True, time=9.0)
        board.alpha(replace(one, new_trial=number > 0))  # the first was evaluated before, on other data
    board.alpha(Evaluated(Candidate("x", "x", "x"), Source.SYNTHETIC, {}, error="no"))
    row = board.row()
    assert (row["totals"]["evaluated"], row["totals"]["kept"]) == (9, 8)
    assert row["counters"] == {"alphas": {"synthetic": {"true": 8}}, "trials": 7}
    assert [alpha["sharpe"] for alpha in row["alphas"]] == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert row["alphas"][-1] == {
        "expression": "rank(a7)", "model": "m", "sharpe": 7.0, "fitness": None, "turnover": 0.2,
        "source": "synthetic", "kept": True, "time": 9.0,
    }  # fmt: skip
    json.dumps(row, allow_nan=False)
