"""The time stamps that the Engine puts before log lines, as whole nanoseconds. Pure.

Nanoseconds stay integers: a float of today's Unix time is 238 ns coarse, and lines are told apart by less.
"""

import re
from datetime import datetime
from functools import lru_cache

SECOND = 1_000_000_000

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def parse_stamp(stamp: bytes) -> int | None:
    """Return an RFC 3339 stamp as Unix nanoseconds, None for anything else."""
    match = _STAMP.fullmatch(stamp)
    if match is None:
        return None
    seconds = _seconds(match[1] + match[3].replace(b"Z", b"+00:00"))
    return None if seconds is None else seconds * SECOND + int((match[2] or b"0").ljust(9, b"0"))


@lru_cache(maxsize=4)  # a flood has many lines in a second
def _seconds(whole: bytes) -> int | None:
    try:
        return int(datetime.fromisoformat(whole.decode()).timestamp())
    except ValueError:
        return None  # a 31st of February


def to_query(nanoseconds: int) -> str:
    """Return the form that the Engine's `since` and `until` take exactly."""
    return f"{nanoseconds // SECOND}.{nanoseconds % SECOND:09}"
