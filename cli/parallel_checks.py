"""Looking at several parts at once, with one deadline for all: a frozen part costs a status no more than an absent one."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds

PATIENCE: Seconds = 0.35
"""How long one part is waited for."""

_SPARE: Seconds = 0.05


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A part that cannot be reached: why, what mends it, and since when, as far as that is known."""

    reason: str
    hint: str = ""
    since: float | None = None


@dataclass(slots=True)
class _Look:
    """One look: what it saw, or why it saw nothing."""

    seen: Any = None
    away: Unreachable | None = None

    def take(self, look: Callable[[], Any]) -> None:
        try:
            seen, away = look(), None
        except FleetError as error:
            seen, away = None, Unreachable(error.message, error.hint)
        except Exception as error:  # noqa: BLE001  # whatever one part does, the others are shown
            seen, away = None, Unreachable(f"{type(error).__name__}: {error}")
        self.seen, self.away = seen, away


def look_at(
    parts: Mapping[str, Callable[[], Any]], *, within: Seconds = PATIENCE
) -> tuple[dict[str, Any], dict[str, Unreachable]]:
    """Return what each look saw (None if nothing), and which parts are away."""
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
