"""Random faults of BRAIN: most of them pass, some stay at one address."""

from random import Random

from standin.brain.faults import BrainFault, BrainFaultKind
from standin.brain.server import StandinBrain

PASSING = (500, 502, 503, 404, 429, 403)
LASTING = (500, 403, 404)
OUTCOMES = ("FAIL", "TIMEOUT", "ERROR", "WARNING", "CANCELLED")


def random_fault(random: Random, brain: StandinBrain, *, lasting: float) -> BrainFault:
    """Return a fault that passes, or by the chance `lasting` one of a single address that does not."""
    path = random.choice(("/simulations/", "/alphas/", "/simulations", "/users/self/alphas", "/"))
    with brain.world.lock:
        names = [f"/simulations/{name}" for name in brain.world.simulations]
        names += [f"/alphas/{name}" for name in brain.world.alphas]
    if names and random.random() < lasting:
        status = random.choice(LASTING)
        return BrainFault(
            BrainFaultKind.ERROR, path=random.choice(names), status=status, text="no", times=None
        )
    times = random.choice((1, 1, 2, 5))
    kind = random.choice(list(BrainFaultKind))
    if kind is BrainFaultKind.OUTCOME:
        return BrainFault(kind, status_text=random.choice(OUTCOMES), text="Division by nothing")
    if kind is BrainFaultKind.STALL:
        return BrainFault(kind, path=path, seconds=0.05)
    return BrainFault(kind, path=path, times=times, status=random.choice(PASSING), text="no", retry_after="3")
