"""`python -m tools.audit FILE...`: ask whether the locked packages have known vulnerabilities.

Exits 1 if one has. Without the data (no network, a mirror without it) it prints that and exits 0: work must go on
offline.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit of one lock file."""

    asked: int
    unknown: int
    vulnerable: tuple[str, ...]


def read_audit(text: str) -> Audit:
    """Return the audit in pip-audit's JSON; raise ValueError for any other text."""
    try:
        rows: list[dict[str, Any]] = json.loads(text)["dependencies"]
        unknown = sum("skip_reason" in row for row in rows)
        found = [
            f"{row['name']} {row['version']}: {_sentence(one)}"
            for row in rows
            for one in row.get("vulns", ())
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no report of pip-audit: {error!r}") from error
    return Audit(len(rows), unknown, tuple(found))


def _sentence(vulnerability: dict[str, Any]) -> str:
    versions = vulnerability.get("fix_versions") or []
    return f"{vulnerability['id']}, mended in {', '.join(versions) or 'no version yet'}"


def audit(lock: Path) -> Audit | None:
    """Return the audit of a lock file's packages, None without the data."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            str(lock),
            "--require-hashes",
            "--disable-pip",
        ]
        options = [
            "--format",
            "json",
            "--output",
            str(report),
            "--progress-spinner",
            "off",
            "--timeout",
            "10",
        ]
        try:
            subprocess.run([*command, *options], capture_output=True, check=False, timeout=_PATIENCE)
            return read_audit(report.read_text())
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None


def main(names: list[str]) -> int:
    """Print a line for each lock file; return 1 if a package in one has a known vulnerability."""
    code = 0
    for name in names:
        found = audit(Path(name))
        if found is None or found.unknown == found.asked:
            print(f"{name}: not audited, the data cannot be had here")
            continue
        print(
            f"{name}: {found.asked - found.unknown} of {found.asked} packages audited, {len(found.vulnerable)} faults"
        )
        for line in found.vulnerable:
            print(f"  {line}")
        code = code or int(bool(found.vulnerable))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
