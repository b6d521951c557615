"""Errors of the database's writer; without SQLAlchemy, so that every thread can import them at once."""

from fleet.runtime.errors import GeneratorError


class StorageError(GeneratorError):
    """The database fails at present; `full` means that its disk is full."""

    def __init__(self, message: str, *, full: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.full = full


class RefusedRowError(GeneratorError):
    """The database refuses a value of a row, such as an integer out of its range. It would refuse it at each retry."""
