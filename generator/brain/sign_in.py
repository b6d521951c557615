"""The turn to sign in to a BRAIN account, leased in the database that its fleets share.

One fleet signs in at a time. During a lock, a refused password or a wait for a person, the others wait too.
"""

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from fleet.runtime.units import Seconds
from generator.brain.errors import BrainLimitError
from generator.brain.simulations import Retry
from generator.storage.leases import hold_turn, take_turn

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

# Longer than a request may take.
_TURN: Seconds = 90.0
# An ordinary sign-in takes a second.
_LOOK: Seconds = 1.0


class SignInTurns:
    """A fleet's turns in its database, by the account's key; its own turn never keeps a fleet waiting."""

    def __init__(self, store: "AlphaStore", retry: Retry) -> None:
        self._store = store
        self._retry = retry
        self._holder = hashlib.sha256(store.owner.encode()).hexdigest()[:16]

    def take(self, account: str) -> None:
        """Take the turn; raise BrainLimitError while another fleet has it."""
        left = self._retry(partial(take_turn, self._store, _name(account), self._holder, _TURN))
        if left > 0:
            wait = _LOOK if left <= _TURN else left
            raise BrainLimitError("another fleet is signing in to this BRAIN account", wait=wait)

    def hold(self, account: str, seconds: Seconds) -> None:
        """Let no other fleet sign in for a time; 0 ends the turn."""
        self._retry(partial(hold_turn, self._store, _name(account), self._holder, seconds))


def _name(account: str) -> str:
    return f"sign-in {account}"
