"""The JSON of a fleet with lanes: what the commands print, of all lanes or of a named one."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from cli.target import find_fleet
from fleet.policy.events import Event, EventKind
from state.history import HistoryFile
from web.access import AccessRules
from web.readings import MemoryWatch, Readings
from web.server import build

TOKEN = "t" * 24


def ask(home: Path, config: Path, *paths: str) -> list[Any]:
    fleet = find_fleet(str(config), {"FLEET_HOME": str(home)})
    lanes = [Readings(lane, MemoryWatch(lane)) for lane in fleet.lanes()]
    app = build(lanes[0], AccessRules("127.0.0.1", 9800, "box", TOKEN), lanes)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # the same protocol in other words

    async def send() -> list[Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9800") as client:
            return [(await client.get(path, headers=headers)).json() for path in paths]

    return asyncio.run(send())


def test_history_and_report_without_a_lane_are_those_of_all_lanes(tmp_path: Path) -> None:
    config = tmp_path / "fleet.toml"
    config.write_text('[[lane]]\nname = "a"\nurl = "http://a:1"\n[[lane]]\nname = "b"\nurl = "http://b:1"\n')
    home = tmp_path / "home"
    for number, name in enumerate(("b", "a", "b"), 1):
        folder = home / "lanes" / name
        folder.mkdir(parents=True, exist_ok=True)
        event = Event(number, float(number), EventKind.RESUMED, {})
        HistoryFile(folder / "history.jsonl").append((event,))
    (home / "model_fleet_state.json").write_text("{}")
    history, last, of_one, report, report_of_one = ask(
        home,
        config,
        "/api/history",
        "/api/history?last=1",
        "/api/history?lane=a",
        "/api/report",
        "/api/report?lane=b",
    )
    assert [(row["number"], row["lane"]) for row in history] == [(1, "b"), (2, "a"), (3, "b")]
    assert [row["number"] for row in last] == [3]
    assert [row["number"] for row in of_one] == [2]
    assert list(report["lanes"]) == ["a", "b"]
    assert "models" in report_of_one
