"""Faults for the stand-in of a running fleet, and the events that they lead to."""

import json
import urllib.request
from typing import Any

from fleet.runtime.home import read_fleet_file
from tests.processes.fleet import FleetProcess


def fault(fleet: FleetProcess, **row: Any) -> None:
    """Give the stand-in a fault, or lift them all with `clear=True`."""
    started = read_fleet_file(fleet.home)
    assert started is not None
    request = urllib.request.Request(
        f"{started.ollama_url}/standin/faults", json.dumps(row).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def events(fleet: FleetProcess, kind: str) -> list[dict[str, Any]]:
    """Return the history's events of a kind."""
    done = fleet.cli("history", "--json", "-n", "1000")
    assert done.returncode == 0, done.stderr
    return [row for row in json.loads(done.stdout) if row["kind"] == kind]
