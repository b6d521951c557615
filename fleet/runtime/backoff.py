"""Waits before the next try, longer with each failure in a row. Pure."""

from collections.abc import Sequence

from fleet.runtime.units import Seconds

# Doubling ends here: a float overflows at 2 ** 1024.
_MOST_DOUBLINGS = 16


def backoff_step(steps: Sequence[Seconds], failures: int) -> Seconds:
    """Return the wait after this many failures in a row (from 1): that step, or else the last one."""
    return steps[min(failures, len(steps)) - 1]


def doubling_backoff(first: Seconds, failures: int, *, most: Seconds) -> Seconds:
    """Return the wait after this many failures in a row (from 1). It begins with `first` and doubles up to `most`."""
    return min(first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), most)
