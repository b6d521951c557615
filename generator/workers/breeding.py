"""Breeding: variants of the pool's members as candidates, while none of the model's waits.

Only on a panel of the user's own: never on the synthetic one, never straight to BRAIN. Not on battery either.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from fleet.runtime.power import on_battery
from fleet.runtime.units import Seconds
from generator.catalogue import Catalogue
from generator.context import Shared
from generator.domain import Candidate, Origin, Ruleset, Source
from generator.language import ExpressionError, Node, alpha_of, parse, show
from generator.language.breed import breed
from generator.pool.model import MOST_MEMBERS, Member
from generator.pool.parents import choose_parents
from generator.workers.ingest import StorageRetry

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

_MOST_DUE = 200
"""Most variants that may be due: they are bred soon after the expressions that allow them."""
_TRIES = 8
_WITH_PARTNER = 0.5
_POWER_INTERVAL: Seconds = 30.0


class Breeder:
    """Queues variants of the pool's members, at most `share` for each expression that the model wrote.

    `wrote` is called by the thread that stores replies, `get` by the one that evaluates.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        store: "Callable[[], AlphaStore]",
        retry: StorageRetry,
        share: int,
        rng: Random,
        battery: Callable[[], bool] = on_battery,
    ) -> None:
        self._shared = shared
        self._open = store
        self._retry = retry
        self._share = share
        self._rng = rng
        self._battery = battery
        self._children: Counter[str] = Counter()  # used by one thread
        self._due = 0
        self._lock = threading.Lock()
        self._on_battery = False
        self._next_look = float("-inf")

    def wrote(self, expressions: int) -> None:
        """Allow the variants of so many new expressions of the model's."""
        with self._lock:
            self._due = min(_MOST_DUE, self._due + self._share * expressions)

    def get(self, timeout: Seconds) -> Candidate | None:
        """Return a waiting candidate, else a due variant; None without either within `timeout`."""
        candidate = self._shared.waiting.get(0.0)
        if candidate is None:
            candidate = self._shared.waiting.get(0.0 if self.queue_one() else timeout)
        return candidate

    def queue_one(self) -> bool:
        """Store and queue a variant; return False if none is due, or no new one was found."""
        members = self._shared.pool.pool.members
        if not members or self._due <= 0 or self._is_on_battery():
            return False
        with self._shared.rules.held() as rules:
            if rules.source is not Source.PANEL:
                return False
            with self._lock:
                self._due -= 1
            return self._queue_new(members, rules)

    def _queue_new(self, members: Sequence[Member], rules: Ruleset) -> bool:
        from generator.storage.additions import add_candidate  # noqa: PLC0415  # SQLAlchemy, after the first call

        store, now = self._open(), self._shared.clock.time()
        self._forget_former(members)
        for _ in range(_TRIES):
            candidate = variant(members, self._shared.scope.catalogue, self._rng, self._children)
            if candidate is None:
                continue
            self._children[candidate.parents[0]] += 1
            if self._retry(partial(add_candidate, store, candidate, rules, now)):
                self._shared.waiting.put(candidate)
                return True
        return False

    def _forget_former(self, members: Sequence[Member]) -> None:
        """Drop the counts of former members once they are many."""
        if len(self._children) > 2 * MOST_MEMBERS:
            present = {one.digest for one in members}
            self._children = Counter({one: count for one, count in self._children.items() if one in present})

    def _is_on_battery(self) -> bool:
        now = self._shared.clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + _POWER_INTERVAL
            self._on_battery = self._battery()
        return self._on_battery


def variant(
    members: Sequence[Member], catalogue: Catalogue, rng: Random, children: Counter[str]
) -> Candidate | None:
    """Return a variant of a member, in half of the cases with parts of another one; None without one.

    `children` counts the variants of each member so far, by digest. Pure, given the randomness.
    """
    chosen = choose_parents(members, rng, 1 + (rng.random() < _WITH_PARTNER), children)
    trees = [_tree(one, catalogue) for one in chosen]
    known = [tree for tree in trees if tree is not None]
    if not known or len(known) < len(trees):
        return None
    try:
        tree = breed(known[0], catalogue, rng, known[1] if len(known) > 1 else None)
        if tree is None:
            return None
        alpha = alpha_of(tree, catalogue)
    except ExpressionError:  # the catalogue no longer has a parent's fields
        return None
    return Candidate(
        digest=alpha.digest,
        expression=show(tree),
        canonical=alpha.expression,
        tree=tree,
        origin=Origin.BRED,
        parents=tuple(one.digest for one in chosen),
    )


def _tree(member: Member, catalogue: Catalogue) -> Node | None:
    try:
        return member.candidate.tree or parse(member.expression, catalogue)
    except ExpressionError:
        return None
