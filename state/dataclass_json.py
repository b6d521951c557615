"""Frozen dataclasses to JSON and back, field by field, with the JSON key of a field in its metadata (`json`).

A file of ours is read strictly: a wrong value raises. A part that can be made anew is read leniently: unknown, missing
and damaged values take their defaults. The state is read and written at each step of a switch, so the readers of a type
are built once and cached.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache, partial
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_WRONG = (TypeError, ValueError, OverflowError)
"""The exceptions of a reader for a value of another type."""
_Reader = Callable[[Any], Any]


def to_json(value: Any, *, whole: bool = False) -> Any:
    """Return a dataclass as the JSON values that a file gives back: objects, and lists for tuples.

    Unless `whole`, fields at their default are omitted: a write of the state holds many failures, most of whose thirty
    flags are.
    """
    parts = _fields(type(value))  # type: ignore[arg-type]  # a class is hashable
    if parts:
        values = ((key, getattr(value, name), default) for name, key, default in parts)
        return {key: to_json(one, whole=whole) for key, one, default in values if whole or one != default}
    return [to_json(item, whole=whole) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=64)
def _fields(kind: type) -> tuple[tuple[str, str, Any], ...]:
    """Return a dataclass's fields, their keys and defaults (MISSING without one); empty for another type."""
    if not is_dataclass(kind):
        return ()
    return tuple((each.name, each.metadata.get("json", each.name), each.default) for each in fields(kind))


def from_json(kind: type[T], data: object) -> T | None:
    """Return the dataclass that `to_json` encoded; None if `data` is no object or lacks a field without default.

    Unknown keys are ignored, and a value of another type counts as missing.
    """
    try:
        value: T = _reader(kind, lenient=True)(data)  # type: ignore[arg-type]  # a class is hashable
    except _WRONG:
        return None
    return value


def from_json_strictly(kind: type[T], data: object) -> T:
    """Return the dataclass of a JSON object; raise TypeError, ValueError or OverflowError for a wrong value in it."""
    value: T = _reader(kind, lenient=False)(data)  # type: ignore[arg-type]  # a class is hashable
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
        readers = [(name, key, _reader(hints[name], lenient=lenient)) for name, key, _ in _fields(hint)]
        return partial(_record, hint, readers, lenient)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if origin is Annotated:
        return partial(_count, _reader(inner[0], lenient=lenient))
    return partial(_plain, dict if origin is Mapping else hint)


def _optional(read: _Reader, data: Any) -> Any:
    return None if data is None else read(data)


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
    return kind(**values)


def _count(read: _Reader, data: Any) -> Any:
    number = read(data)
    if number < 0:
        raise _wrong(data, "a count")
    return number


def _plain(kind: type, data: Any) -> Any:
    if type(data) is kind:
        return data
    if kind is float and type(data) is int:
        return float(data)
    if kind is int and type(data) is float and data.is_integer():
        return int(data)
    raise _wrong(data, kind.__name__)


def _wrong(data: Any, wanted: str) -> TypeError:
    return TypeError(f"not {wanted}: {data!r:.40}")
