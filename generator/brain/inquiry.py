"""Requests about one row of `simulations`: BRAIN's answer as a fact of its state, or as the candidate's result."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from generator.brain.api import BrainApi, same_code
from generator.brain.errors import (
    BrainAccessError,
    BrainAwayError,
    BrainDeniedError,
    BrainError,
    BrainLimitError,
)
from generator.brain.responses import Ended, Progress, Status, read_alpha
from generator.brain.states import Fact, Missing
from generator.domain import ExpressionFault, Result
from generator.storage.schema import RUNNING, SENDING
from generator.storage.simulations import Simulation

_T = TypeVar("_T")
_NO_REASON = "BRAIN finds an error in it and does not say which"


class Inquiry:
    """Asks BRAIN about rows; `answered` is called at each answer, also without content."""

    def __init__(self, api: BrainApi, answered: Callable[[], None]) -> None:
        self._api = api
        self._answered = answered
        # The round's answers by address: the rows of a multi-simulation share them.
        self._answers: dict[str, Progress | BrainError | None] = {}

    def begin_round(self) -> None:
        """Forget the last round's answers."""
        self._answers.clear()

    def fact(self, row: Simulation, expression: str) -> Fact | Result:
        """Return BRAIN's answer to a row's due request, or the candidate's result."""
        if row.state == RUNNING:
            return self._progress(row, expression)
        if row.state == SENDING:
            return self._trace(row, expression)
        if row.alpha_id is None:
            return ExpressionFault(row.message or _NO_REASON)
        alpha = row.alpha_id
        figures = read_alpha(self._answer(lambda: self._api.alpha(alpha)))
        return Missing() if figures is None else replace(figures, alpha_id=alpha)

    def _progress(self, row: Simulation, expression: str) -> Fact:
        """Return the progress of a row's simulation; of a multi-simulation, of the child with its expression."""
        parent = self._poll(row.location or "")
        if row.place is None or not isinstance(parent, Ended):
            return parent or Missing()
        for number, child in enumerate((*parent.children[row.place :], *parent.children[: row.place])):
            found = self._poll(child)
            if not isinstance(found, Ended):
                return found or Missing()
            if same_code(found.code, expression) or not (found.code or number):
                return found
        return Ended(Status.CANCELLED, message=parent.message)

    def _trace(self, row: Simulation, expression: str) -> Fact:
        """Return the end of a request without an answer, found among the account's alphas, else its address's answer."""
        try:
            alpha = self._answer(lambda: self._api.recent_alpha(expression))
        except BrainDeniedError:
            alpha = None  # the list is not available, and no other request shows the simulation
        if alpha is not None:
            return Ended(Status.COMPLETE, alpha)
        try:
            return self._progress(row, expression) if row.location else Missing()
        except (BrainAwayError, BrainDeniedError):
            return Missing()

    def _poll(self, address: str) -> Progress | None:
        """Return a simulation's progress, None if BRAIN has none; a failure is that of all rows with the address."""
        if address not in self._answers:
            try:
                self._answers[address] = self._answer(lambda: self._api.simulation(address))
            except (BrainAwayError, BrainDeniedError) as error:
                self._answers[address] = error
        found = self._answers[address]
        if isinstance(found, BrainError):
            raise found
        return found

    def _answer(self, request: Callable[[], _T]) -> _T | None:
        """Return the answer to a request; None if it says that nothing usable is at its address."""
        try:
            answer = request()
        except (BrainAwayError, BrainAccessError, BrainLimitError):
            raise
        except BrainError:  # nothing there, refused, or unreadable: an answer about this address alone
            answer = None
        self._answered()
        return answer
