"""The history checker: what a fleet reported, held against what was printed into its log. Pure."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from fleet.policy.events import Event, EventKind


def told(events: Iterable[Event]) -> Counter[int]:
    """Return how often each incident stands in the history, by the millisecond of its line."""
    return Counter(round(event.fields["at"] * 1000) for event in events if event.kind is EventKind.INCIDENT)


def lost(events: Iterable[Event], printed: Collection[int]) -> list[int]:
    """Return the printed failures without an incident."""
    found = told(events)
    return [moment for moment in printed if moment not in found]


def faults(events: Sequence[Event], printed: Collection[int], *, cause: str = "allocation") -> list[str]:
    """Return what is wrong with a history, empty if nothing is.

    `printed` are the milliseconds of the failure lines in the log, each one incident of this cause that names no
    other model than the ladder's.
    """
    found = told(events)
    incidents = [event for event in events if event.kind is EventKind.INCIDENT]
    ids = Counter(event.fields["id"] for event in incidents)
    commits = [event for event in events if event.kind is EventKind.SWITCH_COMMITTED]
    numbers = [event.fields["number_of_switch"] for event in commits]
    rows: tuple[tuple[str, Sequence[object]], ...] = (
        ("incidents lost", lost(events, printed)),
        ("incidents doubled", [moment for moment, times in found.items() if times > 1]),
        ("incidents counted twice under one id", [name for name, times in ids.items() if times > 1]),
        ("incidents that no line was printed for", sorted(set(found) - set(printed))),
        (
            "incidents of a wrong cause",
            [event.fields["cause"] for event in incidents if event.fields["cause"] != cause],
        ),
        ("events out of number", _gaps([event.number for event in events])),
        ("switches out of number", _gaps(numbers)),
        ("counts beyond what was counted", _wrong_counts(events)),
    )
    return [f"{len(wrong)} {text}: {list(wrong)[:5]}" for text, wrong in rows if wrong]


def _gaps(numbers: Sequence[int]) -> list[int]:
    """Return the numbers that do not follow the one before."""
    return [after for before, after in itertools.pairwise(numbers) if after != before + 1]


def _wrong_counts(events: Iterable[Event]) -> list[int]:
    """Return the numbers of incidents whose count is higher than the incidents since the last commit or hold."""
    wrong, counted = [], 0
    for event in events:
        if event.kind in {EventKind.SWITCH_COMMITTED, EventKind.HELD}:
            counted = 0
        elif event.kind is EventKind.INCIDENT and event.fields["counted"]:
            counted += 1
            if event.fields["errors"] > counted:
                wrong.append(event.number)
    return wrong
