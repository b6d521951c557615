"""The page of a fleet with two lanes, in a real Chromium: side by side, each on its own, and its actions."""

import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state.store import read_state
from tests.parts.chromium import AXE, chromium
from tests.parts.prometheus import free_port
from tests.processes.fleet import FleetProcess, eventually, stamped_failure
from tests.web.conftest import Served

pytestmark = pytest.mark.slow
TOML = """
[[lane]]
name = "gpu0"
[[lane]]
name = "gpu1"
ladder = ["tinyllama:1.1b", "qwen2.5:0.5b"]
"""


@pytest.fixture(scope="module")
def lanes() -> Iterator[Served]:
    """Run a fleet with two lanes and a page, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "fleet.toml").write_text(TOML)
        address = f"127.0.0.1:{free_port()}"
        fleet = FleetProcess(
            Path(folder) / "home",
            FLEET_CONFIG=f"{folder}/fleet.toml",
            FLEET_WEB_LISTEN=address,
            FLEET_STANDIN_VRAM="64 GB",
            FLEET_POLICY_CHECK_INTERVAL="1s",
        )
        try:
            fleet.start()
            found = Served(fleet, address)
            eventually(found.answers, what=f"the page answers\n{fleet.output()}")
            yield found
        finally:
            fleet.stop()


def rung(served: Served, lane: str) -> int:
    state = read_state(served.fleet.home.of_lane(lane))
    assert state is not None
    return state.current_model_index


def test_lanes_stand_side_by_side_and_each_on_its_own(lanes: Served) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(lanes.url)
        columns = {name: f"[aria-label='Lane {name}']" for name in ("gpu0", "gpu1")}
        for column in columns.values():
            page.wait_for_selector(f"{column} section table")
        assert "llama3.2:3b" in page.inner_text(columns["gpu0"])
        assert "llama3.2:3b" not in page.inner_text(columns["gpu1"])
        violations = AXE.run(page).response["violations"]
        assert not [one["id"] for one in violations if one["impact"] in {"serious", "critical"}]
        with (lanes.fleet.home.of_lane("gpu1").log / "ollama.log").open("a") as log:
            log.write(stamped_failure(time.time()) + "\n")
        eventually(
            lambda: page.wait_for_timeout(100) or "1 of 3 incidents" in page.inner_text(columns["gpu1"]),
            within=30, what="the incident of one lane",
        )  # fmt: skip
        assert "0 of 3 incidents" in page.inner_text(columns["gpu0"])
        page.click("nav[aria-label='Lanes'] a:has-text('gpu1')")
        page.wait_for_url("**/?lane=gpu1")
        page.wait_for_selector("section[aria-label='Last events'] table")
        page.click("nav[aria-label='Views'] a:has-text('Incidents')")
        page.wait_for_url("**/incidents?lane=gpu1")
        page.wait_for_selector("details")
        page.click("nav[aria-label='Lanes'] a:has-text('gpu0')")
        page.wait_for_url("**/incidents?lane=gpu0")
        page.wait_for_selector("section[aria-label='Events']")
        assert not page.query_selector("details")


def act(served: Served, path: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{served.url}/api/actions/{path}", method="POST", headers={"Authorization": f"Bearer {served.token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_action_is_of_one_lane_or_of_all(lanes: Served) -> None:
    rungs = {name: rung(lanes, name) for name in ("gpu0", "gpu1")}
    status, said = act(lanes, "downgrade")
    assert (status, said["done"]) == (409, False)
    assert "--lane" in said["sentence"]
    assert act(lanes, "downgrade?lane=none")[0] == 404
    assert {name: rung(lanes, name) for name in rungs} == rungs
    status, said = act(lanes, "downgrade?lane=gpu0")
    assert (status, said["done"]) == (200, True), said
    assert {name: rung(lanes, name) for name in rungs} == {**rungs, "gpu0": rungs["gpu0"] + 1}
    for action, paused in (("pause", True), ("resume", False)):
        assert act(lanes, action)[0] == 200
        states = [read_state(lanes.fleet.home.of_lane(name)) for name in rungs]
        assert [state is not None and state.pause is not None for state in states] == [paused, paused]
