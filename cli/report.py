"""`report`: time in use, incidents, speed, memory and alphas of each model.

Time and incidents come from the history, calls and alphas from the database, memory from the monitor's readings of
`/api/ps`. An unknown figure is null.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.parallel_checks import Unreachable
from cli.status import last_write
from cli.target import Fleet, now
from fleet.config.ladder import Ladder, full_name
from fleet.policy.decide import ANSWERED
from fleet.policy.events import Event, EventKind
from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds
from state.history import each_event
from state.store import read_state

_HOUR: Seconds = 3600.0
_OF_USE = frozenset({EventKind.SWITCH_COMMITTED, EventKind.SWITCH_DONE})

if TYPE_CHECKING:
    from generator.storage.read import ModelRow

MARKS = ("likely", "unproven", "luck")
"""Marks of the luck in an alpha (docs/generator.md)."""


def collect_report(
    fleet: Fleet, *, since: float = 0.0, decode: Callable[[bytes], Any] = json.loads
) -> dict[str, Any]:
    """Return the report since a time: one row a model, first the ladder's, then former models.

    `decode` decodes the history's JSON.
    """
    ladder, away = fleet.settings.ladder, dict[str, Unreachable]()
    try:
        state = read_state(fleet.home)
    except FleetError as error:
        state, away["state"] = None, Unreachable(error.message, error.hint)
    try:
        rows, counted = _mined(fleet, since)
        mined = {full_name(row.model): row for row in rows}
        marks = {full_name(name): found for name, found in counted.items()}
    except FleetError as error:
        mined, marks, away["database"] = {}, {}, Unreachable(error.message, error.hint)
    switches: list[Event] = []
    model = state.current_model if state else ladder[0].model
    failed = incidents(_noting(switches, each_event(fleet.home.history, decode)), ladder, model, since)
    spans = time_in_use(
        switches, ladder, model, began=_began(fleet, switches), ended=_ended(fleet), since=since
    )
    vram = state.watch.get("vram") if state else None
    loads = load_times(switches, ladder, since)
    names = dict.fromkeys(full_name(rung.model) for rung in ladder)
    for found in (spans, failed, mined):
        names.update(dict.fromkeys(found))
    return {
        "since": since or None,
        "standin": fleet.standin,
        "models": [
            {
                "model": _as_written(name, ladder),
                "on_ladder": any(full_name(rung.model) == name for rung in ladder),
                "seconds_in_use": round(spans.get(name, 0.0), 1),
                "incidents": failed.get(name, 0),
                "seconds_between_incidents": _each(spans.get(name, 0.0), failed.get(name, 0)),
                "vram_bytes": vram.get(name) if isinstance(vram, dict) else None,
                "load_seconds": loads.get(name),
                **_brought(mined.get(name), spans.get(name, 0.0)),
                **{mark: marks.get(name, {}).get(mark, 0) for mark in MARKS},
            }
            for name in names
        ],
        "away": {part: asdict(one) for part, one in away.items()},
    }


def _noting(switches: list[Event], events: Iterable[Event]) -> Iterator[Event]:
    """Yield events and collect the first one and those of switches: a long history is read once, and not kept."""
    for event in events:
        if not switches or event.kind in _OF_USE:
            switches.append(event)
        yield event


def _mined(fleet: Fleet, since: float) -> "tuple[Sequence[ModelRow], Mapping[str, Mapping[str, int]]]":
    """Return each model's mined alphas, and the number of its kept alphas by mark of luck."""
    # Imported here: the other commands need no database module.
    from generator.storage.read import by_model, database_location, marks_by_model  # noqa: PLC0415

    location = database_location(fleet.settings.generator.database, fleet.home)
    return by_model(location, since=since), marks_by_model(location, since=since)


def _began(fleet: Fleet, events: Sequence[Event]) -> float | None:
    """Return when the first model came into use, None if unknown."""
    moments = [event.time for event in events[:1]]
    if fleet.started is not None:
        moments.append(fleet.started.started)
    return min(moments, default=None)


def _ended(fleet: Fleet) -> float:
    """Return the end of the present model's use: now, or the last write of a fleet that has ended."""
    ended = last_write(fleet.home)
    return now() if ended is None else ended


def time_in_use(
    events: Iterable[Event],
    ladder: Ladder,
    model: str,
    *,
    began: float | None,
    ended: float,
    since: float = 0.0,
) -> dict[str, Seconds]:
    """Return the time in use of each model: from its switch to the next one."""
    spans: dict[str, Seconds] = {}
    start = began

    def add(name: str, until: float) -> None:
        if start is not None and until > max(start, since):
            spans[name] = spans.get(name, 0.0) + until - max(start, since)

    for event in events:
        if event.kind is EventKind.SWITCH_COMMITTED:
            add(_model_of(str(event.fields.get("from", "")), ladder), event.time)
            start = event.time
    add(full_name(model), ended)
    return spans


def _model_of(label: str, ladder: Ladder) -> str:
    """Return the model of a rung's label, which may have left the ladder."""
    rung = next((rung for rung in ladder if rung.label == label), None)
    return full_name(rung.model if rung else label.partition(" (")[0])


def incidents(events: Iterable[Event], ladder: Ladder, model: str, since: float = 0.0) -> dict[str, int]:
    """Return the counted incidents of each model. An incident without a model belongs to the model in use."""
    found: Counter[str] = Counter()
    in_use = ""  # until the first switch names the model before it
    for event in events:
        if event.kind is EventKind.SWITCH_COMMITTED:
            if not in_use and "" in found:
                found[_model_of(str(event.fields.get("from", "")), ladder)] += found.pop("")
            in_use = _model_of(str(event.fields.get("to", "")), ladder)
        elif event.kind is EventKind.INCIDENT and event.fields.get("counted") and event.time >= since:
            named = event.fields.get("model")
            found[full_name(str(named)) if named else in_use] += 1
    if "" in found:
        found[full_name(model)] += found.pop("")
    return dict(found)


def load_times(events: Iterable[Event], ladder: Ladder, since: float = 0.0) -> dict[str, Seconds]:
    """Return each model's mean time from the commit of a switch to its first answered call: restart, load, first answer.

    Switches that ended in another way do not count.
    """
    begun: dict[str, float] = {}
    found: dict[str, list[Seconds]] = {}
    for event in events:
        if event.kind not in _OF_USE:
            continue
        name = _model_of(str(event.fields.get("to", "")), ladder)
        if event.kind is EventKind.SWITCH_COMMITTED:
            begun = {name: event.time}
        elif name in begun and event.time >= since:
            if event.fields.get("result") == ANSWERED:
                found.setdefault(name, []).append(max(event.time - begun[name], 0.0))
            begun = {}
    return {name: sum(times) / len(times) for name, times in found.items()}


def _each(whole: float, parts: int) -> float | None:
    return whole / parts if parts else None


def _as_written(name: str, ladder: Ladder) -> str:
    return next((rung.model for rung in ladder if full_name(rung.model) == name), name)


def _brought(row: "ModelRow | None", in_use: Seconds) -> dict[str, Any]:
    if row is None:
        nothing = dict.fromkeys(
            ("calls", "failed_calls", "valid", "invalid", "duplicates", "evaluated", "kept"), 0
        )
        return {
            **nothing,
            "valid_share": None,
            "unique_share": None,
            "kept_share": None,
            "alphas_per_hour": None,
            "tokens_per_second": None,
            "mean_sharpe": None,
            "best_sharpe": None,
        }
    asked = row.valid + row.invalid
    return {
        "calls": row.calls,
        "failed_calls": row.failed,
        "valid": row.valid,
        "invalid": row.invalid,
        "duplicates": row.duplicates,
        "evaluated": row.evaluated,
        "kept": row.kept,
        "valid_share": row.valid / asked if asked else None,
        "unique_share": (row.valid - row.duplicates) / row.valid if row.valid else None,
        "kept_share": row.kept / row.evaluated if row.evaluated else None,
        "alphas_per_hour": row.kept * _HOUR / in_use if in_use else None,
        "tokens_per_second": row.tokens_per_second,
        "mean_sharpe": row.mean_sharpe,
        "best_sharpe": row.best_sharpe,
    }
