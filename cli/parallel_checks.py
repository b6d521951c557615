"""Parallel checks of several parts under one deadline: a frozen part delays a status no more than an absent one."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds

PATIENCE: Seconds = 0.35
"""Longest wait for one part where a person waits for the view."""

LONG_PATIENCE: Seconds = 2.0
"""`PATIENCE` for `status --check` and for several lanes: on a busy machine a slow answer is no fault."""

_SPARE: Seconds = 0.05


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A part that cannot be reached: reason, remedy, and since when (Unix seconds) if known."""

    reason: str
    hint: str = ""
    since: float | None = None


@dataclass(slots=True)
class _Look:
    """One check in a thread: its result, or the reason for none."""

    seen: Any = None
    away: Unreachable | None = None

    def take(self, look: Callable[[], Any]) -> None:
        try:
            seen, away = look(), None
        except FleetError as error:
            seen, away = None, Unreachable(error.message, error.hint)
        except Exception as error:  # noqa: BLE001  # one failing part must not hide the others
            seen, away = None, Unreachable(f"{type(error).__name__}: {error}")
        self.seen, self.away = seen, away


def look_at(
    parts: Mapping[str, Callable[[], Any]], *, within: Seconds = PATIENCE
) -> tuple[dict[str, Any], dict[str, Unreachable]]:
    """Run the checks in threads; return their results (None if none) and the parts that are away."""
    looks = {name: _Look(away=Unreachable(f"no answer within {within:g}s")) for name in parts}
    threads = [
        threading.Thread(target=looks[name].take, args=(look,), daemon=True) for name, look in parts.items()
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + within + _SPARE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    found = {name: (look.seen, look.away) for name, look in looks.items()}
    return (
        {name: seen for name, (seen, _) in found.items()},
        {name: away for name, (_, away) in found.items() if away is not None},
    )
