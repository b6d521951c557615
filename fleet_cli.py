#!/usr/bin/env python3
"""The command line of a fleet: look in and take over.

    python fleet_cli.py status | watch | report | alphas | history | doctor | scan FILE…
    python fleet_cli.py reset | downgrade | upgrade | use MODEL | unpin

Results go to standard output, errors with a hint to standard error. Exit codes: 0 done, 1 it could not be
done, 2 usage or configuration or no fleet here, 3 saved and takes effect when supervisord runs again.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

_ROOT = Path(__file__).resolve().parent
_PYTHON = _ROOT / ".venv" / "bin" / "python"

if __name__ == "__main__":
    if sys.platform == "win32":
        sys.stderr.write(
            "Error: Model Fleet does not run on Windows itself\nHint: Use WSL 2; see README.md.\n"
        )
        sys.exit(2)
    # The environment of `make setup` has every package; the Python of the caller may have some of them.
    # Folders are compared: an interpreter of that environment has several names, and must not start itself again.
    with suppress(OSError):  # there is none, or one of another machine: the Python of the caller may do
        if not Path(sys.executable).parent.samefile(_PYTHON.parent):
            os.execv(_PYTHON, [str(_PYTHON), *sys.argv])  # noqa: S606  # the same program, by the right interpreter
    if sys.version_info < (3, 11):  # noqa: UP036  # whatever Python the caller has reads this file
        sys.stderr.write(
            "Error: Model Fleet needs Python 3.11 or newer\nHint: Run `make setup PYTHON=python3.11`.\n"
        )
        sys.exit(2)
    sys.path.insert(0, str(_ROOT))  # `python -I` and `-P` leave it out

try:
    from cli.commands import main

    if __name__ == "__main__":
        main(prog_name="fleet_cli.py")
except ModuleNotFoundError as error:
    package = (error.name or "").partition(".")[0]
    if (_ROOT / package).is_dir():
        raise
    sys.stderr.write(
        f"Error: {sys.executable} has no package `{package}`\nHint: Run `make setup`; see README.md.\n"
    )
    sys.exit(2)
except KeyboardInterrupt:
    sys.exit("Aborted!")
