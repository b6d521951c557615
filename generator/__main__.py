"""Entry point of `python3 -m generator`: mines by default, or runs a command such as `check` or `evaluate`."""

import os
import sys
from pathlib import Path

from fleet.startup.environment import enter_environment, refuse_missing_package

_ROOT = Path(__file__).resolve().parents[1]
_STARTED_AFTER = 20.0


def main() -> None:
    """Mine, or run the named command; mining imports nothing that only the commands need."""
    from fleet.runtime.process import delay_garbage_collection  # noqa: PLC0415  # an old Python cannot read it

    delay_garbage_collection(_STARTED_AFTER)
    if sys.argv[1:] in ([], ["run"]):
        from generator.service import run  # noqa: PLC0415  # first request as early as possible

        run(os.environ)
    from generator.cli.commands import cli  # noqa: PLC0415  # click, which mining does not need

    cli(prog_name="python3 -m generator")


if __name__ == "__main__":
    if "FLEET_PYTHON" not in os.environ:  # a person starts it: supervisord's programs have their interpreter
        enter_environment(_ROOT, "-m", "generator", *sys.argv[1:])
    try:
        main()
    except ModuleNotFoundError as error:
        refuse_missing_package(_ROOT, error)
