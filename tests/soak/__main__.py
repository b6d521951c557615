"""`make soak`: a fleet under everything that goes wrong at once: `python -m tests.soak [--duration 60s] [--kills N]`.

`python -m tests.soak mining` lets it mine through random faults of Ollama and BRAIN instead, `python -m tests.soak lanes`
kills three lanes, of which one is sound, one out of GPU memory and one hanging. The exit code is 1 if
anything was lost, doubled, misnamed or left wrong, or if a program grows.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from fleet.runtime.units import parse_duration
from tests.soak.lanes import soak_lanes
from tests.soak.mining import mine
from tests.soak.run import soak


def main() -> int:
    """Run a soak; return 1 if it found a fault."""
    parser = argparse.ArgumentParser(
        prog="make soak", description="Kill a fleet's parts at random, among other things."
    )
    parser.add_argument(
        "mode",
        nargs="?",
        choices=["fleet", "mining", "lanes"],
        default="fleet",
        help="what to try (default: %(default)s)",
    )
    parser.add_argument("--duration", default="60s", help="how long (default: %(default)s)")
    parser.add_argument("--kills", type=int, help="kill so many at most (fleet)")
    parser.add_argument("--seed", type=int, default=None, help="repeat the choices of another run")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    sys.stdout.write(f"soak of {options.duration} ({options.mode}), seed {seed}\n")
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        home, duration = Path(folder), parse_duration(options.duration)
        if options.mode == "fleet":
            faults = soak(home, seed, duration, options.kills)
        else:
            faults = (mine if options.mode == "mining" else soak_lanes)(home, seed, duration)
    for fault in faults:
        sys.stdout.write(f"FAULT {fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
