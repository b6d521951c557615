"""How a model is asked: with which `think`, and with or without a schema.

A schema keeps thoughts out by itself, as long as the server applies it to the answer. Thoughts are switched
off where the model can think, since they use up the reply's tokens. Harmony models (gpt-oss) always think, and
a schema empties their reply: Ollama finds no channel in it. What the server refuses is left out from then on;
after several empty replies the next way is tried.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fleet.clients.ollama import ModelDetails
from fleet.runtime.errors import OllamaError
from fleet.runtime.logging import fields
from generator.llm.throttle import CallVerdict

_EMPTY_REPLIES: Final = 3
_HARMONY: Final = frozenset({"gptoss", "gpt-oss"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Way:
    """One way of asking. `think` is sent unless None; `thoughts`: the reply's tokens hold thoughts too."""

    think: bool | str | None = None
    schema: bool = True
    thoughts: bool = False


def ways_for(details: ModelDetails) -> tuple[Way, ...]:
    """Return the ways of asking a model, best first, by its answer to `/api/show`."""
    if not details.thinks:
        return (Way(), Way(schema=False), Way(schema=False, thoughts=True))
    if details.family in _HARMONY:
        return (Way("low", schema=False, thoughts=True), Way("low", thoughts=True))
    quiet = _quiet(details.think_values)
    first = Way(quiet, thoughts=quiet is not False)
    return tuple(dict.fromkeys((first, Way(thoughts=True), Way(schema=False, thoughts=True))))


# While the server has not said what the model can.
_UNKNOWN: Final = (Way(), Way(think=False), Way(schema=False, thoughts=True))


def _quiet(values: Sequence[bool | str] | None) -> bool | str | None:
    """Return the `think` with the fewest thoughts, None for the model's default.

    Servers that do not list the values take False.
    """
    if values is None or any(value is False for value in values):
        return False
    levels = [value for value in values if isinstance(value, str)]
    return "low" if "low" in levels else levels[0] if levels else None


class Ways:
    """The way in use and those left; `/api/show` is asked until it answers, then never again. Thread-safe."""

    def __init__(self, show: Callable[[], ModelDetails]) -> None:
        self._show = show
        self._ways: tuple[Way, ...] = _UNKNOWN
        self._known = False
        self._empty = 0
        self._lock = threading.Lock()

    def now(self) -> Way:
        """Return the way to ask now."""
        with self._lock:
            if not self._known:
                self._ask_server()
            return self._ways[0]

    def _ask_server(self) -> None:
        try:
            self._ways = ways_for(self._show())
        except OllamaError:
            return
        self._known = True

    def learn(self, way: Way, verdict: CallVerdict) -> bool:
        """Take in what became of a call; return True if the next call is asked another way."""
        with self._lock:
            before = self._ways[0]
            if way == before:
                self._learn(way, verdict)
            after = self._ways[0]
        if after != before:
            _log.warning("call.way_changed", extra=fields(think=after.think, schema=after.schema))
        return after != before

    def _learn(self, way: Way, verdict: CallVerdict) -> None:
        if verdict is CallVerdict.FORMAT:
            self._drop([one for one in self._ways if not one.schema], replace(way, schema=False))
        elif verdict is CallVerdict.THINK and way.think is not None:
            self._drop([one for one in self._ways if one.think != way.think], replace(way, think=None))
        elif verdict is CallVerdict.EMPTY:
            self._empty += 1
            if self._empty >= _EMPTY_REPLIES:
                self._empty = 0
                self._ways = (*self._ways[1:], self._ways[0])
        elif verdict in {CallVerdict.ANSWERED, CallVerdict.UNUSABLE}:
            self._empty = 0
            self._known = True

    def _drop(self, left: Sequence[Way], last: Way) -> None:
        self._ways = tuple(left) or (last,)
        self._known = True
