"""What can go wrong with BRAIN, told apart by what has to happen next.

BrainError
├── BrainAwayError      it cannot be reached or fails: ask again later; `sent`: the request may have arrived
├── BrainLimitError     too many at a time, or too often: wait, with fewer
│   └── BrainQuotaError     the day's simulations are used up
├── BrainAccessError    the credentials are missing or refused: a person has to mend them
│   └── PersonaError        the account asks for a face or a finger: a person has to open `url`
├── BrainRefusedError   this very request is wrong; `problems` says where
└── BrainGoneError      there is nothing at this address (any more)
"""

from collections.abc import Mapping

from fleet.runtime.errors import GeneratorError
from fleet.runtime.units import Seconds


class BrainError(GeneratorError):
    """BRAIN answered with an error; `wait` is how long it asked for, None if it did not say."""

    def __init__(self, message: str, *, wait: Seconds | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.wait = wait


class BrainAwayError(BrainError):
    """BRAIN cannot be reached, or fails; `sent` tells whether the request may have arrived all the same."""

    def __init__(self, message: str, *, wait: Seconds | None = None, sent: bool = True) -> None:
        super().__init__(message, wait=wait, hint="It is asked again by itself.")
        self.sent = sent


class BrainLimitError(BrainError):
    """Too many simulations at a time (`slots`), or else too many requests."""

    def __init__(self, message: str, *, wait: Seconds | None = None, slots: bool = False) -> None:
        super().__init__(message, wait=wait)
        self.slots = slots


class BrainQuotaError(BrainLimitError):
    """The account's simulations of the day are used up."""


class BrainAccessError(BrainError):
    """The credentials are missing, cannot be read, or are refused."""


class BrainDeniedError(BrainAccessError):
    """BRAIN knows who asks, and does not allow it."""


class PersonaError(BrainAccessError):
    """The account asks for a biometric sign-in; it goes on once somebody has opened `url`."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"BRAIN asks for a biometric sign-in: open {url} in a browser",
            hint="Mining goes on by itself once that is done.",
        )
        self.url = url


class BrainRefusedError(BrainError):
    """The request itself is wrong: `problems` are BRAIN's own words by the field they are about."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        said = "; ".join(f"{field}: {text}" if field else text for field, text in self.problems.items())
        super().__init__(f"BRAIN refuses the request: {said}", hint="Check [brain] in fleet.toml.")

    @property
    def expression(self) -> str:
        """Return what BRAIN says of the expression, nothing where it is not the expression's fault."""
        own = {field for field in self.problems if field.split(".")[0] == "regular"}
        return "; ".join(self.problems.values()) if own and own == set(self.problems) else ""


class BrainGoneError(BrainError):
    """There is nothing at this address, or nothing any more."""
