"""The codec of the state file, and the mapper between dataclasses and JSON (pure).

Files of the original and of older versions are read too. The original's four keys come first, with their meaning.
Unknown keys are kept in `extra`, so that the file of a newer version survives an older program. An optional part with
an unknown choice, such as a phase of a switch, is read as None. A dataclass is read field by field. A field's metadata
may give another JSON key (`json`), and the key of older files (`former`). The state is read strictly: a wrong value
raises. A part that can be made anew is read leniently: unknown, missing and damaged values take their defaults. The
readers of a type are built once, since each step of a switch reads and writes the state.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import lru_cache, partial
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from fleet.config.ladder import Ladder
from fleet.policy.events import EventKind, parse_event
from fleet.policy.state import FROM_ORIGINAL, CountedIncident, Extensible, FleetState
from fleet.runtime.errors import StateError
from fleet.runtime.untrusted import LATEST, finite

T = TypeVar("T")
_WRONG = (TypeError, ValueError, OverflowError)
"""The exceptions of a reader for a value of another type."""
_Reader = Callable[[Any], Any]


class _UnknownChoiceError(ValueError):
    """A text is none of the choices of this version; a newer one may have more."""


def to_json(value: Any, *, whole: bool = False) -> Any:
    """Return a dataclass as the JSON values that a file gives back: objects, and lists for tuples.

    Unless `whole`, fields at their default are omitted: a state holds many failures, with thirty flags each.
    """
    parts = _fields(type(value))  # type: ignore[arg-type]  # a class is hashable
    if parts:
        known = {
            key: to_json(one, whole=whole)
            for name, key, default in parts
            if (one := getattr(value, name)) != default or whole
        }
        return {**value.extra, **known} if isinstance(value, Extensible) else known
    return [to_json(item, whole=whole) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=64)
def _fields(kind: type) -> tuple[tuple[str, str, Any], ...]:
    """Return a dataclass's fields, their keys and defaults (MISSING without one); empty for another type."""
    if not is_dataclass(kind):
        return ()
    kept = {each.name for each in fields(Extensible)} if issubclass(kind, Extensible) else set()
    return tuple(
        (each.name, each.metadata.get("json", each.name), each.default)
        for each in fields(kind)
        if each.name not in kept
    )


def _former(kind: type) -> list[tuple[str, str]]:
    """Return the fields of a dataclass that older versions named otherwise, with their keys there."""
    return [(each.name, each.metadata["former"]) for each in fields(kind) if "former" in each.metadata]


def from_json(kind: type[T], data: object) -> T | None:
    """Return the dataclass that `to_json` encoded; None if `data` is no object or lacks a field without default.

    Unknown keys are ignored, and a value of another type counts as missing.
    """
    try:
        value: T = _reader(kind, lenient=True)(data)  # type: ignore[arg-type]  # a class is hashable
    except _WRONG:
        return None
    return value


@lru_cache(maxsize=128)
def _reader(hint: Any, *, lenient: bool) -> _Reader:
    """Return the reader of a type's JSON values, which raises for any other value."""
    origin, inner = get_origin(hint), get_args(hint)
    if NoneType in inner:
        return partial(_optional, _reader(inner[0], lenient=lenient))
    if origin is tuple:
        return partial(_series, _reader(inner[0], lenient=lenient), lenient)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        keys = [*_former(hint), *((name, key) for name, key, _ in _fields(hint))]
        readers = [(name, key, _reader(hints[name], lenient=lenient)) for name, key in keys]
        return partial(_record, hint, readers, lenient)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return partial(_choice, hint)
    if origin is Annotated:
        return partial(_count, _reader(inner[0], lenient=lenient))
    return partial(_plain, dict if origin is Mapping else hint)


def _optional(read: _Reader, data: Any) -> Any:
    try:
        return None if data is None else read(data)
    except _UnknownChoiceError:
        return None


def _choice(kind: type[Enum], data: Any) -> Any:
    try:
        return kind(data)
    except ValueError as error:
        raise _UnknownChoiceError(str(error)) if isinstance(data, str) else error from error


def _series(read: _Reader, lenient: bool, data: Any) -> Any:
    if not isinstance(data, list | tuple):
        raise _wrong(data, "a list")
    items = []
    for item in data:
        try:
            items.append(read(item))
        except _WRONG:
            if not lenient:
                raise
    return tuple(items)


def _record(kind: type, readers: Sequence[tuple[str, str, _Reader]], lenient: bool, data: Any) -> Any:
    if not isinstance(data, dict):
        raise _wrong(data, "an object")
    values = {}
    for name, key, read in readers:
        try:
            if key in data:
                values[name] = read(data[key])
        except _WRONG:
            if not lenient:
                raise
    if issubclass(kind, Extensible):
        known = {key for _, key, _ in readers}
        values["extra"] = {key: value for key, value in data.items() if key not in known}
    return kind(**values)


def _count(read: _Reader, data: Any) -> Any:
    number = read(data)
    if number < 0:
        raise _wrong(data, "a count")
    return number


def _plain(kind: type, data: Any) -> Any:
    if kind is float and type(data) in {int, float}:
        return min(max(float(data), 0.0), LATEST)  # all are times and durations
    if kind is int and type(data) in {int, float} and finite(data) is not None and data == int(data):
        return int(data)
    if kind not in {int, float} and type(data) is kind:
        return data
    raise _wrong(data, kind.__name__)


def _wrong(data: Any, wanted: str) -> TypeError:
    return TypeError(f"not {wanted}: {data!r:.40}")


SCHEMA_VERSION = 1
_MAX_DEPTH = 64
"""Deepest accepted nesting. No state is as deep, and encoding uses more of the stack than decoding."""

_OMIT_IF_NONE = frozenset({"unanswered", "skipped", "reserve", "displaced"})
"""Keys that are omitted while None, so that a healthy fleet's file stays small."""
_FIRST = {"current_model_index": 0, "vram_error_count": 0, "current_model": "", "timestamp": 0.0}
"""The original's keys; an original's file may lack all but the first."""
_KINDS = frozenset(kind.value for kind in EventKind)


class StateFormatError(StateError):
    """The text is no state: damaged, truncated or of another kind."""


def default_state(ladder: Ladder, now: float) -> FleetState:
    """Return the state of a new fleet: the top rung with count 0."""
    state = FleetState(0, 0, ladder[0].model, now, ladder_hash=ladder.digest)
    return state.on_rung(ladder[0])


_to_text = json.JSONEncoder(allow_nan=False).encode  # json.dumps would make an encoder for each value


def encode_state(state: FleetState, now: float) -> str:
    """Return the file's text with one line for each key: `json.dumps` with indent takes five times as long."""
    events = [event.row() for event in state.events]
    row: dict[str, Any] = to_json(replace(state, timestamp=now, events=()), whole=True)
    row |= {"schema_version": SCHEMA_VERSION, "events": events}
    lines = (
        f" {_to_text(key)}: {_to_text(value)}"
        for key, value in row.items()
        if value is not None or key not in _OMIT_IF_NONE
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def decode_state(text: str | bytes) -> FleetState:
    """Return the state of a file's content; raise StateFormatError for any other content."""
    try:
        return _decode(_limited_depth(json.loads(text, parse_float=_finite, parse_constant=_finite)))
    except KeyError as error:
        raise StateFormatError(f"the text is no state of a fleet: it lacks the key {error}") from error
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
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
    events, _ = row.pop("events", []), row.pop("schema_version", None)
    row["recovery"] = row.get("recovery") or {}
    row["current_model"] = row["current_model"] or ""
    state: FleetState = _reader(FleetState, lenient=False)(row)
    if "incidents" not in row:
        # An original's file has only their count, and the file's time stands for theirs.
        since = CountedIncident(state.timestamp, FROM_ORIGINAL)
        state = replace(state, incidents=(since,) * min(state.vram_error_count, 1000))
    # The history's readers pass over the kinds of a newer version too.
    known = (event for event in events if not _is_newer(event))
    state = replace(state, events=tuple(map(parse_event, known)))
    if row.get("switch") is None or state.switch is not None:
        return state
    reason = (
        "its switch has a phase or a kind of a newer version; the switch is dropped, its committed rung stays"
    )
    return state.with_event(state.timestamp, EventKind.STATE_REPAIRED, reason=reason)


def _is_newer(event: Any) -> bool:
    """Return True if an event is of a kind that this version does not know."""
    kind = event.get("kind") if isinstance(event, dict) else None
    return isinstance(kind, str) and kind not in _KINDS
