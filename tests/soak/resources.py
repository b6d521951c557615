"""Memory, descriptors and threads of one process over time, and whether they grow."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

MINUTE = 60.0
WARM_UP = 180.0
"""Least seconds of a process's life in which it may grow: imports, caches, the first reads.

A generator loads kernels as expressions first need them, for 140 seconds on two busy cores.
"""

ALLOWED = {"memory": 4096.0, "descriptors": 2.0, "threads": 2.0}
"""Growth over a life that is none: KiB, and numbers."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process: resident KiB, open descriptors, threads."""

    at: float
    memory: float
    descriptors: float
    threads: float


@dataclass
class Resources:
    """The samples of the processes of one program; only the longest life counts."""

    lives: dict[int, list[Sample]] = field(default_factory=dict)

    def look(self, pid: int, now: float) -> None:
        """Sample a process; one that has just ended gives none."""
        sample = sample_of(pid, now)
        if sample is not None:
            self.lives.setdefault(pid, []).append(sample)

    @property
    def longest(self) -> list[Sample]:
        """Return the samples of the longest life, after its warm-up: the first half, since a busy machine warms slowly."""
        life = max(self.lives.values(), key=len, default=[])
        warm = max(WARM_UP, (life[-1].at - life[0].at) / 2) if life else WARM_UP
        return [one for one in life if one.at - life[0].at >= warm]

    def slopes(self) -> dict[str, float]:
        """Return the growth a minute of each figure; empty where the life is too short to say."""
        life = self.longest
        if not life or life[-1].at - life[0].at < MINUTE:
            return {}
        return {name: _slope([(one.at, getattr(one, name)) for one in life]) for name in ALLOWED}

    def faults(self, program: str) -> list[str]:
        """Return what grew."""
        life = self.longest
        minutes = (life[-1].at - life[0].at) / MINUTE if life else 0.0
        grown = {name: slope for name, slope in self.slopes().items() if slope * minutes > ALLOWED[name]}
        return [f"{program}: {name} grows by {slope:.1f} a minute" for name, slope in grown.items()]


def _slope(points: list[tuple[float, float]]) -> float:
    """Return the median of all slopes between two points (Theil and Sen), a minute."""
    thinned = points[:: max(1, len(points) // 120)]
    pairs = ((one, other) for one, other in itertools.combinations(thinned, 2) if other[0] > one[0])
    return MINUTE * median((after - before) / (later - at) for (at, before), (later, after) in pairs)


def sample_of(pid: int, now: float) -> Sample | None:
    """Return a look at a process, None if there is none."""
    process = Path("/proc") / str(pid)
    try:
        rows = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        descriptors = sum(1 for _ in (process / "fd").iterdir())
        return Sample(now, float(rows["VmRSS"].split()[0]), descriptors, float(rows["Threads"]))
    except (OSError, KeyError, ValueError):
        return None
