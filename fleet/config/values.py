"""Kinds of configuration values: how a TOML value or an environment variable becomes a checked value.

A kind raises ValueError with the allowed values; the loader adds the key's path and the value.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, TypeVar

from fleet.runtime.units import Bytes, parse_duration, parse_size

T = TypeVar("T")


class ReasonedError(ValueError):
    """The fault of a value whose list of allowed values does not explain it."""


@dataclass(frozen=True, slots=True)
class ValueKind(Generic[T]):
    """A kind of value: its allowed values in words, and its readers of TOML and of a variable's text."""

    allowed: str
    from_toml: Callable[[object], T]
    from_text: Callable[[str], object] = str

    def read(self, value: object) -> T:
        """Return the checked value; raise ValueError with the allowed values."""
        try:
            return self.from_toml(value)
        except ReasonedError as error:
            raise ValueError(f"{self.allowed} ({error})") from None
        except (ValueError, TypeError, ArithmeticError):
            raise ValueError(self.allowed) from None

    def or_none(self) -> "ValueKind[T | None]":
        """Return this kind extended by None, for a key that is absent."""
        return ValueKind(
            self.allowed, lambda value: None if value is None else self.from_toml(value), self.from_text
        )


def key(
    default: object,
    kind: ValueKind[Any],
    *,
    secret: bool = False,
) -> Any:
    """Declare a key of a settings dataclass.

    `default` is written as in the file. A `secret` is never shown.
    """
    value = kind.read(default)
    metadata = {"kind": kind, "secret": secret}
    if isinstance(value, list):
        return field(default_factory=lambda: list(value), metadata=metadata)
    return field(default=value, metadata=metadata)


def _typed(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def whole(minimum: int, maximum: int | None = None) -> ValueKind[int]:
    """Return the kind of whole numbers from `minimum` to `maximum`."""

    def read(value: object) -> int:
        number = _typed(int, value)
        if number < minimum or (maximum is not None and number > maximum):
            raise ValueError
        return number

    span = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    return ValueKind(f"a whole number {span}", read, int)


def number(minimum: float, maximum: float) -> ValueKind[float]:
    """Return the kind of numbers from `minimum` to `maximum`."""

    def read(value: object) -> float:
        amount = (
            float(value) if isinstance(value, int) and not isinstance(value, bool) else _typed(float, value)
        )
        if not minimum <= amount <= maximum:
            raise ValueError
        return amount

    return ValueKind(f"a number from {minimum:g} to {maximum:g}", read, float)


def _flag_text(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        text.strip().lower()
    ]


def flag() -> ValueKind[bool]:
    """Return the kind of booleans."""
    return ValueKind("true or false", lambda value: _typed(bool, value), _flag_text)


def text(pattern: str = "", allowed: str = "text") -> ValueKind[str]:
    """Return the kind of one-line strings that match `pattern`, if one is given."""
    shape = re.compile(pattern) if pattern else None

    def read(value: object) -> str:
        string = _typed(str, value)
        if "\n" in string or "\0" in string or (shape is not None and shape.fullmatch(string) is None):
            raise ValueError
        return string

    return ValueKind(allowed, read)


def rule(check: Callable[[str], object], allowed: str) -> ValueKind[str]:
    """Return the kind of texts that `check` accepts; it raises ValueError with the reason for others."""

    def read(value: object) -> str:
        string = _typed(str, value)
        try:
            check(string)
        except ValueError as error:
            raise ReasonedError(str(error)) from None
        return string

    return ValueKind(allowed, read)


def day() -> ValueKind[date]:
    """Return the kind of dates: TOML's, or text in ISO form."""

    def read(value: object) -> date:
        if isinstance(value, str):
            return date.fromisoformat(value)
        found = _typed(date, value)
        if isinstance(found, datetime):
            raise TypeError
        return found

    return ValueKind("a date such as 2024-06-28", read)


def choice(*words: str) -> ValueKind[str]:
    """Return the kind of these words."""

    def read(value: object) -> str:
        word = _typed(str, value)
        if word not in words:
            raise ValueError
        return word

    return ValueKind(" or ".join((", ".join(f'"{word}"' for word in words[:-1]), f'"{words[-1]}"')), read)


def words(*known: str) -> ValueKind[list[str]]:
    """Return the kind of lists of these words, or of any words without arguments."""

    def read(value: object) -> list[str]:
        items = [_typed(str, item) for item in _typed(list, value)]
        if known and set(items) - set(known):
            raise ValueError
        return items

    allowed = f"a list of {', '.join(known)}" if known else "a list of strings"
    return ValueKind(
        allowed, read, lambda string: [part.strip() for part in string.split(",") if part.strip()]
    )


def addresses() -> ValueKind[list[str]]:
    """Return the kind of lists of addresses such as `ntfy://host/topic`; a variable separates them by spaces."""

    def read(value: object) -> list[str]:
        items = [_typed(str, item) for item in _typed(list, value)]
        if not all(re.fullmatch(r"[a-z][a-z0-9+]*://\S+", item, re.IGNORECASE) for item in items):
            raise ValueError
        return items

    return ValueKind(
        "a list of addresses such as ntfy://TOPIC or mailto://USER:PASSWORD@HOST", read, str.split
    )


def duration(minimum: float = 0.0, maximum: float = 366 * 86400.0) -> ValueKind[float]:
    """Return the kind of durations from `minimum` to `maximum` seconds."""

    def read(value: object) -> float:
        seconds = parse_duration(_typed(str, value))
        if not minimum <= seconds <= maximum:
            raise ValueError
        return seconds

    above = f" of at least {minimum:g}s" if minimum else ""
    return ValueKind(f'a duration{above} such as "30s", "10m" or "6h"', read)


def size() -> ValueKind[int]:
    """Return the kind of sizes, in bytes."""
    return ValueKind('a size such as "2.0 GB" or "637 MB"', lambda value: parse_size(_typed(str, value)))


@dataclass(frozen=True, slots=True)
class Reserve:
    """GPU memory that is left to others: bytes, or a `share` of the GPUs' total."""

    size: Bytes = 0
    share: float = 0.0

    def __bool__(self) -> bool:
        """Return True if anything is left to others."""
        return bool(self.size or self.share)

    def of(self, total: Bytes) -> Bytes:
        """Return the bytes of GPUs with this total."""
        return self.size + round(self.share * total)


_PERCENT = re.compile(r"(\d{1,2}(?:\.\d{1,9})?)\s?%")


def reserve() -> ValueKind[Reserve]:
    """Return the kind of reserves: a size, or percent below 100."""

    def read(value: object) -> Reserve:
        string = _typed(str, value).strip()
        percent = _PERCENT.fullmatch(string)
        return Reserve(share=float(percent[1]) / 100) if percent else Reserve(size=parse_size(string))

    return ValueKind('a size such as "1.5 GB", or a share of the GPU below 100% such as "20%"', read)
