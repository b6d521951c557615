"""`--since`: a moment as people name it, a while ago (`2h`) or a date with or without a time."""

from datetime import UTC, datetime

from fleet.errors import ConfigError
from fleet.units import parse_duration


def parse_since(text: str, now: float) -> float:
    """Return the Unix seconds of a moment; raise ConfigError if it is none. A date without a zone is in UTC."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no time",
            hint='Write a while ago ("2h", "7d") or a date ("2026-11-25", "2026-11-25T22:00").',
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
