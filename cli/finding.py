"""What a check of `doctor` found."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How a check came out; only a fault makes `doctor` fail."""

    SOUND = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw, and what to do about it."""

    part: str
    health: Health
    detail: str
    hint: str = ""
