"""The notifier's loop: reads new events, checks the fleet, stores notices, delivers them."""

import logging
import queue
import shutil
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import requests

from cli.status import collect_status
from cli.target import Fleet
from fleet.clients.notices import NoticePlace
from fleet.policy.events import Event
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds, show_size
from notifier.notices import Notice, NoticeLedger, after_event, after_look, conditions, wanted
from notifier.outbox import NoticeBox, NoticeDelivery, read_outbox, write_outbox
from state.codec import default_state
from state.history import read_history
from state.store import read_state

_log = logging.getLogger(__name__)
_RECENT = 200
_PING_TIMEOUT: Seconds = 10.0
_POLL: Seconds = 0.5
"""Interval at which the history's size is checked."""
_LOOK: Seconds = 60.0
"""Interval of checks of the fleet without events, and while a condition is open."""
_LOOK_WHILE_OPEN: Seconds = 10.0
_STEP: Seconds = 10.0
"""A larger step of the wall clock makes heartbeats look late: a machine that wakes up, or a clock that is set."""
PING_EVERY: Seconds = 300.0
_FULL = 64 * 1024**2
"""Free space below which the home's disk counts as full: the state and its copy no longer fit for long."""


class Notifier:
    """Delivers notices about one fleet or lane; `wake` causes a check at once.

    `peers` are the notifiers of all lanes, this one included. The leading lane requests the ping address for all of
    them.
    """

    def __init__(
        self, fleet: Fleet, places: Sequence[NoticePlace], peers: "Sequence[Notifier] | None" = None
    ) -> None:
        self._fleet = fleet
        self._peers = peers if peers is not None else [self]
        self.well = False
        """True if the last check found no fault."""
        self._places = {place.key: place for place in places}
        self._on, self._ping_url = fleet.settings.notify.on, fleet.settings.notify.ping_url
        self._path = fleet.home.notices_file
        self._host = socket.gethostname()
        self._woken = threading.Event()
        self._results: queue.SimpleQueue[tuple[NoticeDelivery, str]] = queue.SimpleQueue()
        self._busy: set[str] = set()
        self._seen: tuple[int, int] | None = None
        self._looked = self._pinged = self._steady = float("-inf")
        self._offset = time.time() - time.monotonic()
        stored = read_outbox(self._path) or NoticeBox(NoticeLedger(cursor=self._past()))
        self._box = self._stored = stored.for_places(list(self._places))

    def wake(self) -> None:
        """Make the loop check the fleet now."""
        self._looked = float("-inf")
        self._woken.set()

    def run(self) -> None:
        """Deliver notices until the process ends."""
        with ThreadPoolExecutor(max_workers=len(self._places) + 1) as pool:
            while True:
                try:
                    self.step(pool)
                except Exception:  # no failure of one round may end the notices  # noqa: BLE001
                    _log.exception("notifier.failed")
                    self._seen = None  # the events of this round are read again
                self._woken.wait(_POLL)
                self._woken.clear()

    def step(self, pool: ThreadPoolExecutor) -> None:
        """Do one round: events, a due check, the results of deliveries, and the due deliveries."""
        now, monotonic = time.time(), time.monotonic()
        if abs(now - monotonic - self._offset) > _STEP:
            # Each program has the time to write a new heartbeat.
            self._steady = monotonic + max(_LOOK, 2 * self._fleet.settings.policy.check_interval)
        self._offset = now - monotonic
        box = self._after_events(self._box)
        interval = _LOOK_WHILE_OPEN if box.ledger.open else _LOOK
        due = box is not self._box or monotonic - self._looked >= interval
        if due and monotonic >= self._steady:
            try:
                box = self._after_look(box, now, pool)
            except Exception:  # a look that fails holds up no notice of an event  # noqa: BLE001
                self.well = False  # what cannot be looked at is not known to be well
                _log.exception("look.failed")
        while not self._results.empty():
            sent, reason = self._results.get()
            self._busy.discard(sent.place)
            box = box.after(sent, reason, now)
            event = "notice.failed" if reason else "notice.delivered"
            _log.info(event, extra=fields(id=sent.notice.id, place=sent.name, reason=reason or None))
        self._store(box)
        for one in self._box.due(now, list(self._busy)):
            self._busy.add(one.place)
            pool.submit(self._deliver, one)

    def _past(self) -> int:
        """Return the number of the last event before the fleet's start: a first notifier does not report the past."""
        began = self._fleet.started.started if self._fleet.started else time.time()
        return max(
            (event.number for event in read_history(self._fleet.home.history) if event.time < began),
            default=0,
        )

    def _after_events(self, box: NoticeBox) -> NoticeBox:
        for event in self._new_events(box.ledger.cursor):
            ledger, notices = after_event(box.ledger, event)
            box = self._with(replace(box, ledger=ledger), notices)
        return box

    def _new_events(self, cursor: int) -> list[Event]:
        """Return the events after the cursor; the files are read only after they have changed."""
        path = self._fleet.home.history
        try:
            status = path.stat()
        except OSError:
            return []
        version = status.st_ino, status.st_size
        if version == self._seen:
            return []
        self._seen = version
        events = read_history(path, _RECENT)
        if events and events[0].number > cursor + 1:
            events = read_history(path)
        return [event for event in events if event.number > cursor]

    def _after_look(self, box: NoticeBox, now: float, pool: ThreadPoolExecutor) -> NoticeBox:
        self._looked = time.monotonic()
        # An unreadable state ends no condition: the check fails, and the next one tries again.
        state = read_state(self._fleet.home) or default_state(self._fleet.settings.ladder, now)
        row = collect_status(self._fleet)
        ledger, notices = after_look(box.ledger, conditions(state, row, self._full_disk()), now)
        self.well = not row["faults"]
        all_well = self._fleet.leads and all(one.well for one in self._peers)
        if self._ping_url and all_well and self._looked - self._pinged >= PING_EVERY:
            self._pinged = self._looked
            pool.submit(_ping, self._ping_url)
        return self._with(replace(box, ledger=ledger), notices)

    def _with(self, box: NoticeBox, notices: Sequence[Notice]) -> NoticeBox:
        lane = self._fleet.home.lane
        kept = [notice.of_lane(lane) for notice in notices if wanted(notice, self._on)]
        return box.with_notices(kept, [(key, place.name) for key, place in self._places.items()])

    def _full_disk(self) -> str:
        if not self._fleet.leads:
            return ""
        free = shutil.disk_usage(self._fleet.home.path).free
        return f"{show_size(free)} are free in {self._fleet.home.path}" if free < _FULL else ""

    def _store(self, box: NoticeBox) -> None:
        """Store the outbox. A disk that refuses the write delays no notice; a later round stores the outbox."""
        if box is self._stored:
            return
        self._box = box
        try:
            write_outbox(self._path, box)
            self._stored = box
        except OSError as error:
            _log.warning("notices.unsaved", extra=fields(reason=error.strerror))

    def _deliver(self, one: NoticeDelivery) -> None:
        place = self._places[one.place]
        try:
            reason = place.deliver(one.notice.row(self._host), one.notice.body())
        except Exception as error:  # a plugin of Apprise's may raise anything  # noqa: BLE001
            reason = f"{type(error).__name__} in its delivery"
        self._results.put((one, reason))
        self._woken.set()  # the place's next notice need not wait for the next round


def _ping(url: str) -> None:
    """Request the address once; its service reports a failure as silence."""
    try:
        requests.get(url, timeout=_PING_TIMEOUT).close()
    except requests.RequestException as error:
        _log.warning("ping.failed", extra=fields(reason=type(error).__name__))
