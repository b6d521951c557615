"""Notices: the conditions reported to people, and the events and checks that begin or end them. Pure.

A condition gives one notice at its beginning and one at its end. An event of the history begins a condition, and a
check of the status ends it. A check also begins the conditions that no event reports: failed programs, BRAIN's login, a
full disk, unusable replies.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fleet.policy.events import Event, EventKind, sentence
from fleet.policy.slow import slow_rungs
from fleet.policy.state import FleetState
from fleet.runtime.logging import plain_text
from fleet.runtime.units import Seconds, show_duration

BEGUN, OVER = "begun", "over"
_LINE = 300
"""Longest part of a log line in a notice."""

_BEGINS = {
    EventKind.HELD: "held",
    EventKind.GPU_LOST: "gpu_lost",
    EventKind.OLLAMA_HANGS: "ollama_hangs",
    EventKind.UNANSWERED: "unanswered",
    EventKind.SOURCE_AWAY: "log_away",
    EventKind.LINE_SKIPPED: "lines_skipped",
    EventKind.SPILL: "spill",
    EventKind.SLOW: "slow",
}
"""The condition that an event begins."""

_REPEATED = ("held", "lines_skipped")
"""Conditions whose event repeats while they last. Any other event marks a new condition: an earlier one is over by
then."""

BY_LOOK = ("program_failed", "brain_login", "disk_full", "unusable")
"""Conditions that only a check finds. `unusable` belongs to the setting "unanswered"."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that holds now: its kind, its subject (a program's name, or empty), its text and its remedy."""

    kind: str
    about: str = ""
    text: str = ""
    mend: str = ""

    @property
    def key(self) -> str:
        """Return the name under which the condition is open."""
        return f"{self.kind}:{self.about}" if self.about else self.kind


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to people. `id` is the same in each copy; `number` is that of the event in the lane's history."""

    id: str
    kind: str
    state: str
    time: float
    text: str
    mend: str = ""
    line: str = ""
    number: int | None = None
    lane: str = ""

    def of_lane(self, lane: str) -> "Notice":
        """Return the notice of a lane. Each lane numbers its events: the lane is part of the id."""
        return replace(self, id=f"{lane}-{self.id}", lane=lane) if lane else self

    def row(self, host: str) -> dict[str, Any]:
        """Return the notice as the JSON object that a command of the user's reads."""
        return {
            "id": self.id,
            "number": self.number,
            "kind": self.kind,
            "state": self.state,
            "time": self.time,
            "host": host,
            **({"lane": self.lane} if self.lane else {}),
            "title": self.title(host),
            "text": self.text,
            "mend": self.mend,
            "line": self.line,
        }

    def title(self, host: str) -> str:
        """Return the subject line; it carries the id, by which a copy is known."""
        over = " is over" if self.state == OVER else ""
        lane = f", lane {self.lane}" if self.lane else ""
        return f"Model Fleet on {host}{lane}: {self.kind.replace('_', ' ')}{over} [{self.id}]"

    def body(self) -> str:
        """Return the text for people, with the remedy and the log line, if any."""
        parts = [
            self.text,
            f"Mend: {self.mend}" if self.mend else "",
            f"Log: {self.line}" if self.line else "",
        ]
        return "\n".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class OpenCondition:
    """A condition whose beginning was reported, and when."""

    key: str
    kind: str
    since: float
    number: int | None = None


@dataclass(frozen=True, slots=True)
class NoticeLedger:
    """The reported state: the last event's number, the open conditions, and the last incident's log line."""

    cursor: int = 0
    open: tuple[OpenCondition, ...] = ()
    line: str = ""

    def is_open(self, key: str) -> bool:
        """Return True if the condition's beginning was reported and its end was not."""
        return any(one.key == key for one in self.open)


def after_event(ledger: NoticeLedger, event: Event) -> tuple[NoticeLedger, list[Notice]]:
    """Return the ledger after an event, and the notice of a condition that it begins.

    The end of an earlier condition of its kind comes first, if the notifier was away at that end.
    """
    ledger = replace(ledger, cursor=max(ledger.cursor, event.number))
    if event.kind is EventKind.INCIDENT:
        return replace(ledger, line=_last_line(event.fields.get("lines"))), []
    kind = _BEGINS.get(event.kind)
    earlier = next((one for one in ledger.open if one.key == kind), None)
    if kind is None or (earlier is not None and kind in _REPEATED):
        return ledger, []
    notice = Notice(
        id=f"event-{event.number}",
        kind=kind,
        state=BEGUN,
        time=event.time,
        text=plain_text(sentence(event)),
        mend=_MENDS.get(kind, ""),
        line=_last_line([event.fields.get("line")]) or (ledger.line if kind == "held" else ""),
        number=event.number,
    )
    rest = replace(ledger, open=tuple(one for one in ledger.open if one.key != kind))
    over = [] if earlier is None else [_over(earlier, event.time)]
    return _with(rest, OpenCondition(kind, kind, event.time, event.number)), [*over, notice]


def _last_line(lines: object) -> str:
    """Return the last of an event's log lines, printable and short; empty without one."""
    last = lines[-1] if isinstance(lines, list) and lines else None
    return plain_text(str(last or ""))[:_LINE]


def after_look(
    ledger: NoticeLedger, standing: Mapping[str, Condition], now: float
) -> tuple[NoticeLedger, list[Notice]]:
    """Return the ledger after a check of the fleet, and the notices of begun and ended conditions.

    `standing` are the conditions that hold now, by their keys. A check only ends the conditions of events; the event
    itself begins them, also when it arrives later.
    """
    notices = []
    for key, found in standing.items():
        if found.kind in BY_LOOK and not ledger.is_open(key):
            ledger = _with(ledger, OpenCondition(key, found.kind, now))
            notices.append(Notice(f"{key}-{round(now)}", found.kind, BEGUN, now, found.text, found.mend))
    notices += [_over(one, now) for one in ledger.open if one.key not in standing]
    return replace(ledger, open=tuple(one for one in ledger.open if one.key in standing)), notices


def _with(ledger: NoticeLedger, one: OpenCondition) -> NoticeLedger:
    return replace(ledger, open=(*ledger.open, one))


def _over(one: OpenCondition, now: float) -> Notice:
    began = f"event-{one.number}" if one.number is not None else f"{one.key}-{round(one.since)}"
    lasted: Seconds = max(now - one.since, 0.0)
    text = f"{one.key.replace('_', ' ')} is over, after {show_duration(lasted)}."
    return Notice(f"{began}-over", one.kind, OVER, now, text, number=one.number)


def wanted(notice: Notice, on: list[str]) -> bool:
    """Return True if `[notify] on` asks for a notice of this kind."""
    return ("unanswered" if notice.kind == "unusable" else notice.kind) in on


_MENDS = {
    "held": "A smaller model, a smaller num_ctx or more free GPU memory helps; `use` and `reset` end the hold.",
    "unanswered": "`python3 fleet_cli.py doctor` names the remedy.",
    "ollama_hangs": "Restart Ollama.",
    "log_away": "The monitor keeps trying; `python3 fleet_cli.py doctor` names the remedy.",
    "lines_skipped": "`python3 fleet_cli.py history --kind line.skipped` shows them; please report them.",
    "spill": "A smaller model or a smaller num_ctx fits into the GPU memory.",
    "slow": "`python3 fleet_cli.py history --kind slow` shows Ollama's versions then and now.",
}


def conditions(state: FleetState, row: Mapping[str, Any], disk: str) -> dict[str, Condition]:
    """Return the conditions that hold now, by their keys.

    `row` is the status row; `disk` says why the home's disk is full, empty if it is not.
    """
    spill, calls = state.watch.get("spill"), state.unanswered
    spill = spill if isinstance(spill, Mapping) else {}
    by_event = {
        "held": state.hold is not None,  # an expired hold stays until a call is answered
        "gpu_lost": bool(spill.get("lost_told")),
        "spill": bool(spill.get("told")),
        "unanswered": calls is not None and calls.reported,
        "ollama_hangs": calls is not None and calls.hangs,
        "slow": bool(slow_rungs(state.watch)),
        "log_away": bool(state.watch.get("source_away")),
    }
    found = [Condition(kind) for kind, holds in by_event.items() if holds]
    if disk:
        found.append(Condition("disk_full", "", disk, "Make room on this disk."))
    found += _from_faults(row)
    return {one.key: one for one in found}


_PART_KIND = {"brain": "brain_login", "replies": "unusable", "skipped lines": "lines_skipped"}


def _from_faults(row: Mapping[str, Any]) -> Iterator[Condition]:
    programs = row["programs"] or {}
    for fault in row["faults"]:
        part, detail, hint = fault["part"], fault["detail"], fault["hint"]
        if part in _PART_KIND:
            yield Condition(_PART_KIND[part], "", f"{part}: {detail}", hint)
        elif (
            part in programs and row["hold"] is None
        ):  # a hold is a fault of the generator's too, by its own event
            yield Condition("program_failed", part, f"{part}: {detail}", hint)
