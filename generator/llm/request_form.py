"""Form of the request to a model: the value of `think`, and with or without a schema.

A schema suppresses thinking as long as the server applies it to the answer. Thinking is switched off where the
model can think, because it uses up the reply's tokens. Harmony models (gpt-oss) always think. A schema empties
their reply: Ollama finds no channel in it. A refused parameter is left out from then on. After several
empty replies the next form is tried.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fleet.clients.ollama import ModelDetails
from fleet.runtime.errors import OllamaError
from fleet.runtime.logging import fields
from generator.domain import CallVerdict

_EMPTY_REPLIES: Final = 3
_HARMONY: Final = frozenset({"gptoss", "gpt-oss"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RequestForm:
    """One form of the request. `think` is sent unless None; with `thinks` the reply's tokens include thinking."""

    think: bool | str | None = None
    schema: bool = True
    thinks: bool = False


def forms_for(details: ModelDetails) -> tuple[RequestForm, ...]:
    """Return the request forms for a model, best first, by its answer to `/api/show`."""
    if not details.thinks:
        return (RequestForm(), RequestForm(schema=False), RequestForm(schema=False, thinks=True))
    if details.family in _HARMONY:
        return (RequestForm("low", schema=False, thinks=True), RequestForm("low", thinks=True))
    quiet = _least_thinking(details.think_values)
    first = RequestForm(quiet, thinks=quiet is not False)
    return tuple(dict.fromkeys((first, RequestForm(thinks=True), RequestForm(schema=False, thinks=True))))


# Before the server has answered /api/show.
_UNKNOWN: Final = (RequestForm(), RequestForm(think=False), RequestForm(schema=False, thinks=True))


def _least_thinking(values: Sequence[bool | str] | None) -> bool | str | None:
    """Return the value of `think` for the least thinking, None for the model's default.

    Servers that do not list the values accept False.
    """
    if values is None or any(value is False for value in values):
        return False
    levels = [value for value in values if isinstance(value, str)]
    return "low" if "low" in levels else levels[0] if levels else None


class RequestForms:
    """The form in use and those to try next. `/api/show` is requested until it answers. Thread-safe."""

    def __init__(self, show: Callable[[], ModelDetails]) -> None:
        self._show = show
        self._forms: tuple[RequestForm, ...] = _UNKNOWN
        self._known = False
        self._empty = 0
        self._lock = threading.Lock()

    def now(self) -> RequestForm:
        """Return the form of the next request."""
        with self._lock:
            if not self._known:
                self._ask_server()
            return self._forms[0]

    def _ask_server(self) -> None:
        try:
            self._forms = forms_for(self._show())
        except OllamaError:
            return
        self._known = True

    def learn(self, form: RequestForm, verdict: CallVerdict) -> bool:
        """Adapt to a call's verdict; return True if the next request has another form."""
        with self._lock:
            before = self._forms[0]
            if form == before:  # not a call that was in flight during the last change
                self._learn(form, verdict)
            after = self._forms[0]
        if after != before:
            _log.warning("call.way_changed", extra=fields(think=after.think, schema=after.schema))
        return after != before

    def _learn(self, form: RequestForm, verdict: CallVerdict) -> None:
        if verdict is CallVerdict.FORMAT:
            self._drop([one for one in self._forms if not one.schema], replace(form, schema=False))
        elif verdict is CallVerdict.THINK and form.think is not None:
            self._drop([one for one in self._forms if one.think != form.think], replace(form, think=None))
        elif verdict is CallVerdict.EMPTY:
            self._empty += 1
            if self._empty >= _EMPTY_REPLIES:
                self._empty = 0
                self._forms = (*self._forms[1:], self._forms[0])
        elif verdict in {CallVerdict.ANSWERED, CallVerdict.UNUSABLE}:
            self._empty = 0
            self._known = True

    def _drop(self, left: Sequence[RequestForm], last: RequestForm) -> None:
        self._forms = tuple(left) or (last,)
        self._known = True
