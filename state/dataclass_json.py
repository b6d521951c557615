"""Frozen dataclasses to JSON and back, field by field; unknown, missing and damaged values are tolerated.

The state is read and written at each step of a switch, so the readers of a type are built once and cached.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Reader = Callable[[Any], Any]
_BAD = object()
"""A reader's result for a value of another type."""


def to_json(value: Any) -> Any:
    """Return a dataclass as the JSON values that a file gives back: objects, and lists for tuples.

    Fields at their default are omitted: each write of the state holds many failures, most of whose thirty flags are.
    """
    defaults = _fields(type(value))  # type: ignore[arg-type]  # a class is hashable
    if defaults:
        values = ((name, getattr(value, name), default) for name, default in defaults)
        return {name: to_json(one) for name, one, default in values if one != default}
    return [to_json(item) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=64)
def _fields(kind: type) -> tuple[tuple[str, Any], ...]:
    """Return a dataclass's fields with their defaults (MISSING without one); empty for another type."""
    return tuple((each.name, each.default) for each in fields(kind)) if is_dataclass(kind) else ()


def from_json(kind: type[T], data: object) -> T | None:
    """Return the dataclass that `to_json` encoded; None if `data` is no object or lacks a field without default.

    Unknown keys are ignored, and a value of another type counts as missing.
    """
    value = _reader(kind)(data)  # type: ignore[arg-type]  # a class is hashable
    return None if value is _BAD else value


@lru_cache(maxsize=64)
def _reader(hint: Any) -> _Reader:
    """Return the reader of a type's JSON values, which returns _BAD for any other value."""
    if get_origin(hint) is UnionType:
        return _optional(_reader(get_args(hint)[0]))
    if get_origin(hint) is tuple:
        return _series(_reader(get_args(hint)[0]))
    if is_dataclass(hint) and isinstance(hint, type):
        return _record(hint)
    return _number if hint is float else _of_type(hint)


def _optional(inner: _Reader) -> _Reader:
    return lambda data: None if data is None else inner(data)


def _series(inner: _Reader) -> _Reader:
    def read(data: Any) -> Any:
        if not isinstance(data, list | tuple):
            return _BAD
        return tuple(value for item in data if (value := inner(item)) is not _BAD)

    return read


def _record(kind: type) -> _Reader:
    hints = get_type_hints(kind)
    readers = [(name, _reader(hints[name])) for name, _ in _fields(kind)]

    def read(data: Any) -> Any:
        if not isinstance(data, dict):
            return _BAD
        values = {}
        for name, reader in readers:
            if name in data and (value := reader(data[name])) is not _BAD:
                values[name] = value
        try:
            return kind(**values)
        except TypeError:
            return _BAD

    return read


def _number(data: Any) -> Any:
    if type(data) is float:
        return data
    try:
        return float(data) if type(data) is int else _BAD
    except OverflowError:
        return _BAD


def _of_type(kind: Any) -> _Reader:
    return lambda data: data if type(data) is kind else _BAD
