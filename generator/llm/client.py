"""Client of one call to Ollama: sends a prompt and returns the record of the finished or failed call."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from fleet.clients.ollama import Ollama, keep_alive_text
from fleet.runtime.clock import Clock
from fleet.runtime.errors import OllamaError
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite
from generator.domain import CUT, Assignment, CallRecord, storable
from generator.llm.prompt import Prompt
from generator.llm.request_form import RequestForm
from generator.llm.thinking import answer_of
from generator.llm.throttle import CallInFlight

# On a CPU a token takes seconds; a minute without one in mid-answer is a hang.
STALL: Seconds = 60.0
_REASON_LIMIT = 32
_THINKING_LIMIT = 16_384
# Enough for long reasoning; a model that repeats itself is cut.
_MOST_THINKING_TOKENS = 4096
_NANOSECONDS = 1e9
_LARGEST_INTEGER = 2**31 - 1  # of the database
_RATED_FROM = 8
"""Fewest tokens of a reply with a meaningful rate."""
_VERSION_EVERY: Seconds = 300.0
_VERSION_TIMEOUT: Seconds = 1.0
_PLAIN = RequestForm()
_SAMPLING: Mapping[str, Any] = {"temperature": 0.9, "top_p": 0.95}


class Caller:
    """Calls Ollama with one rung's model and options."""

    def __init__(
        self,
        ollama: Ollama,
        assignment: Assignment,
        *,
        clock: Clock,
        keep_alive: Seconds,
        first_token: Seconds,
        stall: Seconds = STALL,
        source: str = "model",
    ) -> None:
        self._ollama = ollama
        self._assignment = assignment
        self._clock = clock
        self._keep_alive = keep_alive
        self._first_token = first_token
        self._stall = stall
        self._source = source
        self._version, self._version_due = "", float("-inf")

    def call(self, prompt: Prompt, flight: CallInFlight, form: RequestForm = _PLAIN) -> CallRecord:
        """Send a prompt and return the call: finished, failed or cut.

        With an empty reply, the answer at the end of the thinking is the reply.
        """
        text, thinking, error, status = "", "", None, 200
        done_reason, figures = "", dict[str, int]()
        try:
            answer = self._ollama.generate(
                self._body(prompt, form),
                first_token=self._first_token,
                stall=self._stall,
                cancel=flight.cancel,
            )
            text, thinking = storable(answer.text), storable(answer.thinking)
            done_reason, figures = answer.done_reason, dict(answer.figures)
        except OllamaError as failure:
            error, status = storable(failure.message), failure.status
            if flight.cancel.cancelled:  # an answer that was whole before is kept
                error, status, done_reason = None, 0, CUT
        return CallRecord(
            id=call_id(flight.started),
            started=flight.started,
            ended=max(self._clock.time(), flight.started),
            took=self._clock.monotonic() - flight.started_monotonic,
            model=self._assignment.model,
            rung=self._assignment.rung,
            switches=self._assignment.switches,
            prompt=storable(prompt.text),  # BRAIN's descriptions of its fields are in it
            status=status,
            reply=text if text.strip() else answer_of(f"<think>{thinking}"),
            error=error,
            done_reason=storable(done_reason)[:_REASON_LIMIT],
            prompt_tokens=_count(figures.get("prompt_eval_count")),
            reply_tokens=_count(figures.get("eval_count")),
            seed=prompt.seed,
            source=self._source,
            thinking=thinking[:_THINKING_LIMIT],
            load_seconds=_seconds(figures, "load_duration"),
            first_token_seconds=_seconds(figures, "load_duration", "prompt_eval_duration"),
            rate=(rate := _rate(figures)),
            version="" if rate is None else self._server_version(),
        )

    def _server_version(self) -> str:
        """Return the server's version, requested at intervals; the last known version if the server gives none."""
        now = self._clock.monotonic()
        if now >= self._version_due:
            self._version_due = now + _VERSION_EVERY
            with contextlib.suppress(OllamaError):
                self._version = storable(self._ollama.version(timeout=_VERSION_TIMEOUT))[:_REASON_LIMIT]
        return self._version

    def _body(self, prompt: Prompt, form: RequestForm) -> dict[str, Any]:
        tokens = prompt.reply_tokens
        if form.thinks:
            tokens = max(tokens, min(prompt.most_tokens, _MOST_THINKING_TOKENS))
        options = {**_SAMPLING, "seed": prompt.seed, "num_predict": tokens}
        body: dict[str, Any] = {
            "model": self._assignment.model,
            "prompt": prompt.text,
            "options": {**options, **self._assignment.options},
            "keep_alive": keep_alive_text(self._keep_alive),
        }
        if form.schema:
            body["format"] = prompt.schema
        if form.think is not None:
            body["think"] = form.think
        return body


def _seconds(figures: Mapping[str, int], *names: str) -> Seconds | None:
    """Return the sum of Ollama's durations of these names; None if one is missing or below 0."""
    values = [figures.get(name, -1) for name in names]
    return None if min(values) < 0 else sum(values) / _NANOSECONDS


def _count(value: int | None) -> int | None:
    """Return the count, None outside int32: the database would reject the row at every retry."""
    return value if value is not None and 0 <= value <= _LARGEST_INTEGER else None


def _rate(figures: Mapping[str, int]) -> float | None:
    """Return the tokens per second of pure generation; None for a reply too short for a rate."""
    tokens, nanoseconds = figures.get("eval_count", 0), figures.get("eval_duration", 0)
    if tokens < _RATED_FROM or nanoseconds <= 0:
        return None
    rate = finite(tokens / nanoseconds * 1e9)
    return None if rate is None else round(rate, 2)


def call_id(started: float) -> str:
    """Return an id for a new call; ids sort by time."""
    return f"{int(started * 1000):011x}-{os.urandom(4).hex()}"
