"""The owner of the state without a loop: each posted fact is decided on and written in the sender's own thread."""

import time
from collections.abc import Callable

from fleet.policy.rules import Rules
from monitor.detection.detector import Detector
from monitor.inbox import Post
from monitor.ingest import Context, absorb_fact
from state.store import StateStore


def posting_to(store: StateStore, rules: Callable[[], Rules] = Rules, first_token: float = 360.0) -> Post:
    """Return what decides on a fact as the monitor's loop does, and writes the state."""

    def context() -> Context:
        return Context(time.time(), rules(), Detector(), first_token=first_token)

    return lambda fact: store.update(lambda state: absorb_fact(state, fact, context()))
