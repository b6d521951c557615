"""`make demo` whose fleet cannot start."""

import subprocess
import sys
from pathlib import Path

from fleet.runtime.home import ROOT


def test_a_fleet_that_does_not_start_says_why_and_nothing_happened(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)  # too long for a socket's address
    done = subprocess.run(
        [sys.executable, "-m", "cli.demo", "--home", str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "too long a path" in done.stderr
    assert "What happened" not in done.stdout
    assert not home.exists()
