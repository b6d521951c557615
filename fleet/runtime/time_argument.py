"""`--since`: a moment as people name it, a while ago (`2h`) or a date with or without a time."""

from datetime import UTC, datetime
from typing import Literal

from fleet.runtime.errors import ConfigError
from fleet.runtime.units import parse_duration

_YEAR = 8  # as many digits may be a date: 20261125


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


def parse_beginning(text: str | None, now: float) -> "float | Literal['start'] | None":
    """Return where a first start begins to read the log, as `FLEET_SINCE` says it; raise ConfigError.

    A moment as above, Unix seconds, `start` for all that there is; None (empty) skips the past.
    """
    text = (text or "").strip()
    if text in {"", "start"}:
        return "start" if text else None
    try:
        return (
            float(text)
            if text.replace(".", "", 1).isdigit() and len(text) > _YEAR
            else parse_since(text, now)
        )
    except ConfigError as error:
        raise ConfigError(
            f"the log cannot be read since {text!r}", hint=f'{error.hint} Or "start" for all of it.'
        ) from error
