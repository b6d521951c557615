"""The rules that decisions are made by: the policy's settings, the ladder, and what is known of memory."""

import math
from dataclasses import dataclass, field

from fleet.config.ladder import Ladder, Rung, same_model
from fleet.config.schema import SEED_LADDER, PolicySettings
from fleet.runtime.units import Bytes, Seconds

VERIFY_RETRY: Seconds = 6.0
"""How long after its first failure a new model is asked once more: memory that another model held may come
back as late as that (Ollama itself waits five seconds for it). The generator pauses until then."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a decision goes by.

    `needs` is how many bytes each rung needs by what Ollama says of its model (None: not known), `sizes` how
    large its models are, `free` how many bytes there can be for one at most, `jitter` a number from 0 to 1
    that spreads repeated probes.
    """

    ladder: Ladder = SEED_LADDER
    policy: PolicySettings = field(default_factory=PolicySettings)
    needs: tuple[Bytes | None, ...] = ()
    free: Bytes | None = None
    jitter: float = 0.0
    sizes: tuple[Bytes | None, ...] = ()

    def need(self, index: int) -> Bytes | None:
        """Return the bytes that a rung needs, None if not known."""
        return self.needs[index] if index < len(self.needs) else None

    def size(self, index: int) -> Bytes | None:
        """Return the size of a rung's weights: what the file says, else what Ollama does."""
        told = self.sizes[index] if index < len(self.sizes) else None
        return told if self.ladder[index].size is None else self.ladder[index].size

    def too_needy(self) -> tuple[int, ...]:
        """Return the rungs known to need more than the one above: moving down to them cannot help."""
        pairs = ((index, self.need(index), self.need(index - 1)) for index in range(1, len(self.ladder)))
        return tuple(index for index, mine, above in pairs if mine and above is not None and mine > above)

    def can_fit(self, index: int) -> bool:
        """Tell whether a rung may fit into what is free; what is not known may."""
        need = self.need(index)
        return need is None or self.free is None or need <= self.free

    def needs_no_less(self, index: int, other: int) -> bool:
        """Tell whether a rung is known to need at least as much as another (as itself, always).

        Where Ollama has not told what they need, their sizes decide; of one model on two rungs the higher
        needs more, or it would not stand there.
        """
        if index == other:
            return True
        mine, others = self.need(index), self.need(other)
        if mine is None or others is None:
            if same_model(self.ladder[index].model, self.ladder[other].model):
                return index < other
            mine, others = self.size(index), self.size(other)
        return mine is not None and others is not None and mine >= others

    def threshold(self, rung: Rung) -> int:
        """Return how many incidents move the fleet down from a rung.

        With `dynamic_threshold` bigger models get fewer chances: the threshold is scaled by the square root
        of the smallest known size over the rung's, rounded, and is never below one.
        """
        base, mine = rung.threshold or self.policy.threshold, self.size(rung.index)
        if not self.policy.dynamic_threshold or rung.threshold or not mine:
            return base
        sizes = [size for other in self.ladder if (size := self.size(other.index))]
        return max(1, round(base * math.sqrt(min(sizes) / mine)))
