"""`python -m generator`: mines by default; `schema`, `check` and `evaluate` are for people and tests."""

import os
import sys

from fleet.runtime.process import collect_later
from fleet.runtime.units import Seconds

_SET_UP_BY: Seconds = 20.0


def main() -> None:
    """Mine, without importing what only the other commands need; or run the command that is named."""
    collect_later(_SET_UP_BY)
    if sys.argv[1:] in ([], ["run"]):
        from generator.service import run  # noqa: PLC0415  # the quick way to the first request

        run(os.environ)
    from generator.cli.commands import cli  # noqa: PLC0415  # click, which mining does not need

    cli(prog_name="python -m generator")


if __name__ == "__main__":
    main()
