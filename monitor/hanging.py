"""An Ollama that hangs: it answers at once what it is asked of itself, and no request of ours (pure).

A runner can hang in its own crash; every later load then waits behind it, and the log is silent. The generator
gives a call up after `first_token_timeout`, which a slow model does not reach. No smaller model helps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fleet.units import Seconds, show_duration
from monitor.restore import kept, restored

HANG_MEND = (
    "A smaller model does not help. Restart the container or service of Ollama (`docker restart NAME` or "
    "`systemctl restart ollama`); its runner is stuck, often in its own crash."
)


@dataclass(frozen=True, slots=True)
class HangState:
    """Calls in a row that waited in vain: how many, since when, and whether that has been told."""

    calls: int = 0
    since: float = 0.0
    told: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        row: dict[str, Any] = kept(self)
        return row

    @staticmethod
    def of(watch: Mapping[str, Any]) -> "HangState":
        """Return the state that a fleet's state holds; what is missing or damaged takes its default."""
        return restored(HangState, watch.get("hanging")) or HangState()


def after_call(
    state: HangState, *, started: float, ended: float, status: int, answered: bool, limit: Seconds
) -> HangState:
    """Return the state after a call of the generator: an answer ends it, a call given up adds to it.

    One that failed with an answer, or soon, says nothing of it: the server refused or was away.
    """
    if answered:
        return HangState()
    if status or ended - started < limit:
        return state
    return replace(state, calls=state.calls + 1, since=state.since or started)


def verdict(state: HangState, limit: Seconds, *, answers: bool) -> tuple[HangState, str | None]:
    """Return what to tell where calls waited in vain and Ollama `answers` what it is asked of itself; once."""
    if not state.calls or state.told or not answers:
        return state, None
    calls = "1 call" if state.calls == 1 else f"{state.calls} calls"
    reason = f"{calls} got no answer within {show_duration(limit)}, while it tells its models at once. "
    return replace(state, told=True), reason + HANG_MEND
