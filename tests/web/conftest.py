"""A fleet on the stand-in whose page is on, shared by a module's tests."""

import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.prometheus import free_port
from tests.processes.fleet import FleetProcess, eventually


@dataclass(frozen=True, slots=True)
class Served:
    """A running fleet, and the address of its page."""

    fleet: FleetProcess
    address: str

    @property
    def url(self) -> str:
        """Return the page's URL."""
        return f"http://{self.address}"

    @property
    def token(self) -> str:
        """Return the page's token."""
        return self.fleet.home.web_token.read_text().strip()

    def metrics(self) -> str:
        """Return the text of /metrics."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def answers(self) -> bool:
        """Return True if the page answers."""
        try:
            return bool(self.metrics())
        except OSError:
            return False


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Run a fleet with a page, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"127.0.0.1:{free_port()}"
        fleet = FleetProcess(
            Path(folder) / "home",
            FLEET_WEB_LISTEN=address,
            FLEET_POLICY_CHECK_INTERVAL="1s",
            FLEET_POLICY_RECOVER_AFTER="0s",
            FLEET_BRAIN_PASSWORD="not-for-the-page",
        )
        fleet.start()
        try:
            found = Served(fleet, address)
            eventually(found.answers, what=f"the page answers\n{fleet.output()}")
            yield found
        finally:
            fleet.stop()
