"""The page in a real Chromium: views, live changes, stale marks, actions, and what is refused."""

import json
import os
import signal
import socket
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.parts.chromium import AXE, chromium
from tests.processes.fleet import eventually, stamped_failure
from tests.web.conftest import Served
from web.page.paths import VIEWS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
SERIOUS = {"serious", "critical"}
DESKTOP, PHONE = {"width": 1366, "height": 900}, {"width": 390, "height": 844}
HIDE = (
    "Object.defineProperty(document, 'hidden', {{value: {value}, configurable: true}});"
    " document.dispatchEvent(new Event('visibilitychange'))"
)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def mining(served: Served) -> None:
    """Wait until the fleet has come down the ladder, and alphas are there."""
    eventually(lambda: "fleet_alphas_total{" in served.metrics(), within=120, what="alphas")


@pytest.fixture
def page(browser: "Browser", served: Served) -> Iterator["Page"]:
    context = browser.new_context(viewport=DESKTOP)
    found = context.new_page()
    found.set_default_timeout(30_000)
    found.goto(served.url)
    found.wait_for_selector(".parts section")
    yield found
    context.close()


def shown(page: "Page", text: str) -> bool:
    return text in page.inner_text(".parts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_each_view_opens_without_a_serious_fault(
    browser: "Browser", served: Served, size: Any, scheme: Any
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page, faults, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    for path, name in (
        *VIEWS,
        (f"/alphas/{alpha_with_figures(served)}", "Alphas"),
        ("/diverse?count=2", "Alphas"),
    ):
        page.goto(served.url + path)
        page.wait_for_selector(".parts section")
        if path.startswith(("/alphas/", "/diverse")):  # filled once it is computed
            page.wait_for_selector("section img, section table", timeout=120_000)
        assert page.title().startswith(name)
        assert page.inner_text("nav a[aria-current=page]") == name
        found = AXE.run(page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS]
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
        if path.startswith(("/alphas", "/diverse", "/models")):
            scrolled = page.evaluate(
                "[...document.querySelectorAll('.scroll')].map(one => one.scrollWidth - one.clientWidth)"
            )
            assert not any(scrolled), f"a table of {path} is cut off: {scrolled}"
            lines = page.evaluate(
                "[...document.querySelectorAll('td time')].map(one => one.getClientRects().length)"
            )
            assert all(one <= 2 for one in lines), "a time is broken within its date or its hour"
    assert not faults
    assert not [url for url in asked if not url.startswith((served.url, "data:", "blob:"))]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(background.removeprefix("rgb(").partition(",")[0]) < 128) == (scheme == "dark")
    context.close()


def alpha_with_figures(served: Served) -> int:
    def best() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = answer(served, "/api/alphas?limit=1", method="GET")[1]
        return rows

    return int(eventually(best, what="an alpha")[0]["id"])


def test_an_alpha_shows_its_plot_or_why_there_is_none(page: "Page", served: Served) -> None:
    number = alpha_with_figures(served)
    page.goto(f"{served.url}/alphas/{number}")
    page.wait_for_function("document.querySelector('img.plot')?.naturalWidth > 100", timeout=120_000)
    with sqlite3.connect(served.fleet.home.database, timeout=30) as connection:
        connection.execute(
            "UPDATE evaluations SET expression = 'no_such(x)', settings_key = 'other' WHERE id = ?", (number,)
        )
    page.reload()
    page.wait_for_selector("section[aria-label='Running PnL'] .bad", timeout=120_000)
    assert "unknown field or name 'x'" in page.inner_text("section[aria-label='Running PnL'] .bad")


def test_an_incident_shows_without_reloading(page: "Page", served: Served) -> None:
    before = page.inner_text(".parts").count("GPU-memory incident")
    with (served.fleet.home.log / "ollama.log").open("a") as log:
        log.write(stamped_failure(time.time()) + "\n")
    eventually(
        lambda: page.inner_text(".parts").count("GPU-memory incident") > before,
        within=10,
        what="the incident",
    )
    page.goto(f"{served.url}/incidents?kind=incident")
    page.wait_for_selector("details")
    page.click("details summary >> nth=0")
    assert "cudaMalloc failed: out of memory" in page.inner_text("details >> nth=0")


def test_a_program_that_hangs_is_marked_stale(page: "Page", served: Served) -> None:
    monitor = served.fleet.pid("monitor")
    os.kill(monitor, signal.SIGSTOP)
    try:
        eventually(lambda: shown(page, "stale"), within=20, what="the stale mark")
    finally:
        os.kill(monitor, signal.SIGCONT)
    eventually(lambda: not shown(page, "stale"), within=20, what="the mark goes")


def test_a_hidden_tab_polls_nothing(page: "Page", served: Served) -> None:
    frames: list[str] = []

    def watch(opened: Any) -> None:
        opened.on("framereceived", lambda data: frames.append(str(data)))
        opened.on("framesent", lambda data: frames.append(str(data)))

    page.on("websocket", watch)
    page.reload()
    page.wait_for_selector(".parts section")
    eventually(lambda: frames, what="a frame while it is visible")
    page.evaluate(HIDE.format(value="true"))
    page.wait_for_timeout(1500)
    frames.clear()
    page.wait_for_timeout(4000)
    # Left are the connection's own: pings, and the receipt of the last message before the tab was hidden.
    assert not [frame for frame in frames if frame not in {"2", "3"} and not frame.startswith('42["ack"')]
    page.evaluate(HIDE.format(value="false"))
    eventually(lambda: _waited(page) and frames, within=10, what="it is live again")


def _waited(page: "Page") -> bool:
    page.wait_for_timeout(200)  # lets Playwright deliver the frames
    return True


def test_the_keyboard_opens_views_and_the_address_keeps_the_sort(page: "Page", served: Served) -> None:
    page.keyboard.press("3")
    page.wait_for_url("**/alphas")
    page.wait_for_selector("th a")
    page.click("th a:has-text('Sharpe')")
    page.wait_for_url("**sort=sharpe*")
    page.reload()
    page.wait_for_selector("th a[aria-current=true]")
    assert page.inner_text("th a[aria-current=true]").startswith("Sharpe")


def test_an_action_asks_first_and_needs_the_token(page: "Page", served: Served) -> None:
    rung = served.fleet.state.current_model_index
    page.click("button:has-text('Reset')")
    page.wait_for_selector(".dialog")
    page.fill("input[type=password]", "wrong")
    # Both at once: the dialog grows while it opens.
    inside = page.evaluate(
        """() => {
            const [frame, field] = [".dialog .q-field__control", ".dialog input"].map(
                (name) => document.querySelector(name).getBoundingClientRect());
            return frame.top <= field.top && field.bottom <= frame.bottom;
        }"""
    )
    assert inside, "the typed text is cut off"
    page.click(".dialog button.go")
    page.wait_for_selector("text=This is not the token")
    assert served.fleet.state.current_model_index == rung
    page.fill("input[type=password]", served.token)
    page.click(".dialog button.go")
    eventually(lambda: served.fleet.state.last_switch and served.fleet.state.last_switch.kind.value == "reset",
               within=60, what="the reset")  # fmt: skip
    page.wait_for_selector(".dialog", state="hidden", timeout=60_000)
    assert page.evaluate("sessionStorage.getItem('fleet.token')") == served.token


def answer(served: Served, path: str, *, method: str = "POST", **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(served.url + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_script_acts_with_the_token_alone(served: Served) -> None:
    bearer = {"Authorization": f"Bearer {served.token}"}
    switches = served.fleet.state.switches
    assert answer(served, "/api/actions/downgrade")[0] == 401
    assert answer(served, "/api/actions/downgrade", Authorization="Bearer x")[0] == 401
    assert answer(served, "/api/actions/downgrade", Origin="http://evil.example", **bearer)[0] == 403
    assert answer(served, "/api/actions/downgrade", Host="evil.example", **bearer)[0] == 403
    assert answer(served, "/api/actions/explode", **bearer)[0] == 404
    assert answer(served, "/api/actions/pause?duration=soon", **bearer)[0] == 409
    assert answer(served, "/api/actions/downgrade", method="GET", **bearer)[0] in {404, 405}
    assert served.fleet.state.switches == switches
    status, said = answer(served, "/api/actions/downgrade", **bearer)
    assert (status, said["done"]) == (200, True), said
    assert served.fleet.state.switches > switches


@pytest.mark.parametrize(("origin", "accepted"), [("http://evil.example", False), ("", True)])
def test_another_origins_websocket_is_refused(served: Served, origin: str, accepted: bool) -> None:
    host, _, port = served.address.partition(":")
    ours = origin or served.url
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            (
                f"GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {served.address}\r\n"
                f"Origin: {ours}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            ).encode()
        )
        status = connection.recv(100).split(b" ")[1]
    assert status == (b"101" if accepted else b"403")


def test_the_json_is_that_of_the_commands(served: Served) -> None:
    for path, key in (("status", "current_model"), ("report?days=1", "models")):
        assert key in answer(served, f"/api/{path}", method="GET")[1]
    assert answer(served, "/api/history?last=3", method="GET")[1][-1]["number"]
    assert answer(served, "/api/alphas?limit=2", method="GET")[1]
    assert answer(served, "/api/alphas?sort=x", method="GET")[0] == 400


@pytest.mark.parametrize("number", ["none", "0", "9" * 30, "<b>x"])
def test_an_alpha_that_is_not_there_is_said_on_the_page(page: "Page", served: Served, number: str) -> None:
    page.goto(f"{served.url}/alphas/{urllib.parse.quote(number)}")
    page.wait_for_selector("section[aria-label='Alpha']")
    assert f"There is no alpha {number}." in page.inner_text("section[aria-label='Alpha']")
