"""Errors of the local backtest.

GeneratorError
├── PanelError          the panel cannot be loaded; `problems` lists every fault found
└── EvaluationError     one expression cannot be evaluated on this panel, with its position
"""

from collections.abc import Sequence

from fleet.runtime.errors import GeneratorError


class PanelError(GeneratorError):
    """The panel cannot be used. Each of `problems` is a sentence that names the row and column."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class EvaluationError(GeneratorError):
    """An expression cannot be evaluated on the panel. `position` is an offset into its text, -1 if unknown.

    A batch returns the error in place of the result: the other expressions are still evaluated.
    """

    def __init__(self, message: str, *, position: int = -1, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.position = position
