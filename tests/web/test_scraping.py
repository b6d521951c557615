"""/metrics of a running fleet, scraped by a real Prometheus."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest

from fleet.clients.ollama import Ollama
from fleet.runtime.home import ROOT, process_environ, read_fleet_file
from tests.parts.prometheus import program, prometheus
from tests.processes.fleet import eventually
from tests.web.conftest import Served

pytestmark = pytest.mark.slow
DASHBOARD = ROOT / "docs" / "observability" / "dashboard.json"
RULES = ROOT / "docs" / "observability" / "alerts.yml"


def total(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name}{{"))


def settled(served: Served) -> None:
    """Wait until the fleet has come down the ladder and mines."""
    eventually(lambda: total(served.metrics(), "fleet_alphas_total") > 3, within=120, what="alphas")


def test_prometheus_scrapes_it_and_the_counters_survive_kills(served: Served, tmp_path: Path) -> None:
    settled(served)
    with prometheus(served.address, tmp_path, rules=[RULES]) as server:
        eventually(lambda: server.value("fleet_up") == 1, within=60, what="a scrape")
        assert server.value("up") == 1
        assert (server.value('sum(fleet_incidents_total{cause="allocation"})') or 0) >= 3
        assert (server.value('fleet_switches_total{kind="downgrade",result="done"}') or 0) >= 1
        names = (
            "fleet_incidents_total",
            "fleet_switches_total",
            "fleet_generation_tokens_total",
            "fleet_alphas_total",
        )
        before = {name: server.value(f"sum({name})") or 0 for name in names}
        for name in ("generator", "monitor", "web"):
            os.kill(served.fleet.pid(name), signal.SIGKILL)
        time.sleep(1)
        eventually(lambda: served.answers() or None, what="the page is back")
        eventually(
            lambda: (server.value("sum(fleet_alphas_total)") or 0) > before["fleet_alphas_total"],
            within=90,
            what="alphas after the kills",
        )
        for name, value in before.items():
            assert (server.value(f"sum({name})") or 0) >= value, name
            assert server.value(f"sum(resets({name}[5m]))") == 0, name


def test_promtool_finds_no_fault_in_a_running_fleets_metrics(served: Served) -> None:
    settled(served)
    text = served.metrics()
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 200


def test_each_query_of_the_dashboard_finds_something(served: Served, tmp_path: Path) -> None:
    settled(served)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert len(queries) >= 10
    with prometheus(served.address, tmp_path) as server:

        def empty() -> list[str]:
            asked = [query.replace("$__rate_interval", "1m").replace("$instance", ".+") for query in queries]
            return [query for query in asked if "gpu_memory" not in query and not server.query(query)]

        eventually(lambda: not empty(), within=60, what="each query")
        assert not empty()


def test_the_pages_environment_holds_no_secret(served: Served) -> None:
    environ = process_environ(served.fleet.pid("web"))
    assert environ["FLEET_HOME"] == str(served.fleet.home.path)
    assert "not-for-the-page" not in environ.values()


def test_scraping_never_lengthens_a_models_stay(served: Served) -> None:
    """Scrapes go on while a model's keep-alive runs out: it leaves in time, and the clients' own time stays as it was."""
    started = read_fleet_file(served.fleet.home)
    assert started is not None
    served.fleet.supervisor.stop("generator")
    ollama = Ollama(started.ollama_url)
    body = {"model": "qwen2.5:0.5b", "prompt": "x", "keep_alive": "4s", "options": {"num_predict": 1}}
    for loaded in ollama.loaded():
        ollama.unload(loaded.name)
    ollama.generate(body, first_token=30, stall=30)
    loaded_at = time.monotonic()

    def expiry() -> list[float]:
        with urllib.request.urlopen(f"{started.ollama_url}/api/ps", timeout=5) as answer:
            rows = json.load(answer)["models"]
        return [datetime.fromisoformat(row["expires_at"][:23] + "+00:00").timestamp() for row in rows]

    first = expiry()
    assert first
    while time.monotonic() - loaded_at < 3:
        served.metrics()
        assert expiry() == pytest.approx(first, abs=0.5)
    eventually(lambda: served.metrics() and not expiry(), within=10, what="the model leaves")
    eventually(
        lambda: 'fleet_model_loaded{model="qwen2.5:0.5b"} 0.0' in served.metrics(),
        within=10,
        what="its metric",
    )
    served.fleet.supervisor.start("generator")
