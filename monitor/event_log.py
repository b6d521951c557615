"""The event log: each new event of the history becomes a log line with a sentence for people.

The history is read, and not the state, because it also holds the events of the command line.
"""

import contextlib
import logging

from fleet.policy.events import Event, EventKind, sentence
from fleet.runtime.home import Home
from fleet.runtime.logging import with_sentence
from state.history import HistoryFile, read_history

_log = logging.getLogger(__name__)
_LEVELS = {
    EventKind.INCIDENT: logging.WARNING,
    EventKind.HELD: logging.WARNING,
    EventKind.SPILL: logging.WARNING,
    EventKind.LINE_SKIPPED: logging.ERROR,
    EventKind.SWITCH_FAILED: logging.ERROR,
    EventKind.GENERATOR_DOWN: logging.ERROR,
    EventKind.GENERATOR_HUNG: logging.ERROR,
    EventKind.GPU_LOST: logging.ERROR,
    EventKind.OLLAMA_HANGS: logging.ERROR,
    EventKind.ON_HANG: logging.WARNING,
    EventKind.UNANSWERED: logging.ERROR,
    EventKind.SLOW: logging.WARNING,
    EventKind.STATE_REPAIRED: logging.ERROR,
}


class EventLog:
    """Logs each event of the history once, beginning with the first one after its creation.

    Where the history cannot be read then, it begins with the first one after that.
    """

    def __init__(self, home: Home) -> None:
        self._path = home.history
        self._history = HistoryFile(home.history)
        self._last: int | None = None
        with contextlib.suppress(OSError):
            self._last = self._history.last_number()

    def log_new(self) -> None:
        """Log the events since the last call. The store logs an unreadable history, whose events wait."""
        with contextlib.suppress(OSError):
            newest = self._history.last_number()
            if self._last is None:
                self._last = newest
            # Read only as much of its end as is new: a long history must not delay a switch.
            for event in read_history(self._path, max(newest - self._last, 0)):
                if event.number > self._last:
                    self._last = event.number
                    _log_event(event)


def _log_event(event: Event) -> None:
    level = _LEVELS.get(event.kind, logging.INFO)
    values = {name: value for name, value in event.fields.items() if name != "lines"}  # Ollama's log has them
    _log.log(level, event.kind.value, extra=with_sentence(sentence(event), number=event.number, **values))
