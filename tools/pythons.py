"""`python -m tools.pythons`: run the unit tests on every other Python from 3.11 on that this machine has.

Interpreters are looked for on PATH and among pyenv's versions. Each gets an environment of its own, `build/python3.N`,
with the locked packages. Exits 1 if tests fail on one of them; a machine with a single Python is fine. `--newest` takes
only the newest of them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_OLDEST = (3, 11)
_NAME = re.compile(r"python3\.\d+")
_PATIENCE = 20.0
# The modules that an environment needs; Debian's Python lacks ensurepip without python3-venv.
_ASK = "import sys, venv, ensurepip; print(sys.version_info.major, sys.version_info.minor)"

Version = tuple[int, int]


def folders(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield the folders of interpreters: pyenv's versions first, since its shims on PATH run only some of them."""
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    yield from sorted(pyenv.glob("versions/*/bin"))
    yield from (Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder)


def interpreters(places: Iterable[Path]) -> dict[Version, Path]:
    """Return the first interpreter of each version that runs and can make an environment, oldest version first."""
    found: dict[Version, Path] = {}
    for folder in places:
        for path in sorted(folder.glob("python3.*")):
            if _NAME.fullmatch(path.name) and (version := _version(path)) is not None:
                found.setdefault(version, path)
    return {version: found[version] for version in sorted(found) if version >= _OLDEST}


def _version(python: Path) -> Version | None:
    try:
        asked = subprocess.run(
            [python, "-c", _ASK], capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
        major, minor = map(int, asked.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return major, minor


def summary(own: Version, others: Mapping[Version, Path]) -> str:
    """Return a sentence on this machine's Pythons."""
    named = [f"{_shown(version)} ({path})" for version, path in others.items()]
    return f"Python {', '.join([f'{_shown(own)} (make setup)', *named])}"


def _shown(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def passes(version: Version, python: Path) -> bool:
    """Return True if the unit tests pass on a Python, in its own environment."""
    folder = _ROOT / "build" / f"python{_shown(version)}"
    inside = str(folder / "bin" / "python")
    # Without compiling: the tests import only a part.
    install = "-q --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.txt"
    tests = "tests/unit -q -n 2 -p no:cacheprovider --hypothesis-profile=brief"
    steps = [
        [str(python), "-m", "venv", str(folder)],
        [inside, "-m", "pip", "install", *install.split()],
        [inside, "-m", "generator.backtest.warm"],  # once: each worker would compile the kernels
        [inside, "-m", "pytest", "-m", "not slow", *tests.split()],
    ]
    print(f"Unit tests on Python {_shown(version)} ...", flush=True)
    return all(subprocess.run(step, cwd=_ROOT, check=False).returncode == 0 for step in steps)


def main(arguments: Sequence[str] = ()) -> int:
    """Run the unit tests on each other Python, or on the newest; return the exit code."""
    own = sys.version_info[:2]
    others = interpreters(folders(os.environ, Path.home()))
    others.pop(own, None)
    print(summary(own, others), flush=True)
    if "--newest" in arguments:
        others = dict(list(others.items())[-1:])
    failed = [_shown(version) for version, python in others.items() if not passes(version, python)]
    if failed:
        print(f"The unit tests fail on Python {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
