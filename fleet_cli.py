#!/usr/bin/env python3
"""The command line of a fleet: look in and take over.

    python fleet_cli.py status | watch | report | alphas | history | doctor | scan FILE…
    python fleet_cli.py reset | downgrade | upgrade | use MODEL | unpin

Results go to standard output, errors with a hint to standard error. Exit codes: 0 done, 1 it could not be
done, 2 usage or configuration or no fleet here, 3 saved and takes effect when supervisord runs again.
"""

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent
_VENV = _ROOT / ".venv" / "bin" / "python"
try:
    from cli.commands import main
except ModuleNotFoundError as error:
    # Asked with a Python that lacks the packages: `make setup` made one beside this file that has them.
    if (_ROOT / (error.name or "").partition(".")[0]).is_dir():
        raise
    if _VENV.exists() and Path(sys.prefix).resolve() != _VENV.parent.parent:
        os.execv(_VENV, [str(_VENV), *sys.argv])  # noqa: S606  # the same program, by the right interpreter
    sys.exit("The packages of Model Fleet are not installed here; run `make setup` first.")
except KeyboardInterrupt:
    sys.exit("Aborted!")

if __name__ == "__main__":
    main(prog_name="fleet_cli.py")
