"""Values of `--since` and `FLEET_SINCE`: an age such as `2h`, or a date with or without a time."""

from datetime import UTC, datetime
from typing import Literal

from fleet.runtime.errors import ConfigError
from fleet.runtime.units import parse_duration

_DATE_DIGITS = 8  # 20261125 is a date; a longer number is Unix seconds


def parse_since(text: str, now: float) -> float:
    """Return Unix seconds; raise ConfigError for a text that is no time. A date without a zone is in UTC."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no time",
            hint='Write an age ("2h", "7d") or a date ("2026-11-25", "2026-11-25T22:00").',
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_beginning(text: str | None, now: float) -> "float | Literal['start'] | None":
    """Return where a first start begins to read the log, by `FLEET_SINCE`; raise ConfigError.

    The text is a time as above, Unix seconds, or `start` for the whole log. Return None for an empty text: the past is
    skipped.
    """
    text = (text or "").strip()
    if text in {"", "start"}:
        return "start" if text else None
    try:
        return (
            float(text)
            if text.replace(".", "", 1).isdigit() and len(text) > _DATE_DIGITS
            else parse_since(text, now)
        )
    except ConfigError as error:
        raise ConfigError(
            f"the log cannot be read since {text!r}", hint=f'{error.hint} Or "start" for all of it.'
        ) from error
