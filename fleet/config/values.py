"""What one configuration key takes: how a TOML value or an environment variable becomes a checked value.

A kind raises ValueError with what is allowed; the loader adds the key's path and the value.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fleet.runtime.units import parse_duration, parse_size

T = TypeVar("T")


class ReasonedError(ValueError):
    """What is wrong with a value, where what is allowed does not say it all."""


@dataclass(frozen=True, slots=True)
class ValueKind(Generic[T]):
    """A kind of value: what it allows in words, how TOML's value is read and how text from outside is."""

    allowed: str
    from_toml: Callable[[object], T]
    from_text: Callable[[str], object] = str

    def read(self, value: object) -> T:
        """Return the checked value; raise ValueError(what is allowed)."""
        try:
            return self.from_toml(value)
        except ReasonedError as error:
            raise ValueError(f"{self.allowed} ({error})") from None
        except (ValueError, TypeError, ArithmeticError):
            raise ValueError(self.allowed) from None

    def or_none(self) -> "ValueKind[T | None]":
        """Return this kind with None, which stands for a key that is not given."""
        return ValueKind(
            self.allowed, lambda value: None if value is None else self.from_toml(value), self.from_text
        )


def key(
    default: object,
    kind: ValueKind[Any],
    *,
    secret: bool = False,
    later: bool = False,
) -> Any:
    """Declare a key of a settings dataclass.

    `default` is given as it would stand in the file. A `secret` is never shown. A key for `later` belongs to
    the file's format, and takes nothing but its default until what it controls is built.
    """
    value = kind.read(default)
    metadata = {"kind": kind, "secret": secret, "later": later}
    if isinstance(value, list):
        return field(default_factory=lambda: list(value), metadata=metadata)
    return field(default=value, metadata=metadata)


def _typed(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def whole(least: int, most: int | None = None) -> ValueKind[int]:
    """Return the kind of whole numbers from `least` to `most`."""

    def read(value: object) -> int:
        number = _typed(int, value)
        if number < least or (most is not None and number > most):
            raise ValueError
        return number

    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    return ValueKind(f"a whole number {span}", read, int)


def number(least: float, most: float) -> ValueKind[float]:
    """Return the kind of numbers from `least` to `most`."""

    def read(value: object) -> float:
        amount = (
            float(value) if isinstance(value, int) and not isinstance(value, bool) else _typed(float, value)
        )
        if not least <= amount <= most:
            raise ValueError
        return amount

    return ValueKind(f"a number from {least:g} to {most:g}", read, float)


def _flag_text(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        text.strip().lower()
    ]


def flag() -> ValueKind[bool]:
    """Return the kind of true and false."""
    return ValueKind("true or false", lambda value: _typed(bool, value), _flag_text)


def text(pattern: str = "", allowed: str = "text") -> ValueKind[str]:
    """Return the kind of one-line strings, of those that match `pattern` where one is given."""
    shape = re.compile(pattern) if pattern else None

    def read(value: object) -> str:
        string = _typed(str, value)
        if "\n" in string or "\0" in string or (shape is not None and shape.fullmatch(string) is None):
            raise ValueError
        return string

    return ValueKind(allowed, read)


def rule(check: Callable[[str], object], allowed: str) -> ValueKind[str]:
    """Return the kind of texts that `check` takes; the ValueError that it raises for others says why."""

    def read(value: object) -> str:
        string = _typed(str, value)
        try:
            check(string)
        except ValueError as error:
            raise ReasonedError(str(error)) from None
        return string

    return ValueKind(allowed, read)


def choice(*words: str) -> ValueKind[str]:
    """Return the kind of these words."""

    def read(value: object) -> str:
        word = _typed(str, value)
        if word not in words:
            raise ValueError
        return word

    return ValueKind(" or ".join((", ".join(f'"{word}"' for word in words[:-1]), f'"{words[-1]}"')), read)


def words(*known: str) -> ValueKind[list[str]]:
    """Return the kind of lists of these words, of any words if none are given."""

    def read(value: object) -> list[str]:
        items = [_typed(str, item) for item in _typed(list, value)]
        if known and set(items) - set(known):
            raise ValueError
        return items

    allowed = f"a list of {', '.join(known)}" if known else "a list of strings"
    return ValueKind(
        allowed, read, lambda string: [part.strip() for part in string.split(",") if part.strip()]
    )


def duration(least: float = 0.0, most: float = 366 * 86400.0) -> ValueKind[float]:
    """Return the kind of durations, as seconds."""

    def read(value: object) -> float:
        seconds = parse_duration(_typed(str, value))
        if not least <= seconds <= most:
            raise ValueError
        return seconds

    above = f" of at least {least:g}s" if least else ""
    return ValueKind(f'a duration{above} such as "30s", "10m" or "6h"', read)


def size() -> ValueKind[int]:
    """Return the kind of sizes, as bytes."""
    return ValueKind('a size such as "2.0 GB" or "637 MB"', lambda value: parse_size(_typed(str, value)))
