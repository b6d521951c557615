"""What the local backtest reports as wrong.

GeneratorError
├── PanelError          the panel cannot be loaded; `problems` holds every fault found
└── EvaluationError     one expression cannot be evaluated on this panel, with its position
"""

from collections.abc import Sequence

from fleet.runtime.errors import GeneratorError


class PanelError(GeneratorError):
    """A panel cannot be used as it is; `problems` are whole sentences, each naming row and column."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class EvaluationError(GeneratorError):
    """An expression makes no sense on the panel; `position` is an offset into its text, -1 if unknown.

    It is also handed back as a value where a batch is evaluated, so that one bad expression costs only itself.
    """

    def __init__(self, message: str, *, position: int = -1, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.position = position
