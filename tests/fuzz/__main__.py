"""`make fuzz`: odd inputs for all that is read: `python -m tests.fuzz [--inputs N] [--seed N] [--only CHANNEL ...]`.

Real inputs are mutated and read as the fleet reads them, down to the state file, which is written and read back. Nothing
may raise, and no line that says something may be turned away by the prefilter. Then each literal and each hostile shape is
repeated up to 64 KB; the slowest line is reported. Exits 1 on the first fault, with the seed and the input's number,
which `--seed` and `--only` repeat.
"""

import argparse
import sys
import time

from tests.fuzz.channels import channels
from tests.fuzz.lines import fuzz, real_lines, slowest_hostile
from tests.fuzz.run import feed

SHOWN = 20_000


def main() -> int:
    """Run, and report; return 1 if a line was too slow."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="of each channel (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slowest", type=float, default=1.0, help="seconds that no line may take")
    lines = real_lines()
    known = channels(lines)
    parser.add_argument("--only", nargs="+", choices=["lines", *known], default=["lines", *known])
    options = parser.parse_args()
    slowest = 0.0
    for name in options.only:
        began = time.perf_counter()
        if name == "lines":
            slowest = fuzz(options.inputs, options.seed).slowest
        else:
            feed(name, known[name], options.inputs, options.seed)
        took = time.perf_counter() - began
        sys.stdout.write(f"{name:<10}{options.inputs:>9} inputs in {took:.0f} s, no fault\n")
        sys.stdout.flush()
    if "lines" in options.only:
        worst = slowest_hostile()
        slowest = max(slowest, worst.slowest)
        shown = f"{worst.slowest * 1e3:.1f} ms: {worst.slowest_line[:80]!r}…"
        sys.stdout.write(f"hostile lines of 64 KB: the slowest took {shown}\n")
    return int(slowest > options.slowest)


if __name__ == "__main__":
    sys.exit(main())
