"""Calls of the generator that fail in a row: when that is a fault, and what mends it (pure).

A row is reported once, as soon as one of these is so, and once more when a call is answered:
- its third call failed for something else than GPU memory, on which the policy acts by itself;
- its second or a later call failed, and the row has lasted as long as one call may wait;
- a call waited as long as it may while Ollama lists its models at once: Ollama hangs, often in a runner's crash.
A slow model is none of this: it answers within `first_token_timeout`.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.memory_errors.judge import is_memory_error
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState, Unanswered
from fleet.runtime.units import Seconds, show_duration

if TYPE_CHECKING:
    from fleet.policy.facts import CallEnded

FAULT_AT = 3
"""So many calls in a row, failed for something else than GPU memory, are a fault however quickly they failed."""

# As texts, and compiled where one is looked for: a status that has nothing to say pays for none.
_RUNNER = r"(?i)unexpected eof|terminated|exit status|signal:|no longer running|connection refused"
_MISSING = r"(?is)model\b.*\bnot found"
_AWAY = r"(?i)\bis away\b|did not answer in time"


def after_call(
    state: FleetState, call: "CallEnded", *, waited: bool, now: float, limit: Seconds
) -> FleetState:
    """Return the state after a call ended; `waited` says that it got no answer for as long as a call may wait.

    `limit` is that time. An answered call ends the row.
    """
    before = state.unanswered
    if call.answered:
        return state if before is None else _answered(state, before, now)
    began = min(call.time if call.started is None else call.started, now)
    row = before or Unanswered(since=began, calls=0, reason="")
    row = replace(row, calls=row.calls + 1, reason=call.reason, waited=row.waited or waited)
    lasts = row.calls > 1 and min(call.time, now) - row.since >= limit
    crossed = not row.reported and (lasts or (row.calls >= FAULT_AT and not call.memory))
    state = replace(state, unanswered=replace(row, reported=row.reported or crossed))
    if not crossed:
        return state
    return state.tell(now, EventKind.UNANSWERED, **_figures(row, now), reason=row.reason)


def _answered(state: FleetState, row: Unanswered, now: float) -> FleetState:
    state = replace(state, unanswered=None)
    return state.tell(now, EventKind.ANSWERED, **_figures(row, now)) if row.reported else state


def _figures(row: Unanswered, now: float) -> dict[str, float]:
    return {"since": row.since, "seconds": max(now - row.since, 0.0), "calls": row.calls}


def may_hang(state: FleetState) -> bool:
    """Return True if a call waited in full and it is not known yet whether Ollama hangs."""
    row = state.unanswered
    return row is not None and row.waited and not row.hangs


def hang_found(state: FleetState, now: float, limit: Seconds) -> FleetState:
    """Return the state after Ollama answered a question about itself while a call waited in full."""
    row = state.unanswered
    if row is None or not may_hang(state):
        return state
    calls = "1 call" if row.calls == 1 else f"{row.calls} calls"
    reason = f"{calls} got no answer, one within {show_duration(limit)}, while it lists its models at once. "
    state = replace(state, unanswered=replace(row, hangs=True, reported=True))
    return state.tell(now, EventKind.OLLAMA_HANGS, reason=reason + hang_mend(""))


def hang_over(state: FleetState) -> FleetState:
    """Return the state after a new Ollama server began: it does not hang, and may answer the next call."""
    row = state.unanswered
    return state if row is None else replace(state, unanswered=replace(row, waited=False, hangs=False))


def hang_mend(log_source: str) -> str:
    """Return what ends a hang, with the command for an Ollama whose log is followed there."""
    return (
        f"A smaller model does not help. Restart Ollama ({_restart(log_source)}): its runner is stuck, "
        "often in its own crash."
    )


def mend(row: Unanswered, log_source: str) -> str:
    """Return what helps against a row of failed calls, by its last reason."""
    if row.hangs:
        return hang_mend(log_source)
    if is_memory_error(row.reason):
        return (
            "The fleet moves to a smaller model by itself, unless it is pinned or on the last rung; "
            "`use` picks one by hand."
        )
    if re.search(_MISSING, row.reason):
        return "Fetch the model with `ollama pull`; `history` says what came of the fleet's own pulls."
    if re.search(_AWAY, row.reason):
        return f"Look whether Ollama runs, and restart it otherwise ({_restart(log_source)})."
    if re.search(_RUNNER, row.reason):
        return f"The runner died: the lines before its end in Ollama's log say why ({_log(log_source)})."
    return f"Ollama's log says more ({_log(log_source)})."


def _restart(log_source: str) -> str:
    kind, _, name = log_source.partition(":")
    if kind == "docker":
        return f"`docker restart {name}`"
    if kind == "journal":
        return f"`systemctl restart {name}`"
    return "`docker restart NAME` or `systemctl restart ollama`"


def _log(log_source: str) -> str:
    kind, _, name = log_source.partition(":")
    if kind == "docker":
        return f"`docker logs --tail 100 {name}`"
    if kind == "journal":
        return f"`journalctl -u {name} -n 100`"
    return f"`tail -n 100 {name}`" if kind == "file" else "log source not known"
