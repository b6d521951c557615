"""Collected faults of a table: errors, which refuse it, and warnings, which the panel carries."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from generator.backtest.errors import PanelError

MAX_SHOWN = 5
"""Faults of one kind that are listed; the rest is counted."""


@dataclass(slots=True)
class Faults:
    """Collects sentences; `errors` and `warnings` are in the order of discovery."""

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

    def errors_at(self, sentences: Iterable[str], count: int, kind: str, *, hint: str = "") -> None:
        """Add the first of `count` errors of a kind, and the number of the rest, described by `kind`."""
        for sentence in _first(sentences, count, kind):
            self.error(sentence, hint=hint)

    def warnings_at(self, sentences: Iterable[str], count: int, kind: str) -> None:
        """Add the first of `count` warnings of a kind, and the number of the rest, described by `kind`."""
        for sentence in _first(sentences, count, kind):
            self.warn(sentence)

    def raise_errors(self, path: Path) -> None:
        """Raise PanelError with all errors, if any."""
        if not self.errors:
            return
        count = len(self.errors)
        head = f"{path}: " + (
            self.errors[0] if count == 1 else "\n  ".join([f"{count} faults", *self.errors])
        )
        raise PanelError(head, problems=self.errors, hint=" ".join(self.hints))


def _first(sentences: Iterable[str], count: int, kind: str) -> Iterable[str]:
    for number, sentence in enumerate(sentences):
        if number == MAX_SHOWN:
            break
        yield sentence
    if count > MAX_SHOWN:
        yield f"{count - MAX_SHOWN} more {kind}"
