"""What is found wrong with a table: errors, which refuse it, and warnings, which come with the panel."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from generator.backtest.errors import PanelError

SHOWN = 5
"""How many places of one kind of fault are named; the rest is counted."""


@dataclass(slots=True)
class Faults:
    """Collects sentences; `errors` and `warnings` are in the order in which they were found."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def error(self, sentence: str, *, hint: str = "") -> None:
        """Add an error."""
        self.errors.append(sentence)
        if hint and hint not in self.hints:
            self.hints.append(hint)

    def warn(self, sentence: str) -> None:
        """Add a warning."""
        self.warnings.append(sentence)

    def errors_at(self, sentences: Iterable[str], count: int, what: str, *, hint: str = "") -> None:
        """Add the first few of `count` errors of a kind, and how many more there are."""
        for sentence in _first(sentences, count, what):
            self.error(sentence, hint=hint)

    def warnings_at(self, sentences: Iterable[str], count: int, what: str) -> None:
        """Add the first few of `count` warnings of a kind, and how many more there are."""
        for sentence in _first(sentences, count, what):
            self.warn(sentence)

    def raise_errors(self, path: Path) -> None:
        """Raise PanelError with all errors if there is any."""
        if not self.errors:
            return
        count = len(self.errors)
        head = f"{path}: " + (
            self.errors[0] if count == 1 else "\n  ".join([f"{count} things are wrong", *self.errors])
        )
        raise PanelError(head, problems=self.errors, hint=" ".join(self.hints))


def _first(sentences: Iterable[str], count: int, what: str) -> Iterable[str]:
    for number, sentence in enumerate(sentences):
        if number == SHOWN:
            break
        yield sentence
    if count > SHOWN:
        yield f"{count - SHOWN} more {what}"
