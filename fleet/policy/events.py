"""What happened, told once: numbered events, from which history, log lines and views are made.

An event is put into the state by the write that makes it true, and reaches the history from there, exactly
once by its number. Nothing parses another's text to learn what happened.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.runtime.units import show_duration
from fleet.runtime.untrusted import finite


class EventKind(StrEnum):
    """The kinds of events; each has its fields in the table of sentences below."""

    INCIDENT = "incident"
    SWITCH_PLANNED = "switch.planned"
    SWITCH_COMMITTED = "switch.committed"
    SWITCH_DONE = "switch.done"
    SWITCH_FAILED = "switch.failed"
    SWITCH_SUPERSEDED = "switch.superseded"
    VERIFY_FAILED = "verify.failed"
    PULL_STARTED = "pull.started"
    PULL_DONE = "pull.done"
    PULL_FAILED = "pull.failed"
    HELD = "held"
    SPILL = "spill"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    PROBE_POSTPONED = "probe.postponed"
    SOURCE_AWAY = "source.away"
    SOURCE_BACK = "source.back"
    LINE_SKIPPED = "line.skipped"
    OLLAMA_AWAY = "ollama.away"
    OLLAMA_BACK = "ollama.back"
    OLLAMA_HANGS = "ollama.hangs"
    UNANSWERED = "unanswered"
    ANSWERED = "answered"
    GPU_LOST = "gpu.lost"
    GENERATOR_HUNG = "generator.hung"
    GENERATOR_STALE = "generator.stale"
    GENERATOR_DOWN = "generator.down"
    STATE_REPAIRED = "state.repaired"
    LADDER_CHANGED = "ladder.changed"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened at `time` (Unix seconds); `number` rises by one with each event of a state."""

    number: int
    time: float
    kind: EventKind
    fields: Mapping[str, Any]

    def row(self) -> dict[str, Any]:
        """Return the event as a line of the history holds it."""
        return {"number": self.number, "time": self.time, "kind": self.kind.value, **self.fields}


def event_of(row: Mapping[str, Any]) -> Event:
    """Return the event that a row holds; raise ValueError, TypeError, KeyError or OverflowError."""
    number, time = row["number"], row["time"]
    if not isinstance(number, int) or not isinstance(time, (int, float)) or finite(time) is None:
        raise TypeError("an event has a number and a time")
    fields = {key: value for key, value in row.items() if key not in {"number", "time", "kind"}}
    return Event(number, float(time), EventKind(row["kind"]), fields)


def _incident(fields: Mapping[str, Any]) -> str:
    what = f"{fields['model']}: " if fields.get("model") else ""
    outcome = f"{fields['errors']} of {fields['threshold']}" if fields.get("counted") else fields["reason"]
    return f"GPU-memory incident, {what}{fields['cause']} ({outcome})"


def _switch(verb: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda fields: f"{fields['switch']} {verb}: {fields['from']} → {fields['to']} ({fields['why']})"


_SENTENCES: dict[EventKind, Callable[[Mapping[str, Any]], str]] = {
    EventKind.INCIDENT: _incident,
    EventKind.SWITCH_PLANNED: _switch("begins"),
    EventKind.SWITCH_COMMITTED: lambda f: f"{f['switch']} stands: the generator is to run on {f['to']}",
    EventKind.SWITCH_DONE: lambda f: f"{f['switch']} done: {f['to']} works ({f['result']})",
    EventKind.SWITCH_FAILED: lambda f: f"{f['switch']} to {f['to']} failed: {f['reason']}",
    EventKind.SWITCH_SUPERSEDED: lambda f: f"{f['switch']} to {f['to']} is superseded by {f['by']}",
    EventKind.VERIFY_FAILED: lambda f: f"{f['model']} has no GPU memory to work in: {f['next']}",
    EventKind.PULL_STARTED: lambda f: f"pull of {f['model']} in the background begins ({f['why']})",
    EventKind.PULL_DONE: lambda f: f"{f['model']} is here now",
    EventKind.PULL_FAILED: lambda f: f"pull of {f['model']} failed: {f['reason']}",
    EventKind.HELD: lambda f: f"generator held for {show_duration(f['seconds'])}: {f['why']}",
    EventKind.SPILL: lambda f: f"{f['model']} has only {f['share']:.0%} in GPU memory ({f['outcome']})",
    EventKind.PINNED: lambda f: f"{f['model']} is pinned; no automatic switches",
    EventKind.UNPINNED: lambda _: "unpinned; automatic switches go on",
    EventKind.PROBE_POSTPONED: lambda f: (
        f"{f['failed']} failed its try; next try of a larger model in {show_duration(f['seconds'])}"
    ),
    EventKind.SOURCE_AWAY: lambda f: f"log source {f['source']} is away: {f['reason']}",
    EventKind.SOURCE_BACK: lambda f: f"log source {f['source']} is back",
    EventKind.LINE_SKIPPED: lambda f: (
        f"{f['lines']} unreadable {'line' if f['lines'] == 1 else 'lines'} of {f['source']} skipped "
        f"({f['error']}): {f['line']}"
    ),
    EventKind.OLLAMA_AWAY: lambda f: f"Ollama is away: {f['reason']}",
    EventKind.OLLAMA_BACK: lambda _: "Ollama is back",
    EventKind.OLLAMA_HANGS: lambda f: f"Ollama hangs: {f['reason']}",
    EventKind.UNANSWERED: lambda f: (
        f"no call has been answered for {show_duration(f['seconds'])}: {f['calls']} failed in a row, "
        f"the last one with {f['reason']}"
    ),
    EventKind.ANSWERED: lambda f: (
        f"calls are answered again, after {f['calls']} in a row that failed within {show_duration(f['seconds'])}"
    ),
    EventKind.GPU_LOST: lambda f: f"Ollama has lost its GPU: {f['reason']}",
    EventKind.GENERATOR_HUNG: lambda f: f"the generator hangs and is restarted: {f['reason']}",
    EventKind.GENERATOR_STALE: lambda f: f"the generator is restarted: {f['reason']}",
    EventKind.GENERATOR_DOWN: lambda f: f"the generator does not run: {f['reason']}",
    EventKind.STATE_REPAIRED: lambda f: f"the state file was repaired: {f['reason']}",
    EventKind.LADDER_CHANGED: lambda f: f"the ladder was edited: {f['reason']}",
}


def sentence(event: Event) -> str:
    """Return the event as a person is told it; a row of another version that lacks a field still reads."""
    try:
        return _SENTENCES[event.kind](event.fields)
    except (KeyError, TypeError, ValueError):
        return f"{event.kind.value} {dict(event.fields)}"
