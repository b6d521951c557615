"""A real Prometheus on a free port, in a folder of its own, that scrapes one address every second."""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts.require import require

PART = "prometheus"
_CONFIG = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
rule_files: {rules}
scrape_configs:
  - job_name: fleet
    static_configs:
      - targets: ["{target}"]
"""


def program(name: str) -> str:
    """Return the path of Prometheus or of promtool."""
    found = shutil.which(name)
    if found is None:
        require(PART, f"there is no {name}")
    return found


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=10) as answer:
            row = json.load(answer)
        assert row["status"] == "success", row
        result: list[dict[str, Any]] = row["data"]["result"]
        return result

    def value(self, expression: str) -> float | None:
        """Return the value of a query with one series, None if it is empty."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None


@contextmanager
def prometheus(target: str, folder: Path, *, rules: Sequence[Path] = ()) -> Iterator[Prometheus]:
    """Run a server that scrapes a target, and end it."""
    path, port = program("prometheus"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(_CONFIG.format(target=target, rules=json.dumps([str(one) for one in rules])))
    command = [
        path, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        _wait(server, child, folder / "log")
        yield server
    finally:
        child.kill()
        child.wait()


def _wait(server: Prometheus, child: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and child.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.url}/-/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"Prometheus does not answer\n{log.read_text(errors='replace')}")
