"""The language's one error: what is wrong with an expression, said for a person or a model to mend it."""

import difflib
from collections.abc import Iterable

from fleet.runtime.errors import FleetError


class ExpressionError(FleetError):
    """An expression cannot be read, or means nothing.

    `position` is the offset of the fault in the text (-1 if unknown); `line` and `column` count from 1 (0 if
    unknown). `hint` says what to do next. `written` is what a reply held here, where it came from one.
    """

    def __init__(
        self, message: str, position: int = -1, line: int = 0, column: int = 0, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.position = position
        self.line = line
        self.column = column
        self.written = ""

    def within(self, text: str) -> "ExpressionError":
        """Set line and column from the text that `position` counts in, and return itself."""
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
    """Return `did you mean …?` with the one to three known names nearest to a misspelt one, or nothing."""
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name[:64].lower(), by_lower, n=3, cutoff=0.7)
    return f"did you mean {' or '.join(by_lower[other] for other in near)}?" if near else ""
