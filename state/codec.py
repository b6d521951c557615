"""The codec of the state file: JSON to state and back, also for files of the original and of older versions (pure).

The original's four keys come first, with their meaning. Unknown keys are kept, so that the file of a newer version
survives an older program.
"""

import json
import math
from dataclasses import replace
from typing import Any

from fleet.config.ladder import Ladder
from fleet.policy.events import parse_event
from fleet.policy.state import FROM_ORIGINAL, CountedIncident, FleetState
from fleet.runtime.errors import StateError
from state.dataclass_json import from_json_strictly, to_json

SCHEMA_VERSION = 1
_MAX_DEPTH = 64
"""Deepest accepted nesting. No state is as deep, and encoding uses more of the stack than decoding."""

_OMIT_IF_NONE = frozenset({"unanswered", "skipped", "reserve", "displaced"})
"""Keys that are omitted while None, so that a healthy fleet's file stays small."""
_FIRST = {"current_model_index": 0, "vram_error_count": 0, "current_model": "", "timestamp": 0.0}
"""The original's keys; an original's file may lack all but the first."""
_KNOWN = frozenset(to_json(FleetState(0, 0, "", 0.0), whole=True)) - {"extra"} | {"schema_version"}


class StateFormatError(StateError):
    """The text is no state: damaged, truncated or of another kind."""


def default_state(ladder: Ladder, now: float) -> FleetState:
    """Return the state of a new fleet: the top rung with count 0."""
    state = FleetState(0, 0, ladder[0].model, now, ladder_hash=ladder.digest)
    return state.on_rung(ladder[0])


def encode_state(state: FleetState, now: float) -> str:
    """Return the file's text with one line for each key: `json.dumps` with indent takes five times as long."""
    row: dict[str, Any] = to_json(replace(state, timestamp=now, events=(), extra={}), whole=True)
    del row["events"], row["extra"]
    row = {key: value for key, value in row.items() if value is not None or key not in _OMIT_IF_NONE}
    first = {key: row[key] for key in _FIRST} | {"schema_version": SCHEMA_VERSION}
    whole = {**state.extra, **first, **row, "events": [event.row() for event in state.events]}
    lines = (f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in whole.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def same_content(one: FleetState, other: FleetState) -> bool:
    """Return True if two states give the same file; a tuple and the list that it is decoded to are the same there."""
    return one == other or encode_state(one, 0.0) == encode_state(other, 0.0)


def decode_state(text: str) -> FleetState:
    """Return the state of a file's text; raise StateFormatError for any other text."""
    try:
        return _decode(_limited_depth(json.loads(text, parse_float=_finite, parse_constant=_finite)))
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


def _decode(row: Any) -> FleetState:
    if not isinstance(row, dict):
        raise TypeError("not an object")
    row = {**_FIRST, **row, "current_model_index": row["current_model_index"]}
    events, extra = row.pop("events", []), {key: row.pop(key) for key in row.keys() - _KNOWN}
    row["recovery"] = row.get("recovery") or {}
    row["current_model"] = row["current_model"] or ""
    state = from_json_strictly(FleetState, row)
    if "incidents" not in row:
        # An original's file has only their count, and the file's time stands for theirs.
        since = CountedIncident(state.timestamp, FROM_ORIGINAL)
        state = replace(state, incidents=(since,) * min(state.vram_error_count, 1000))
    return replace(state, events=tuple(map(parse_event, events)), extra=extra)
