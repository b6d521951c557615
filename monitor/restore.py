"""Frozen dataclasses to JSON and back, field by field, forgiving what is unknown, missing or damaged."""

from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def kept(value: Any) -> Any:
    """Return a dataclass as JSON values, equal to what a file gives back: objects, and lists for tuples."""
    if is_dataclass(value):
        return {each.name: kept(getattr(value, each.name)) for each in fields(value)}
    return [kept(item) for item in value] if isinstance(value, tuple) else value


def restored(kind: type[T], data: object) -> T | None:
    """Read a dataclass that `kept` made JSON of; None if it is no object or lacks a field without default.

    Unknown keys are passed over, and a value of another type counts as missing.
    """
    if not isinstance(data, dict):
        return None
    hints = _hints(kind)  # type: ignore[arg-type]  # a class is hashable; its type variable hides it
    values: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]  # only called with dataclasses
        if each.name in data:
            good, value = _value(hints[each.name], data[each.name])
            if good:
                values[each.name] = value
    try:
        return kind(**values)
    except TypeError:
        return None


@lru_cache(maxsize=32)  # looking them up is most of the work of reading a state
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, data: object) -> tuple[bool, Any]:
    """Return whether the value is of the hinted type, and the value."""
    if get_origin(hint) is UnionType:
        return (True, None) if data is None else _value(get_args(hint)[0], data)
    if get_origin(hint) is tuple:
        if not isinstance(data, list | tuple):
            return False, None
        read = [_value(get_args(hint)[0], item) for item in data]
        return True, tuple(value for good, value in read if good)
    if is_dataclass(hint):
        value = restored(hint if isinstance(hint, type) else type(hint), data)
        return value is not None, value
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return True, float(data)
    return type(data) is hint, data
