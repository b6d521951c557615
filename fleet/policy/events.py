"""Events: numbered records, the source of history, log lines and views.

The state write that makes an event true also stores the event. Its number takes it from the state into the history
exactly once. No program parses another's text for events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fleet.runtime.totals import increased, observed
from fleet.runtime.units import show_duration
from fleet.runtime.untrusted import moment


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
    PAUSED = "paused"
    RESUMED = "resumed"
    HOURS = "hours"
    RESERVE = "reserve"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    PROBE_POSTPONED = "probe.postponed"
    SOURCE_AWAY = "source.away"
    SOURCE_BACK = "source.back"
    LINE_SKIPPED = "line.skipped"
    OLLAMA_AWAY = "ollama.away"
    OLLAMA_BACK = "ollama.back"
    OLLAMA_HANGS = "ollama.hangs"
    ON_HANG = "on_hang"
    UNANSWERED = "unanswered"
    ANSWERED = "answered"
    SLOW = "slow"
    SLOW_OVER = "slow.over"
    GPU_LOST = "gpu.lost"
    GENERATOR_HUNG = "generator.hung"
    GENERATOR_STALE = "generator.stale"
    GENERATOR_DOWN = "generator.down"
    STATE_REPAIRED = "state.repaired"
    LADDER_CHANGED = "ladder.changed"


OF_SWITCH = frozenset(
    {
        EventKind.SWITCH_PLANNED,
        EventKind.SWITCH_COMMITTED,
        EventKind.SWITCH_DONE,
        EventKind.SWITCH_FAILED,
        EventKind.SWITCH_SUPERSEDED,
        EventKind.VERIFY_FAILED,
        EventKind.PULL_FAILED,
        EventKind.GENERATOR_DOWN,
    }
)
"""Events that bear the number of the switch under way as `planned`."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event at `time` (Unix seconds); `number` rises by one with each event of a state."""

    number: int
    time: float
    kind: EventKind
    fields: Mapping[str, Any]

    def row(self) -> dict[str, Any]:
        """Return the event as the JSON object of a history line."""
        return {"number": self.number, "time": self.time, "kind": self.kind.value, **self.fields}


_KINDS = {kind.value: kind for kind in EventKind}


def parse_event(row: Mapping[str, Any]) -> Event:
    """Return the event of a history row; raise ValueError, TypeError, KeyError or OverflowError for any other row."""
    number, time = row["number"], row["time"]
    if not isinstance(number, int) or not isinstance(time, (int, float)) or moment(time) is None:
        raise TypeError("an event has a number and a time")
    fields = dict(row)  # a long history is read whole: this is half the time of a filter
    kind = fields.pop("kind")
    del fields["number"], fields["time"]
    return Event(number, float(time), _KINDS[kind], fields)


_MEMORY_OF = {"host": "host-memory", "gpu_lost": "GPU", "ollama_hangs": "Ollama"}
"""The subject of a cause other than GPU memory."""


def _incident(fields: Mapping[str, Any]) -> str:
    model = f"{fields['model']}: " if fields.get("model") else ""
    outcome = f"{fields['errors']} of {fields['threshold']}" if fields.get("counted") else fields["reason"]
    whose = _MEMORY_OF.get(str(fields["cause"]), "GPU-memory")
    return f"{whose} incident, {model}{fields['cause']} ({outcome})"


def _switch(verb: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda fields: f"{fields['switch']} {verb}: {fields['from']} → {fields['to']} ({fields['why']})"


def _until(fields: Mapping[str, Any], without: str = "") -> str:
    until = fields["until"]
    return without if until is None else f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M}Z"


def _hours(fields: Mapping[str, Any]) -> str:
    if fields["model"] is None:
        return "[[hours]]: no cap any more; larger models are tried"
    if fields["model"] == "none":
        return f"[[hours]]: the GPU is left alone{_until(fields)}"
    return f"[[hours]]: no model above {fields['model']}{_until(fields)}"


def _reserve(fields: Mapping[str, Any]) -> str:
    if fields["model"] is None and not fields["lower"]:
        return "the card cannot be read any more: the reserve of GPU memory is not kept"
    if fields["model"] is None:
        return "others leave too little GPU memory for any model; the generator pauses"
    if fields["lower"]:
        return f"others leave too little GPU memory: no model above {fields['model']} leaves the reserve free"
    return f"others leave more GPU memory again: {fields['model']} leaves the reserve free"


def _versions(fields: Mapping[str, Any]) -> str:
    """Return Ollama's version when the rate was usual and now, as far as they are known."""
    before, version = fields["version_before"], fields["version"]
    if not version:
        return ""
    return f" (Ollama {version})" if before in {"", version} else f" (Ollama {before} then, {version} now)"


_SENTENCES: dict[EventKind, Callable[[Mapping[str, Any]], str]] = {
    EventKind.INCIDENT: _incident,
    EventKind.SWITCH_PLANNED: _switch("begins"),
    EventKind.SWITCH_COMMITTED: lambda f: f"{f['switch']} committed: the generator restarts on {f['to']}",
    EventKind.SWITCH_DONE: lambda f: f"{f['switch']} done: now on {f['to']} ({f['result']})",
    EventKind.SWITCH_FAILED: lambda f: f"{f['switch']} to {f['to']} failed: {f['reason']}",
    EventKind.SWITCH_SUPERSEDED: lambda f: f"{f['switch']} to {f['to']} superseded by {f['by']}",
    EventKind.VERIFY_FAILED: lambda f: f"{f['model']} failed for lack of GPU memory: {f['next']}",
    EventKind.PULL_STARTED: lambda f: f"background pull of {f['model']} begins ({f['why']})",
    EventKind.PULL_DONE: lambda f: f"{f['model']} is pulled",
    EventKind.PULL_FAILED: lambda f: f"pull of {f['model']} failed: {f['reason']}",
    EventKind.HELD: lambda f: f"generator held for {show_duration(f['seconds'])}: {f['why']}",
    EventKind.SPILL: lambda f: f"{f['model']} has only {f['share']:.0%} in GPU memory ({f['outcome']})",
    EventKind.PAUSED: lambda f: f"paused{_until(f, ' until `resume`')}: {f['why']}",
    EventKind.RESUMED: lambda f: f"the pause ends: {f['why']}",
    EventKind.HOURS: _hours,
    EventKind.RESERVE: _reserve,
    EventKind.PINNED: lambda f: f"{f['model']} is pinned; no automatic switches",
    EventKind.UNPINNED: lambda _: "unpinned; automatic switches resume",
    EventKind.PROBE_POSTPONED: lambda f: (
        f"the probe of {f['failed']} failed; next probe in {show_duration(f['seconds'])}"
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
    EventKind.ON_HANG: lambda f: f"your command against a hang: {f['outcome']}",
    EventKind.UNANSWERED: lambda f: (
        f"no call has been answered for {show_duration(f['seconds'])}: {f['calls']} failed in a row, "
        f"the last one with {f['reason']}"
    ),
    EventKind.ANSWERED: lambda f: (
        f"calls are answered again, after {f['calls']} in a row that failed within {show_duration(f['seconds'])}"
    ),
    EventKind.SLOW: lambda f: (
        f"{f['model']} gives {f['rate']:g} tokens per second for ten minutes; usual are {f['usual']:g}"
        f"{_versions(f)}"
    ),
    EventKind.SLOW_OVER: lambda f: (
        f"{f['model']} gives {f['rate']:g} tokens per second, "
        + ("which counts as usual from now on" if f["usual"] is None else "as usual")
    ),
    EventKind.GPU_LOST: lambda f: f"Ollama has lost its GPU: {f['reason']}",
    EventKind.GENERATOR_HUNG: lambda f: f"the generator hangs and is restarted: {f['reason']}",
    EventKind.GENERATOR_STALE: lambda f: f"the generator is restarted: {f['reason']}",
    EventKind.GENERATOR_DOWN: lambda f: f"the generator does not run: {f['reason']}",
    EventKind.STATE_REPAIRED: lambda f: f"the state file was repaired: {f['reason']}",
    EventKind.LADDER_CHANGED: lambda f: f"the ladder was edited: {f['reason']}",
}


def sentence(event: Event) -> str:
    """Return the event as a sentence; an event of another version that lacks a field gives its raw fields."""
    try:
        return _SENTENCES[event.kind](event.fields)
    except (KeyError, TypeError, ValueError, OSError):
        return f"{event.kind.value} {dict(event.fields)}"


_RESULTS = {
    EventKind.SWITCH_DONE: "done",
    EventKind.SWITCH_FAILED: "failed",
    EventKind.SWITCH_SUPERSEDED: "superseded",
}


def with_event_counted(totals: Mapping[str, Any], event: Event, began: float | None) -> Mapping[str, Any]:
    """Return the totals after an event; `began` is the time of the plan of the switch under way.

    `incidents` has the labels cause and model, which is empty where the incident names none. `switches` has kind and
    result. `switch_seconds` holds the durations of switches that were done.
    """
    fields = event.fields
    if event.kind is EventKind.INCIDENT:
        path = ("incidents", str(fields.get("cause", "")), str(fields.get("model") or ""))
        return increased(totals, path)
    result = _RESULTS.get(event.kind)
    if result is None:
        return totals
    totals = increased(totals, ("switches", str(fields.get("switch", "")), result))
    if event.kind is EventKind.SWITCH_DONE and began is not None:
        totals = observed(totals, "switch_seconds", event.time - began)
    return totals
