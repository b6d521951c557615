"""Who left an expression pending in the database: a name that a home keeps, wherever it is mounted.

The host's name will not do: a container gets a new one each time it is made, and what its forerunner left would be
nobody's for ever.
"""

import os
from pathlib import Path

from fleet.runtime.atomic_write import replace_text

_LONGEST = 64


def owner_of(path: Path, lane: str) -> str:
    """Return the name kept in a file, made at the first call, for a lane of the home.

    Where the file cannot be kept, host and path have to do.
    """
    try:
        name = _kept(path) or _made(path)
    except OSError:
        name = f"{os.uname().nodename}:{path.parent}"
    return f"{name}/{lane}"[-255:]


def _kept(path: Path) -> str:
    try:
        return "".join(filter(str.isalnum, path.read_text(errors="replace")))[:_LONGEST]
    except FileNotFoundError:
        return ""


def _made(path: Path) -> str:
    name = os.urandom(8).hex()
    replace_text(path, name + "\n")
    return name
