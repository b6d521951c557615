"""Unanswered calls: when failed calls in a row are a fault, and the remedy (pure).

A row is reported once, on the first of these, and once more when a call is answered:
- the third call failed for a reason other than GPU memory, on which the policy acts by itself;
- the second or a later call failed, and the row has lasted for one call's time-out;
- a call reached its time-out while Ollama answers `/api/tags`: Ollama hangs, often in a runner's crash. A slow model is
no fault while it answers within `first_token_timeout`, and no hang otherwise. A model is slow if its runner still reads
the prompt, by the log. It is also slow if `/api/ps` has it on the CPU, in part or wholly.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.memory_errors.causes import Cause, SignalKind
from fleet.memory_errors.judge import judge_error
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState, SlowCause, Unanswered
from fleet.runtime.units import Seconds, show_duration

if TYPE_CHECKING:
    from fleet.policy.facts import CallEnded

RUNNER_ENDED: Seconds = 45.0
"""Ollama replaces a stuck runner at the next call: 0.17.4 after 20 s, with a GPU after 26 s, and then it loads the model."""

FAULT_AT = 3
"""Calls in a row, failed for a reason other than GPU memory, that are a fault however quickly they failed."""

# Kept as text: `status` imports this module and must not pay for compiling patterns that it does not use.
_RUNNER = (
    r"(?i)unexpected eof|: eof$|terminated|exit status|signal:|no longer running|connection refused"
    r"|unexpectedly stopped"
)
_MISSING = r"(?is)model\b.*\bnot found"
_UNREADABLE = (
    r"does not support generate|exceeds file size|file does not exist|missing tensor|unknown (?:model architecture|pre-tok)"
    r"|(?:not supported by your|incompatible with your|newer) version|(?:unable|failed) to load model\b"
)
_GPU = r"(?i)no kernel image|kernel image is invalid|invalid device function|driver version is insufficient"
_AWAY = r"(?i)\bno answer from Ollama\b|\bis away\b|did not answer in time"


_SLOW = {
    SlowCause.PROMPT: (
        "Ollama is slow and does not hang: it still reads the prompt. A smaller model or a smaller `num_ctx` is "
        "faster; a longer `first_token_timeout` waits for it."
    ),
    SlowCause.CPU: (
        "Ollama is slow and does not hang: the model runs on the CPU, in part or wholly. A smaller model or a smaller "
        "`num_ctx` is faster; a longer `first_token_timeout` waits for it."
    ),
}


def after_call(
    state: FleetState, call: "CallEnded", *, waited: bool, now: float, limit: Seconds
) -> FleetState:
    """Return the state after a call ended; an answered call ends the row.

    `waited`: the call got no answer within `limit`, the time-out of a call.
    """
    before = state.unanswered
    if call.answered:
        return state if before is None else _answered(state, before, now)
    began = min(call.time if call.started is None else call.started, now)
    row = before or Unanswered(since=began, calls=0, reason="")
    # Calls with a short time-out follow each other sooner than Ollama ends a stuck runner: the first of them counts.
    stuck = row.waited and not _seen_between(state, "loaded", row.last, now)
    last = row.last if stuck else min(call.time, now)
    row = replace(row, calls=row.calls + 1, reason=call.reason, waited=row.waited or waited, last=last)
    lasts = row.calls > 1 and min(call.time, now) - row.since >= limit
    crossed = not row.reported and (lasts or (row.calls >= FAULT_AT and not call.memory))
    state = replace(state, unanswered=replace(row, reported=row.reported or crossed))
    if not crossed:
        return state
    return state.with_event(now, EventKind.UNANSWERED, **_figures(row, now), reason=row.reason)


def _answered(state: FleetState, row: Unanswered, now: float) -> FleetState:
    state = replace(state, unanswered=None)
    return state.with_event(now, EventKind.ANSWERED, **_figures(row, now)) if row.reported else state


def _figures(row: Unanswered, now: float) -> dict[str, float]:
    return {"since": row.since, "seconds": max(now - row.since, 0.0), "calls": row.calls}


def hang_found(state: FleetState, now: float, limit: Seconds) -> FleetState:
    """Return the state after Ollama answered `/api/tags` although a call had reached its time-out (`limit`)."""
    row = state.unanswered
    if row is None or not row.suspected:
        return state
    calls = "1 call" if row.calls == 1 else f"{row.calls} calls"
    reason = f"{calls} got no answer, one within {show_duration(limit)}, while it lists its models at once. "
    state = replace(state, unanswered=replace(row, hangs=True, slow=None, reported=True))
    return state.with_event(now, EventKind.OLLAMA_HANGS, reason=reason + hang_remedy(""))


def slowness(state: FleetState, now: float, limit: Seconds, *, on_cpu: bool) -> SlowCause | None:
    """Return why a call has reached its time-out (`limit`) without a hang, None if no reason is known.

    `on_cpu`: the model lies on the CPU, in part or wholly.
    """
    if _seen_between(state, "prompt_read", now - limit, now):
        return SlowCause.PROMPT
    return SlowCause.CPU if on_cpu else None


def hang_due(state: FleetState, now: float) -> bool:
    """Return True if a suspected hang has outlasted Ollama's own remedy: to end the runner and load a new one."""
    row = state.unanswered
    if row is None or not row.suspected or now - row.last < RUNNER_ENDED:
        return False
    return not _seen_between(state, "loaded", row.last, now)


def _seen_between(state: FleetState, what: str, start: float, end: float) -> bool:
    """Return True if the log last reported `what` between two times.

    A later time comes from a clock that was set back.
    """
    seen = state.watch.get(what)
    return isinstance(seen, (int, float)) and start < seen <= end


def slow_found(state: FleetState, why: SlowCause) -> FleetState:
    """Return the state with the reason why a call reached its time-out without a hang."""
    row = state.unanswered
    return state if row is None else replace(state, unanswered=replace(row, slow=why))


def hang_cleared(state: FleetState) -> FleetState:
    """Return the state after a new Ollama server started, which does not hang."""
    row = state.unanswered
    return state if row is None else replace(state, unanswered=replace(row, waited=False, hangs=False))


def hang_remedy(log_source: str) -> str:
    """Return the remedy for a hang, with the command that restarts the Ollama behind this log source."""
    return (
        f"A smaller model does not help. Restart Ollama ({_restart(log_source)}): its runner is stuck, "
        "often in its own crash."
    )


def remedy(row: Unanswered, log_source: str, *, pulling: str = "") -> str:
    """Return the remedy for a row of failed calls, by its last reason.

    `pulling` is the progress of the model's pull.
    """
    if row.hangs:
        return hang_remedy(log_source)
    if row.slow is not None:
        return _SLOW[row.slow]
    of_memory = _memory_remedy(row.reason, log_source)
    if of_memory:
        return of_memory
    if pulling and re.search(_MISSING, row.reason):
        return f"The fleet pulls the model ({pulling}); its calls are answered once it is here."
    if re.search(_MISSING, row.reason):
        return "Pull the model with `ollama pull`; `history` shows the fleet's own pulls."
    if re.search(_UNREADABLE, row.reason):
        return (
            "Ollama cannot read the model's file, or the model writes no text. Pull it again with `ollama pull`, "
            "update Ollama, or name another."
        )
    if re.search(_AWAY, row.reason):
        return f"Check whether Ollama runs; if not, restart it ({_restart(log_source)})."
    if re.search(_RUNNER, row.reason):
        return f"The runner died: see the lines before its end in Ollama's log ({_log(log_source)})."
    return f"See Ollama's log ({_log(log_source)})."


def _memory_remedy(reason: str, log_source: str) -> str:
    """Return the remedy for a lack of memory or of a working GPU, empty for another reason."""
    verdict = judge_error(reason)
    if verdict is not None and verdict.kind is SignalKind.HARD:
        return (
            "The fleet moves to a smaller model by itself, unless it is pinned or on the last rung; "
            "`use` picks a model by hand."
        )
    if verdict is not None and verdict.cause is Cause.HOST:
        return (
            "The host's memory is full, not the GPU's. End other programs, add memory or swap, or choose a smaller "
            "model with `use`."
        )
    if re.search(_GPU, reason) or (verdict is not None and verdict.cause is Cause.GPU_LOST):
        return (
            "The GPU, its driver and this Ollama do not work together; a smaller model does not help. Check "
            f"`nvidia-smi` or `rocm-smi`, update the driver or Ollama, and restart Ollama ({_restart(log_source)})."
        )
    return ""


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
