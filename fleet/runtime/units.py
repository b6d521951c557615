"""Units: durations such as `"30s"`, `"10m"`, `"6h"`, `"7d"`, and sizes such as `"2.0 GB"`, `"637 MB"`.

Sizes are binary, as in the original: 1 GB is 1024 MB, 1 MB is 1024 KB. `GiB` means `GB`.
"""

import math
import re
import time
from typing import Annotated, TypeAlias

from fleet.runtime.untrusted import LARGEST, LATEST

Seconds: TypeAlias = float
Bytes: TypeAlias = int
Count: TypeAlias = Annotated[int, "not negative"]

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EXPONENT: dict[str, int] = {"B": 0, "K": 1, "M": 2, "G": 3, "T": 4}
KILOBYTE = 1024
MEGABYTE = 1024**2
GIGABYTE = 1024**3


def parse_duration(text: str) -> Seconds:
    """Return a duration in seconds; raise ValueError if `text` is none."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        message = f"not a duration: {text!r}"
        raise ValueError(message)
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> Bytes:
    """Return a size in bytes; raise ValueError if `text` is none, or beyond `LARGEST`."""
    match = _SIZE.fullmatch(text.strip())
    size = float(match[1]) * float(KILOBYTE) ** _EXPONENT[match[2][0].upper()] if match else math.inf
    if size > LARGEST:
        message = f"not a size: {text!r}"
        raise ValueError(message)
    return round(size)


def show_duration(seconds: Seconds) -> str:
    """Return the two largest units of a duration: `"1h 5m"`, `"12s"`, `"0.4s"`."""
    if seconds < 1:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, whole = divmod(whole, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def show_moment(moment: float) -> str:
    """Return a time (Unix seconds) by the machine's clock: `"Fri 2026-11-27 23:30"`."""
    return time.strftime("%a %Y-%m-%d %H:%M", time.localtime(min(moment, LATEST)))


def show_size(size: Bytes) -> str:
    """Return a size in its largest unit: `"2.0 GB"`, `"637 MB"`."""
    if size >= GIGABYTE:
        return f"{size / GIGABYTE:.1f} GB"
    if size >= MEGABYTE:
        return f"{size / MEGABYTE:.0f} MB"
    return f"{size / KILOBYTE:.0f} KB" if size >= KILOBYTE else f"{size} B"
