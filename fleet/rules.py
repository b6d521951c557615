"""The rules that decisions are made by: the policy's settings, the ladder, and what is known of memory."""

import math
from dataclasses import dataclass, field

from fleet.ladder import Ladder, Rung
from fleet.settings import SEED_LADDER, PolicySettings
from fleet.units import Bytes, Seconds

VERIFY_RETRY: Seconds = 6.0
"""How long after its first failure a new model is asked once more: memory that another model held may come
back as late as that (Ollama itself waits five seconds for it). The generator pauses until then."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a decision goes by.

    `needs` is how many bytes each rung needs by what Ollama says of its model (None: not known), `free` how
    many are known to be free for one, `jitter` a number from 0 to 1 that spreads repeated probes.
    """

    ladder: Ladder = SEED_LADDER
    policy: PolicySettings = field(default_factory=PolicySettings)
    needs: tuple[Bytes | None, ...] = ()
    free: Bytes | None = None
    jitter: float = 0.0

    def need(self, index: int) -> Bytes | None:
        """Return the bytes that a rung needs, None if not known."""
        return self.needs[index] if index < len(self.needs) else None

    def can_fit(self, index: int) -> bool:
        """Tell whether a rung may fit into what is free; what is not known may."""
        need = self.need(index)
        return need is None or self.free is None or need <= self.free

    def needs_no_less(self, index: int, other: int) -> bool:
        """Tell whether a rung is known to need at least as much as another (as itself, always).

        Where Ollama has not told what they need, their sizes in the file decide.
        """
        if index == other:
            return True
        mine, others = self.need(index), self.need(other)
        if mine is None or others is None:
            mine, others = self.ladder[index].size, self.ladder[other].size
        return mine is not None and others is not None and mine >= others

    def threshold(self, rung: Rung) -> int:
        """Return how many incidents move the fleet down from a rung.

        With `dynamic_threshold` bigger models get fewer chances: the threshold is scaled by the square root
        of the smallest known size over the rung's, rounded, and is never below one.
        """
        base = rung.threshold or self.policy.threshold
        sizes = [other.size for other in self.ladder if other.size]
        if not self.policy.dynamic_threshold or rung.threshold or not rung.size or not sizes:
            return base
        return max(1, round(base * math.sqrt(min(sizes) / rung.size)))
