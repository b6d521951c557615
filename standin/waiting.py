"""Waiting for a client: for some seconds, or until something holds, and no longer than the client does."""

from collections.abc import Callable
from typing import TypeAlias

from fleet.runtime.units import Seconds

Wait: TypeAlias = Callable[[Seconds], None]
_POLL: Seconds = 0.01


class ClientGoneError(Exception):
    """The client left before its answer was done."""


def wait_until(done: Callable[[], bool], wait: Wait) -> None:
    """Wait until `done` says so; `wait` raises ClientGoneError when the client leaves."""
    while not done():
        wait(_POLL)
