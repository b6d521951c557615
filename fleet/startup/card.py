"""Whether the default ladder makes use of the machine's card. Pure."""

from fleet.config.ladder import Ladder
from fleet.config.schema import SEED_LADDER
from fleet.runtime.units import Bytes, show_size

_FAR = 3
"""The default ladder is far below a card with this many times its largest model's size."""


def wasted_card(ladder: Ladder, memory: Bytes) -> str:
    """Return a sentence if this is the default ladder and far below so much GPU memory, else an empty text."""
    largest = max((rung.size or 0 for rung in SEED_LADDER), default=0)
    if ladder.digest != SEED_LADDER.digest or memory < _FAR * largest:
        return ""
    return f"the GPU has {show_size(memory)}, and the largest model of the default ladder takes {show_size(largest)}"
