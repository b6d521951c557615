"""The error of every fault in an expression, with a message and a hint for people and models."""

import difflib
from collections.abc import Iterable

from fleet.runtime.errors import FleetError


class ExpressionError(FleetError):
    """An expression that cannot be read, is ill typed or is out of bounds.

    `position` is the offset of the fault in the text (-1 if unknown). `line` and `column` count from 1 (0 if unknown).
    `hint` says what to do next. `plain` is the message without any of the text that was read. Prompts show only
    `plain`, because a model's text is untrusted.
    """

    def __init__(self, message: str, position: int = -1, *, hint: str = "", plain: str = "") -> None:
        super().__init__(message, hint=hint)
        self.plain = plain or message
        self.position = position
        self.line = 0
        self.column = 0

    def within(self, text: str) -> "ExpressionError":
        """Set line and column by `position` in this text, and return the error."""
        if 0 <= self.position <= len(text):
            before = text[: self.position]
            self.line = before.count("\n") + 1
            self.column = self.position - before.rfind("\n")
        return self

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}: " if self.line else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `did you mean …?` with up to three known names nearest to a misspelt one; empty for none."""
    # Sorted, because sets have another order in each process.
    by_lower = {other.lower(): other for other in sorted(known, reverse=True)}
    near = difflib.get_close_matches(name[:64].lower(), by_lower, n=3, cutoff=0.7)
    return f"did you mean {' or '.join(by_lower[other] for other in near)}?" if near else ""


def unknown_field(name: str, known: Iterable[str], position: int = -1) -> ExpressionError:
    """Return the error for a field missing from the catalogue."""
    message = f"unknown field '{name[:64]}'"
    return ExpressionError(message, position, hint=suggestion(name, known), plain="unknown field")


def unknown_operator(name: str, position: int = -1, hint: str = "") -> ExpressionError:
    """Return the error for an operator missing from the catalogue."""
    return ExpressionError(f"unknown operator '{name[:64]}'", position, hint=hint, plain="unknown operator")


def unknown_argument(operator: str, name: str, position: int = -1, hint: str = "") -> ExpressionError:
    """Return the error for an argument name that the operator does not have."""
    plain = f"{operator} has no such argument"
    return ExpressionError(
        f"{operator} has no argument named '{name[:64]}'", position, hint=hint, plain=plain
    )
