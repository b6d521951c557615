"""Clock as a dependency: wall time for stored times, monotonic time for waits; neither is derived from the other.

Also the times that a person names, in `--since` and `FLEET_SINCE`: an age such as `2h`, or a date.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Literal, Protocol

from fleet.runtime.errors import ConfigError
from fleet.runtime.units import parse_duration

_DATE_DIGITS = 8  # 20261125 is a date; a longer number is Unix seconds


class Clock(Protocol):
    """The clock of a loop; pure code takes `now` as a value instead."""

    def time(self) -> float:
        """Return Unix seconds (UTC); may step in either direction."""

    def monotonic(self) -> float:
        """Return seconds that never decrease; only differences have a meaning."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set or the seconds are over; return True if it is set."""


class SystemClock:
    """The system's clocks."""

    def time(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait on the event for at most `seconds`."""
        return event.wait(max(0.0, seconds))


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
