"""Settings of a stand-in BRAIN: its account, its limits, the length of a simulation."""

from dataclasses import dataclass

from fleet.runtime.units import Seconds


@dataclass(frozen=True, slots=True)
class BrainStandinSettings:
    """One account. `seconds` is a simulation's length, `retry_after` the wait that clients are asked for."""

    email: str = "someone@example.com"
    password: str = "standin"  # noqa: S105  # an invented account
    seconds: Seconds = 0.5
    retry_after: Seconds = 0.1
    slots: int = 3
    quota: int = 0
    """Simulations a day, 0 for no bound."""
    several: bool = False
    """The account may send multi-simulations."""
    cancels_siblings: bool = False
    """A failing child of a multi-simulation cancels those beside it."""
    persona: bool = False
    """The account asks for a biometric sign-in."""
    session: Seconds = 14400.0
    limit_status: int = 429
    """The status of too many simulations at a time: 429, of old 400."""
    most_wrong: int = 5
    """Wrong passwords before the account is locked."""
