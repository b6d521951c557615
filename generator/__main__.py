"""Entry point of `python -m generator`: mines by default, or runs a command such as `check` or `evaluate`."""

import os
import sys

from fleet.runtime.process import delay_garbage_collection
from fleet.runtime.units import Seconds

_STARTED_AFTER: Seconds = 20.0


def main() -> None:
    """Mine, or run the named command; mining imports nothing that only the commands need."""
    delay_garbage_collection(_STARTED_AFTER)
    if sys.argv[1:] in ([], ["run"]):
        from generator.service import run  # noqa: PLC0415  # first request as early as possible

        run(os.environ)
    from generator.cli.commands import cli  # noqa: PLC0415  # click, which mining does not need

    cli(prog_name="python -m generator")


if __name__ == "__main__":
    main()
