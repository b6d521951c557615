"""Errors of the JSON API: each is an object with `error`, whatever the address holds."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cli.target import find_fleet
from web.access import AccessRules
from web.readings import MemoryWatch, Readings
from web.server import build

TOKEN = "t" * 24
Ask = Callable[[str, str], tuple[int, Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Return a function that sends a request to the application of an empty home."""
    home = tmp_path_factory.mktemp("home")
    (home / "model_fleet_state.json").write_text("{}")
    fleet = find_fleet(None, {"FLEET_HOME": str(home)})
    app = build(Readings(fleet, MemoryWatch(fleet)), AccessRules("127.0.0.1", 9800, "box", TOKEN))
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # the same protocol in other words

    async def send(method: str, path: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9800") as client:
            answer = await client.request(method, path, headers=headers)
            return answer.status_code, answer.json()

    return lambda method, path: asyncio.run(send(method, path))


@pytest.mark.parametrize(
    ("method", "path", "status", "named"),
    [
        ("GET", "/api/history?last=foo", 400, "last is 'foo'"),
        ("GET", "/api/history?last=", 400, "last is ''"),
        ("GET", "/api/history?last=1.5", 400, "last is '1.5'"),
        ("GET", "/api/alphas?limit=foo", 400, "limit is 'foo'"),
        ("GET", "/api/alphas?sort=foo", 400, "sort by one of"),
        ("GET", "/api/report?days=foo", 400, "days is 'foo'"),
        ("GET", "/api/alphas/foo/pnl.png", 400, "number is 'foo'"),
        ("GET", "/api/alphas/7/pnl.png", 404, "alpha 7"),
        ("GET", f"/api/alphas/{10**30}/pnl.png", 404, "alpha 10"),
        ("GET", "/api/status?lane=nope", 404, "lane 'nope'"),
        ("GET", "/api/history?lane=nope", 404, "lane 'nope'"),
        ("GET", "/api/report?lane=nope", 404, "lane 'nope'"),
        ("POST", "/api/actions/pause?lane=nope", 404, "lane 'nope'"),
        ("POST", "/api/actions/explode", 404, "action 'explode'"),
        ("GET", "/api/actions/pause", 404, "GET '/api/actions/pause'"),
        ("DELETE", "/api/status", 404, "DELETE '/api/status'"),
        ("GET", "/api/nothing", 404, "GET '/api/nothing'"),
        ("GET", "/api/", 404, "GET '/api/'"),
    ],
)
def test_an_error_is_an_object_that_names_the_place(
    ask: Ask, method: str, path: str, status: int, named: str
) -> None:
    found, row = ask(method, path)
    assert (found, set(row) - {"hint"}) == (status, {"error"})
    assert named in row["error"]


def test_what_is_right_is_answered(ask: Ask) -> None:
    assert ask("GET", "/api/history?last=3") == (200, [])
    assert ask("GET", "/api/alphas?limit=3") == (200, [])
