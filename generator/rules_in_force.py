"""The ruleset of new candidates, shared by the mining threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from generator.domain import Ruleset


class RulesInForce:
    """The plan's ruleset until the evaluator is ready, then the evaluator's.

    `held` and `replacing` exclude each other. A candidate is therefore never stored under a ruleset that another
    thread replaces meanwhile.
    """

    def __init__(self, rules: Ruleset) -> None:
        self._rules = rules
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[Ruleset]:
        """Give the ruleset, which stays in force meanwhile."""
        with self._lock:
            yield self._rules

    @contextmanager
    def replacing(self, rules: Ruleset) -> Iterator[None]:
        """Put another ruleset in force, and keep `held` waiting meanwhile."""
        with self._lock:
            self._rules = rules
            yield
