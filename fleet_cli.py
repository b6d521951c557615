#!/usr/bin/env python3
"""The command line of a fleet: views and commands.

    python3 fleet_cli.py status | watch | report | alphas | history | doctor | scan FILE…
    python3 fleet_cli.py reset | downgrade | upgrade | use MODEL | unpin

Results go to standard output, errors with a hint to standard error. Exit codes: 0 done; 1 failed; 2 usage,
configuration, or no fleet here; 3 saved until supervisord runs again.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(_ROOT))  # `python -I` and `-P` leave it out

from fleet.startup.environment import enter_environment, refuse_missing_package  # noqa: E402  # by that path

if __name__ == "__main__":
    if sys.platform == "win32":
        sys.stderr.write(
            "Error: Model Fleet does not run on Windows itself\nHint: Use WSL 2; see README.md.\n"
        )
        sys.exit(2)
    enter_environment(_ROOT, *sys.argv)

try:
    from cli.commands import main

    if __name__ == "__main__":
        main(prog_name="fleet_cli.py")
except ModuleNotFoundError as error:
    refuse_missing_package(_ROOT, error)
except KeyboardInterrupt:
    sys.exit("Aborted!")
