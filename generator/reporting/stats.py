"""Content of the heartbeat file: counts and last alphas of this run, counters of all runs, BRAIN's state, dask workers."""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fleet.runtime.totals import increased, observed
from generator.domain import CallRecord, ClusterState, Evaluated, Tally

_LAST = 5


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the start. `calls` counts finished calls; `valid` includes `duplicates`."""

    calls: int = 0
    failed: int = 0
    valid: int = 0
    invalid: int = 0
    duplicates: int = 0
    evaluated: int = 0
    kept: int = 0


class RunStats:
    """Collects totals, counters and the last alphas; thread-safe.

    The totals begin with the run. The counters begin where the last run's heartbeat file left them.
    """

    def __init__(self, counters: object = None) -> None:
        self._totals = Totals()
        self._counters: dict[str, Any] = dict(counters) if isinstance(counters, Mapping) else {}
        self._last: deque[dict[str, Any]] = deque(maxlen=_LAST)
        self._parts: dict[str, Any] = {}
        self._lock = threading.Lock()

    def count(self, **amounts: int) -> None:
        """Add amounts to the totals of these names."""
        with self._lock:
            new = {name: getattr(self._totals, name) + amount for name, amount in amounts.items()}
            self._totals = replace(self._totals, **new)

    def call(self, call: CallRecord) -> None:
        """Count a finished call: its tokens, and its durations by Ollama and by the clock."""
        with self._lock:
            counters = self._counters
            counters = increased(counters, ("prompt_tokens", call.model), call.prompt_tokens or 0)
            counters = increased(counters, ("generation_tokens", call.model), call.reply_tokens or 0)
            counters = observed(counters, "request_seconds", call.seconds)
            for name, seconds in (
                ("load_seconds", call.load_seconds),
                ("first_token_seconds", call.first_token_seconds),
            ):
                counters = counters if seconds is None else observed(counters, name, seconds)
            self._counters = counters

    def reply(self, model: str, tally: Tally) -> None:
        """Count the expressions of a stored reply."""
        amounts = {"valid": tally.valid, "invalid": tally.invalid, "duplicates": tally.duplicates}
        self.count(**amounts)
        outcomes = {**amounts, "valid": tally.valid - tally.duplicates}
        with self._lock:
            for outcome, amount in outcomes.items():
                label = "duplicate" if outcome == "duplicates" else outcome
                self._counters = increased(self._counters, ("expressions", model, label), amount)

    def alpha(self, evaluated: Evaluated) -> None:
        """Count an evaluation, and record its alpha if it has figures."""
        self.count(evaluated=1, kept=int(evaluated.kept))
        if evaluated.performance is None:
            return
        kept = "true" if evaluated.kept else "false"
        with self._lock:
            counters = increased(self._counters, ("alphas", evaluated.source.value, kept))
            self._counters = increased(counters, ("trials",)) if evaluated.new_trial else counters
        figures = evaluated.performance.figures()
        row = {
            "expression": evaluated.candidate.expression,
            "sharpe": figures["sharpe"],
            "fitness": figures["fitness"],
            "turnover": figures["turnover"],
            "model": evaluated.candidate.model,
            "time": evaluated.time,
            "source": evaluated.source.value,
            "kept": evaluated.kept,
        }
        with self._lock:
            self._last.append(row)

    def brain(self, state: dict[str, Any]) -> None:
        """Record BRAIN's current state."""
        with self._lock:
            self._parts["brain"] = state

    def cluster(self, state: ClusterState) -> None:
        """Record the number of dask workers in use, and why there is none."""
        away = {"since": state.since, "reason": state.reason, "hint": state.hint} if state.reason else None
        with self._lock:
            self._parts |= {"dask_workers": state.workers, "dask_away": away}

    def totals(self) -> Totals:
        """Return the totals."""
        with self._lock:
            return self._totals

    def row(self) -> dict[str, Any]:
        """Return totals, counters, last alphas, and BRAIN's and the dask workers' state as in `generator.json`."""
        with self._lock:
            counts = {part.name: getattr(self._totals, part.name) for part in fields(Totals)}
            row = {"totals": counts, "counters": self._counters, "alphas": list(self._last)}
            return {**row, **self._parts}
