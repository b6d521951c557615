"""`make space`: visit every state of a switch: `python -m tests.space [--rungs N ...] [--flags N] [--seconds N]`.

Each row of the table is a search under some rules: with no flag of the policy, each flag alone, each pair. It says how
many worlds were found and whether the search closed, that is, came to its end with none left. Exits 1 at a broken
invariant, with the shortest way to it.
"""

import argparse
import sys

from tests.space.search import BrokenInvariantError, Search
from tests.space.settings import choices, rules_of


def main() -> int:
    """Run the searches; return 1 if one broke an invariant."""
    parser = argparse.ArgumentParser(prog="make space", description="Visit every state of a switch.")
    parser.add_argument("--rungs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--flags", type=int, default=2, help="most flags together (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="bound of each search in processor time")
    options = parser.parse_args()
    sys.stdout.write(f"{'rungs':<6}{'flags':<44}{'worlds':>9}{'facts':>10}{'depth':>6}{'seconds':>8}\n")
    for rungs in options.rungs:
        for flags in choices(options.flags):
            search = Search(rules_of(rungs, *flags))
            try:
                search.run(seconds=options.seconds)
            except BrokenInvariantError as error:
                sys.stdout.write(f"{rungs} {' '.join(flags)}: {error}\n")
                return 1
            end = "" if search.closed else " not closed"
            figures = f"{len(search.worlds):>9}{search.steps:>10}{search.depth:>6}{search.seconds:>8.0f}{end}"
            sys.stdout.write(f"{rungs:<6}{', '.join(flags) or 'none':<44}{figures}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
