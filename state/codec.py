"""The codec of the state file: JSON to state and back, also for files of the original and of older versions (pure).

The original's four keys come first, with their meaning. Unknown keys are kept, so that the file of a newer version
survives an older program.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from fleet.config.ladder import Ladder
from fleet.policy.events import parse_event
from fleet.policy.state import (
    FROM_ORIGINAL,
    CountedIncident,
    FleetState,
    Hold,
    HoursCap,
    OperatorPause,
    PastSwitch,
    Recovery,
    ReserveCap,
    Skipped,
    SlowCause,
    Switch,
    SwitchKind,
    SwitchPhase,
    Unanswered,
)
from fleet.runtime.errors import StateError

SCHEMA_VERSION = 1
_MAX_DEPTH = 64
"""Deepest accepted nesting. No state is as deep, and encoding uses more of the stack than decoding."""

_T = TypeVar("_T")
_OMIT_IF_NONE = frozenset({"unanswered", "skipped", "reserve", "displaced"})
"""Keys that are omitted while None, so that a healthy fleet's file stays small."""
_KEYS = {"last_event_number": "events_told", "source": "from", "target": "to"}
"""JSON keys of the attributes with another name; the keys are part of the file format."""
_ROWS = (
    Switch,
    PastSwitch,
    Hold,
    Recovery,
    CountedIncident,
    Unanswered,
    Skipped,
    OperatorPause,
    HoursCap,
    ReserveCap,
)
"""The values that the file holds as objects."""


class StateFormatError(StateError):
    """The text is no state: damaged, truncated or of another kind."""


def default_state(ladder: Ladder, now: float) -> FleetState:
    """Return the state of a new fleet: the top rung with count 0."""
    state = FleetState(0, 0, ladder[0].model, now, ladder_hash=ladder.digest)
    return state.on_rung(ladder[0])


def encode_state(state: FleetState, now: float) -> str:
    """Return the file's text with one line for each key: `json.dumps` with indent takes five times as long."""
    row: dict[str, Any] = {
        "current_model_index": state.current_model_index,
        "vram_error_count": state.vram_error_count,
        "current_model": state.current_model,
        "timestamp": now,
        "schema_version": SCHEMA_VERSION,
    }
    for part in fields(FleetState):
        if part.name not in row and part.name not in {"extra", "events"}:
            row[_KEYS.get(part.name, part.name)] = _plain(getattr(state, part.name))
    row = {name: value for name, value in row.items() if value is not None or name not in _OMIT_IF_NONE}
    row["events"] = [event.row() for event in state.events]
    whole = {**state.extra, **row}
    lines = (f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in whole.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def same_content(one: FleetState, other: FleetState) -> bool:
    """Return True if two states give the same file; a tuple and the list that it is decoded to are the same there."""
    return one == other or encode_state(one, 0.0) == encode_state(other, 0.0)


def _plain(value: Any) -> Any:
    if isinstance(value, _ROWS):
        return {_KEYS.get(name, name): item for name, item in asdict(value).items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def decode_state(text: str) -> FleetState:
    """Return the state of a file's text; raise StateFormatError for any other text."""
    try:
        return _decode(_table(_limited_depth(json.loads(text, parse_float=_finite, parse_constant=_finite))))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise StateFormatError(
            f"the text is no state of a fleet: {str(error) or type(error).__name__}"
        ) from error


def _finite(text: str) -> float:
    """Return a JSON number; raise ValueError for Infinity, NaN and 1e999, which Python's parser accepts."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"not a number: {text:.40}")
    return value


def _limited_depth(value: Any) -> Any:
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return value


def _decode(row: dict[str, Any]) -> FleetState:
    known = {_KEYS.get(part.name, part.name) for part in fields(FleetState)} | {"schema_version"}
    index, errors = _whole(row["current_model_index"]), _amount(row.get("vram_error_count", 0))
    stamp = _number(row.get("timestamp", 0.0))
    return FleetState(
        current_model_index=index,
        vram_error_count=errors,
        current_model=_text(row.get("current_model") or ""),
        timestamp=stamp,
        switches=_amount(row.get("switches", 0)),
        incidents=_incidents(row, errors, stamp),
        counted_ids=tuple(_text(one) for one in row.get("counted_ids", [])),
        last_finished=_optional(_number, row.get("last_finished")),
        finished=_amount(row.get("finished", 0)),
        failed=_amount(row.get("failed", 0)),
        cursors=_table(row.get("cursors", {})),
        open=_table(row.get("open", {})),
        watch=_table(row.get("watch", {})),
        switch=_optional(_switch, row.get("switch")),
        last_switch=_optional(_past_switch, row.get("last_switch")),
        automatic=tuple(_number(time) for time in row.get("automatic", [])),
        hold=_optional(_hold, row.get("hold")),
        recovery=_recovery(row.get("recovery") or {}),
        ceiling=_optional(_whole, row.get("ceiling")),
        behind=tuple(_text(one) for one in row.get("behind", [])),
        pinned=_flag(row.get("pinned", False)),
        on_cpu=_flag(row.get("on_cpu", False)),
        current_options=_table(row.get("current_options", {})),
        model_size_bytes=_optional(_whole, row.get("model_size_bytes")),
        ladder_hash=_text(row.get("ladder_hash", "")),
        unanswered=_optional(_unanswered, row.get("unanswered")),
        skipped=_optional(_skipped, row.get("skipped")),
        pause=_optional(_pause, row.get("pause")),
        hours=_optional(_hours, row.get("hours")),
        reserve=_optional(_reserve, row.get("reserve")),
        displaced=_optional(_amount, row.get("displaced")),
        restarting=_flag(row.get("restarting", False)),
        totals=_table(row.get("totals", {})),
        events=tuple(parse_event(_table(event)) for event in row.get("events", [])),
        last_event_number=_amount(row.get("events_told", 0)),
        extra={key: value for key, value in row.items() if key not in known},
    )


def _incidents(row: Mapping[str, Any], errors: int, stamp: float) -> tuple[CountedIncident, ...]:
    """Return the incidents; an original's file has only their count, and the file's time stands for theirs."""
    if "incidents" not in row:
        return (CountedIncident(stamp, FROM_ORIGINAL),) * min(errors, 1000)
    return tuple(
        CountedIncident(_number(one["time"]), _text(one["cause"]), _text(one.get("id", "")))
        for one in row["incidents"]
    )


def _switch(row: Any) -> Switch:
    row = _table(row)
    return Switch(
        number=_whole(row["number"]),
        kind=SwitchKind(row["kind"]),
        phase=SwitchPhase(row["phase"]),
        source=_whole(row["from"]),
        target=_whole(row["to"]),
        since=_number(row["since"]),
        why=_text(row["why"]),
        by_hand=_flag(row.get("by_hand", False)),
        pin=_flag(row.get("pin", False)),
        on_cpu=_flag(row.get("on_cpu", False)),
        was_stopped=_flag(row.get("was_stopped", False)),
        failures=_amount(row.get("failures", 0)),
        failed_at=_optional(_number, row.get("failed_at")),
        restarted=_optional(_number, row.get("restarted")),
        attempts=_amount(row.get("attempts", 0)),
    )


def _past_switch(row: Any) -> PastSwitch:
    row = _table(row)
    return PastSwitch(
        kind=SwitchKind(row["kind"]),
        source=_text(row["from"]),
        target=_text(row["to"]),
        time=_number(row["time"]),
        why=_text(row["why"]),
        by_hand=_flag(row.get("by_hand", False)),
    )


def _hold(row: Any) -> Hold:
    row = _table(row)
    return Hold(_number(row["until"]), _amount(row["step"]), _text(row["why"]))


def _unanswered(row: Any) -> Unanswered:
    row = _table(row)
    return Unanswered(
        since=_number(row["since"]),
        calls=_amount(row["calls"]),
        reason=_text(row["reason"]),
        waited=_flag(row.get("waited", False)),
        hangs=_flag(row.get("hangs", False)),
        reported=_flag(row.get("reported", False)),
        slow=_optional(SlowCause, row.get("slow")),
        last=_number(row.get("last", 0.0)),
    )


def _skipped(row: Any) -> Skipped:
    row = _table(row)
    return Skipped(_amount(row["count"]), _number(row["last"]))


def _pause(row: Any) -> OperatorPause:
    row = _table(row)
    return OperatorPause(
        _number(row["since"]), _optional(_number, row.get("until")), _text(row.get("why", ""))
    )


def _hours(row: Any) -> HoursCap:
    row = _table(row)
    return HoursCap(
        model=_text(row["model"]),
        rung=_optional(_amount, row.get("rung")),
        since=_number(row["since"]),
        until=_optional(_number, row.get("until")),
    )


def _reserve(row: Any) -> ReserveCap:
    row = _table(row)
    return ReserveCap(_optional(_amount, row.get("rung")), _number(row["since"]), _whole(row.get("looks", 0)))


def _recovery(row: Any) -> Recovery:
    row = _table(row)
    return Recovery(
        wait=_number(row.get("wait", 0.0)),
        next=_optional(_number, row.get("next")),
        failed=tuple(_whole(index) for index in row.get("failed", [])),
        probation=_optional(_number, row.get("probation")),
        home_rung=_optional(_whole, row.get("home_rung")),
        home_on_cpu=_flag(row.get("home_on_cpu", False)),
    )


def _optional(read: Callable[[Any], _T], value: Any) -> _T | None:
    return None if value is None else read(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise TypeError(f"not a whole number: {value!r:.40}")
    return int(value)


def _amount(value: Any) -> int:
    amount = _whole(value)
    if amount < 0:
        raise TypeError(f"below zero: {amount}")
    return amount


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"not true or false: {value!r:.40}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"not a number: {value!r:.40}")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not text: {value!r:.40}")
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"not an object: {value!r:.40}")
    return value
