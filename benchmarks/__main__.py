"""`python -m benchmarks [NAME ...]`: measure, print a table for each, and keep it in `docs/benchmarks.md`.

A benchmark is a module of this folder with `measure() -> list[Report]`. Each names what it is held against, measured
in the same run: these machines are noisy, and only ratios last.
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
    """Run the named benchmarks, all if none is named."""
    known = sorted({path.stem for path in FOLDER.glob("[a-z]*.py")} - HELPERS)
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names or known:
        began = time.monotonic()
        reports: list[Report] = importlib.import_module(f"benchmarks.{name}").measure()
        text = section(name, reports, when=time.strftime("%Y-%m-%d", time.gmtime()), where=machine())
        print(f"{text}\n({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
        PAGE.write_text(replace_section(PAGE.read_text("utf-8"), name, text), "utf-8")
    return 0


def machine() -> str:
    """What the figures were taken on."""
    cores = len(
        [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")]
    )
    return f"{cores} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
