"""Saying what happened: the history's new events, in the log and to whoever watches.

The history is read and not the state, so that what the command line did is told as well.
"""

import logging

from fleet.policy.events import Event, EventKind, sentence
from fleet.runtime.home import Home
from fleet.runtime.logging import tell
from state.history import History, read_history

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
    EventKind.UNANSWERED: logging.ERROR,
    EventKind.STATE_REPAIRED: logging.ERROR,
}


class EventLog:
    """Tells each event of the history once, from those on that come after its making."""

    def __init__(self, home: Home) -> None:
        self._path = home.history
        self._history = History(home.history)
        self._told = self._history.last_number()
        self._size = self._measure()

    def tell_new(self) -> None:
        """Tell what has come since the last call; nothing is read while the history has not grown."""
        size = self._measure()
        if size == self._size:
            return
        self._size = size
        # Only as much of its end is read as is new: a long history must not hold up a switch.
        for event in read_history(self._path, max(self._history.last_number() - self._told, 0)):
            if event.number > self._told:
                self._told = event.number
                _say(event)

    def _measure(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


def _say(event: Event) -> None:
    level = _LEVELS.get(event.kind, logging.INFO)
    _log.log(level, event.kind.value, extra=tell(sentence(event), number=event.number, **event.fields))
