"""`python -m fleet [--config FILE] [--since TIME]`: start a fleet in the foreground."""

import argparse
import os
import sys

from fleet.runtime.errors import FleetError
from fleet.startup.launch import run


def main() -> int:
    """Start a fleet; return an exit code only if it could not be started."""
    parser = argparse.ArgumentParser(prog="python -m fleet", description="Start a fleet in the foreground.")
    parser.add_argument("--config", help="the configuration file (default: FLEET_CONFIG, else ./fleet.toml)")
    parser.add_argument(
        "--since",
        metavar="TIME",
        help='where a first start begins in the log: a while ago ("2h"), a date, or "start" (default: FLEET_SINCE, '
        "else the past is skipped)",
    )
    given = parser.parse_args()
    if given.since is not None:
        os.environ["FLEET_SINCE"] = given.since  # for the monitor, whose start it is
    try:
        run(given.config)
    except FleetError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201  # the program's own voice
        if error.hint:
            print(f"Hint: {error.hint}", file=sys.stderr)  # noqa: T201  # and its help
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
