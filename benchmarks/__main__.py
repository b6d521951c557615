"""`python -m benchmarks [NAME ...]`: runs benchmarks, prints their tables and writes them to `docs/benchmarks.md`.

A benchmark is a module of this folder with `measure() -> list[Report]`. Each measures its baseline in the same run, because
machines are noisy and only ratios are comparable.
"""

import importlib
import platform
import sys
import time
from pathlib import Path

from benchmarks.report import Report, replace_section, section

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "benchmarks.md"
HELPERS = {"report", "__main__"}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; return the exit code, 2 for an unknown name."""
    known = sorted({path.stem for path in FOLDER.glob("[a-z]*.py")} - HELPERS)
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"unknown benchmark: {', '.join(unknown)}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names or known:
        began = time.monotonic()
        reports: list[Report] = importlib.import_module(f"benchmarks.{name}").measure()
        text = section(name, reports, when=time.strftime("%Y-%m-%d", time.gmtime()), where=machine())
        print(f"{text}\n({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
        PAGE.write_text(replace_section(PAGE.read_text("utf-8"), name, text), "utf-8")
    return 0


def machine() -> str:
    """Return the cores and the Python version of this machine."""
    cores = len(
        [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")]
    )
    return f"{cores} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
