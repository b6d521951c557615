"""`history`: the events of a fleet that a person asked for."""

from collections.abc import Sequence
from pathlib import Path

from fleet.policy.events import Event, EventKind
from fleet.runtime.errors import ConfigError
from fleet.runtime.time_argument import parse_since
from state.history import read_history


def select(path: Path, *, last: int, kinds: Sequence[str], since: str | None, now: float) -> list[Event]:
    """Return the last events of these kinds from a moment on, oldest first; raise ConfigError for what is neither.

    A kind may be named by its first part: `switch` means all of a switch.
    """
    wanted = {kind for name in kinds for kind in kinds_called(name)}
    first = parse_since(since, now) if since else None
    if not wanted and first is None:
        return read_history(path, last)
    return [
        event
        for event in read_history(path)
        if (not wanted or event.kind in wanted) and (first is None or event.time >= first)
    ][-last:]


def kinds_called(name: str) -> list[EventKind]:
    """Return the kinds that a name means; raise ConfigError if there are none."""
    found = [kind for kind in EventKind if name in {kind.value, kind.value.partition(".")[0]}]
    if not found:
        known = ", ".join(dict.fromkeys(kind.value.partition(".")[0] for kind in EventKind))
        raise ConfigError(
            f"there is no kind of event {name!r}", hint=f"Known are {known}, and their full names."
        )
    return found
