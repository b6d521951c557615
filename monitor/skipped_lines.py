"""Skips lines that raise: an unforeseen line is lost by itself and never ends the monitor. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fleet.policy.events import EventKind
from fleet.policy.state import FleetState, Skipped
from fleet.runtime.untrusted import printable
from monitor.ingest import Context, absorb_batch
from monitor.sources.base import LogLine
from state.codec import encode_state

Absorb = Callable[[FleetState, str, Sequence[LogLine], Context], FleetState]
"""A function of state, origin, lines and context that returns the next state."""


def absorb_each(
    state: FleetState, origin: str, lines: Sequence[LogLine], context: Context, *, source: str
) -> FleetState:
    """Return the state after lines, absorbed one by one; a line that raises is skipped and counted.

    A line after which the state cannot be encoded counts as raising.
    """
    faults: list[tuple[LogLine, Exception]] = []
    for line in lines:
        try:
            after = absorb_batch(state, origin, (line,), context)
            encode_state(after, context.now)
        except Exception as error:  # noqa: BLE001  # any fault: the next line must still be read
            faults.append((line, error))
        else:
            state = after
    return _with_skipped(state, faults, source, context.now) if faults else state


def _with_skipped(
    state: FleetState, faults: list[tuple[LogLine, Exception]], source: str, now: float
) -> FleetState:
    """Count the lines and emit one event with the first: a flood of bad lines is no flood of events."""
    line, error = faults[0]
    count = len(faults) + (state.skipped.count if state.skipped else 0)
    reason = printable(f"{type(error).__name__}: {error}")
    return replace(state, skipped=Skipped(count, now)).with_event(
        now, EventKind.LINE_SKIPPED, source=source, lines=len(faults), error=reason, line=printable(line.text)
    )
