"""Errors of BRAIN, by the reaction that they need.

BrainError
├── BrainAwayError      unreachable or failing: try again later; `sent`: the request may have arrived
├── BrainLimitError     too many simulations or requests: wait, then send fewer
│   └── BrainQuotaError     the day's simulations are used up
├── BrainAccessError    credentials missing or refused: a person has to correct them
│   ├── BrainDeniedError    signed in, but not allowed
│   └── PersonaError        biometric sign-in required: a person has to open `url`
├── BrainRefusedError   the request itself is wrong; `problems` says where
└── BrainGoneError      nothing at this address, or not any more
"""

from collections.abc import Mapping

from fleet.runtime.errors import GeneratorError
from fleet.runtime.units import Seconds


class BrainError(GeneratorError):
    """BRAIN answered with an error; `wait` is the wait that BRAIN asks for, None without one."""

    def __init__(self, message: str, *, wait: Seconds | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.wait = wait


class BrainAwayError(BrainError):
    """BRAIN is unreachable or fails; `sent` means that the request may have arrived."""

    def __init__(self, message: str, *, wait: Seconds | None = None, sent: bool = True) -> None:
        super().__init__(message, wait=wait, hint="It is retried automatically.")
        self.sent = sent


class BrainLimitError(BrainError):
    """Too many simulations at a time if `slots`, else too many requests."""

    def __init__(self, message: str, *, wait: Seconds | None = None, slots: bool = False) -> None:
        super().__init__(message, wait=wait)
        self.slots = slots


class BrainQuotaError(BrainLimitError):
    """The account's simulations of the day are used up."""


class BrainAccessError(BrainError):
    """The credentials are missing, cannot be read, or are refused."""


class BrainDeniedError(BrainAccessError):
    """The session is signed in, but BRAIN does not allow the request."""


class PersonaError(BrainAccessError):
    """The account requires a biometric sign-in: a person has to open `url`."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"BRAIN asks for a biometric sign-in: open {url} in a browser",
            hint="Mining resumes afterwards by itself.",
        )
        self.url = url


class BrainRefusedError(BrainError):
    """The request is wrong: `problems` maps fields to BRAIN's messages."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        details = "; ".join(f"{field}: {text}" if field else text for field, text in self.problems.items())
        super().__init__(f"BRAIN refuses the request: {details}", hint="Check [brain] in fleet.toml.")

    @property
    def expression(self) -> str:
        """Return BRAIN's message about the expression, empty if the fault is elsewhere."""
        own = {field for field in self.problems if field.split(".")[0] == "regular"}
        return "; ".join(self.problems.values()) if own and own == set(self.problems) else ""


class BrainGoneError(BrainError):
    """Nothing is at this address, or not any more."""
