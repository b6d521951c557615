"""The environment of `make setup`: commands for people run in it, started by any Python.

Any Python reads this file, also one that is too old for the fleet.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


def enter_environment(root: Path, *arguments: str) -> None:
    """Run a program anew by the interpreter of `make setup`. Return if it runs already, or if there is none.

    That environment has every package; the Python of the caller may lack some. Folders are compared, since an
    interpreter of that environment has several names and must not start itself again. Exit with code 2 if the only
    Python left is too old.
    """
    _open_closed_outputs()
    python = root / ".venv" / "bin" / "python"
    with suppress(OSError):  # there is none, or one of another machine: the Python of the caller may do
        if not Path(sys.executable).parent.samefile(python.parent):
            os.execv(python, [str(python), *arguments])  # noqa: S606  # the same program, by the right interpreter
    if sys.version_info < (3, 11):  # noqa: UP036  # see the module's docstring
        sys.stderr.write(
            "Error: Model Fleet needs Python 3.11 or newer\nHint: Run `make setup PYTHON=python3.11`.\n"
        )
        sys.exit(2)


def _open_closed_outputs() -> None:
    """Open /dev/null for standard output and error if the caller closed them (`2>&-`): Python has None there."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # until the end


def refuse_missing_package(root: Path, error: ModuleNotFoundError) -> NoReturn:
    """Exit with code 2 and the remedy if a third-party package is missing. Raise the error again for one of ours."""
    package = (error.name or "").partition(".")[0]
    if (root / package).is_dir():
        raise error
    sys.stderr.write(
        f"Error: {sys.executable} has no package `{package}`\nHint: Run `make setup`; see README.md.\n"
    )
    sys.exit(2)
