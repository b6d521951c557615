"""docs/observability: each alert has a unit test, and no query names a metric that there is not."""

import json
import re
import subprocess

import pytest

from fleet.runtime.home import ROOT
from tests.parts.prometheus import program
from tests.unit.web.test_metrics import NAMES

FOLDER = ROOT / "docs" / "observability"
ALERTS = (FOLDER / "alerts.yml").read_text()
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
_FAMILY = re.compile(r"_(bucket|sum|count)$")


def test_each_alert_fires_and_resolves_in_a_test() -> None:
    tests = (FOLDER / "alerts_test.yml").read_text()
    for alert in re.findall(r"- alert: (\w+)", ALERTS):
        checks = re.findall(rf"alertname: {alert}\b(.*)", tests)
        assert len(checks) == 3, alert
        assert tests.count(f"alertname: {alert}\n        exp_alerts:") == 1, alert


@pytest.mark.parametrize("command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool_accepts_the_rules(command: list[str]) -> None:
    done = subprocess.run(
        [program("promtool"), *command], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_queries_name_metrics_of_the_contract() -> None:
    known = {_FAMILY.sub("", name) for name in NAMES}
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    queries += re.findall(r"expr: (.*)", ALERTS)
    found = {_FAMILY.sub("", name) for query in queries for name in re.findall(r"fleet_\w+", query)}
    assert found <= known
    assert len(found) >= 15
