"""Rules: the inputs of a decision that rarely change, which are settings, ladder and known memory needs."""

import math
from dataclasses import dataclass, field

from fleet.config.hours import HoursRow
from fleet.config.ladder import Ladder, Rung, same_model
from fleet.config.schema import SEED_LADDER, PolicySettings
from fleet.runtime.units import Bytes, Seconds

VERIFY_RETRY: Seconds = 6.0
"""Delay between a new model's first memory failure and its second chance. GPU memory of the unloaded model may be
freed this late (Ollama itself waits five seconds for it). The generator pauses until then."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings, ladder and memory figures for a decision.

    `needs`: bytes of GPU memory for each rung, by Ollama's figures of its model (None: not known). `sizes`: bytes of
    each rung's weights. `free`: the most bytes that one model can get, without the reserve. `hours`: caps by the
    clock. `jitter`: a number from 0 to 1 that spreads repeated probes.
    """

    ladder: Ladder = SEED_LADDER
    policy: PolicySettings = field(default_factory=PolicySettings)
    needs: tuple[Bytes | None, ...] = ()
    free: Bytes | None = None
    jitter: float = 0.0
    sizes: tuple[Bytes | None, ...] = ()
    hours: tuple[HoursRow, ...] = ()

    def need(self, index: int) -> Bytes | None:
        """Return the bytes that a rung needs, None if not known."""
        return self.needs[index] if index < len(self.needs) else None

    def size(self, index: int) -> Bytes | None:
        """Return the bytes of a rung's weights by the configuration, else by Ollama; None if neither has them."""
        by_ollama = self.sizes[index] if index < len(self.sizes) else None
        return by_ollama if self.ladder[index].size is None else self.ladder[index].size

    def rungs_needing_more(self) -> tuple[int, ...]:
        """Return the rungs known to need more than the one above; a downgrade to them frees no memory."""
        pairs = ((index, self.need(index), self.need(index - 1)) for index in range(1, len(self.ladder)))
        return tuple(index for index, mine, above in pairs if mine and above is not None and mine > above)

    def can_fit(self, index: int) -> bool:
        """Return True if a rung may fit into the free memory; a rung of unknown need may."""
        need = self.need(index)
        return need is None or self.free is None or need <= self.free

    def needs_at_least(self, index: int, other: int) -> bool:
        """Return True if a rung is known to need at least as much memory as another, or is the same.

        Where a need is not known, the sizes decide. Of one model on two rungs the upper one needs more: the ladder is
        ordered by need.
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
        """Return the number of incidents that cause a downgrade from a rung.

        With `dynamic_threshold` larger models have a lower threshold. The factor is the square root of the smallest
        known size over the rung's size. The product is rounded and at least 1.
        """
        base, mine = rung.threshold or self.policy.threshold, self.size(rung.index)
        if not self.policy.dynamic_threshold or rung.threshold or not mine:
            return base
        sizes = [size for other in self.ladder if (size := self.size(other.index))]
        return max(1, round(base * math.sqrt(min(sizes) / mine)))
