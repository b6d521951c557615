"""`python -m fleet [--config FILE] [--since TIME]`: start a fleet in the foreground."""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from fleet.startup.environment import enter_environment, refuse_missing_package

_ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Start a fleet; return only if it is not started, with the exit code."""
    from fleet.runtime.errors import FleetError  # noqa: PLC0415  # an old Python cannot read it
    from fleet.runtime.process import require_linux  # noqa: PLC0415  # likewise

    parser = argparse.ArgumentParser(prog="python -m fleet", description="Start a fleet in the foreground.")
    parser.add_argument("--config", help="the configuration file (default: FLEET_CONFIG, else ./fleet.toml)")
    parser.add_argument(
        "--since",
        metavar="TIME",
        help='beginning of the log for a first start: an age ("2h"), a date, or "start" for all of it '
        "(default: FLEET_SINCE, else the past is skipped)",
    )
    given = parser.parse_args()
    if given.since is not None:
        os.environ["FLEET_SINCE"] = given.since  # the monitor reads it at its first start
    try:
        require_linux()
        from fleet.startup.launch import run  # noqa: PLC0415  # it imports modules that Windows lacks

        run(given.config)
    except FleetError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201  # a message for the person at the terminal
        if error.hint:
            print(f"Hint: {error.hint}", file=sys.stderr)  # noqa: T201  # likewise
        return error.exit_code
    return 0


if __name__ == "__main__":
    enter_environment(_ROOT, "-m", "fleet", *sys.argv[1:])
    if find_spec("supervisor") is None:  # which the start becomes
        refuse_missing_package(_ROOT, ModuleNotFoundError(name="supervisor"))
    sys.exit(main())
