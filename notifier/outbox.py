"""The outbox, `notices.json`: the ledger of reported conditions, and the undelivered notices. Pure but for the file.

A notice is stored before it is sent, and removed after. A kill between the two sends a copy with the same id.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.backoff import doubling_backoff
from fleet.runtime.home import read_json
from fleet.runtime.units import Seconds
from notifier.notices import Notice, NoticeLedger
from state.codec import from_json

RETRIED_FOR: Seconds = 86400.0
_FIRST_WAIT: Seconds = 5.0
_LONGEST_WAIT: Seconds = 900.0
_MOST_WAITING = 1000
_MOST_LOST = 20


@dataclass(frozen=True, slots=True)
class NoticeDelivery:
    """A notice for one place, given by key and name; `due` is the time of the next try."""

    place: str
    name: str
    notice: Notice
    due: float = 0.0
    tries: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NoticeBox:
    """The ledger, the deliveries to come, and the last ones that were given up."""

    ledger: NoticeLedger = field(default_factory=NoticeLedger)
    waiting: tuple[NoticeDelivery, ...] = ()
    lost: tuple[NoticeDelivery, ...] = ()

    def with_notices(self, notices: Sequence[Notice], places: Sequence[tuple[str, str]]) -> "NoticeBox":
        """Return the outbox with these notices for each place, given by key and name."""
        new = [NoticeDelivery(key, name, notice) for notice in notices for key, name in places]
        waiting = (*self.waiting, *new)
        over = len(waiting) - _MOST_WAITING
        return self._without_oldest(waiting, over) if over > 0 else replace(self, waiting=waiting)

    def _without_oldest(self, waiting: tuple[NoticeDelivery, ...], over: int) -> "NoticeBox":
        lost = (*self.lost, *waiting[:over])[-_MOST_LOST:]
        return replace(self, waiting=waiting[over:], lost=lost)

    def due(self, now: float, busy: Sequence[str]) -> list[NoticeDelivery]:
        """Return the next due delivery of each place that is not busy; each place keeps its order.

        A time further ahead than any wait comes from a clock that was set back since, and counts as due.
        """
        first: dict[str, NoticeDelivery] = {}
        for one in self.waiting:
            first.setdefault(one.place, one)
        return [
            one
            for place, one in first.items()
            if place not in busy and not now < one.due <= now + _LONGEST_WAIT
        ]

    def after(self, sent: NoticeDelivery, reason: str, now: float) -> "NoticeBox":
        """Return the outbox after a try; an empty `reason` is a delivery. A notice is tried for a day."""
        rest = tuple(one for one in self.waiting if one != sent)
        if not reason:
            return replace(self, waiting=rest)
        tries = sent.tries + 1
        due = now + doubling_backoff(_FIRST_WAIT, tries, most=_LONGEST_WAIT)
        failed = replace(sent, tries=tries, due=due, reason=reason)
        if now - sent.notice.time >= RETRIED_FOR:
            return replace(self, waiting=rest, lost=(*self.lost, failed)[-_MOST_LOST:])
        return replace(self, waiting=tuple(failed if one == sent else one for one in self.waiting))

    def for_places(self, keys: Sequence[str]) -> "NoticeBox":
        """Return the outbox without deliveries to places that are no longer configured."""
        return replace(self, waiting=tuple(one for one in self.waiting if one.place in keys))


def read_outbox(path: Path) -> NoticeBox | None:
    """Return the stored outbox, None if there is none or it is damaged."""
    row = read_json(path)
    return None if row is None else from_json(NoticeBox, row)


def write_outbox(path: Path, outbox: NoticeBox) -> None:
    """Store the outbox so that it survives a power cut; raise OSError."""
    replace_text(path, json.dumps(asdict(outbox)) + "\n", durable=True)
