"""`make pictures`: draws the page and the live view for the README and docs, from a run on the stand-in.

The run is a separate fleet with a page. Chromium draws the page, and Textual the live view. No picture is drawn by
hand.
"""

import asyncio
import io
import re
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from cli.commands import main as command_line
from cli.target import find_fleet
from cli.watch.app import WatchApp
from fleet.runtime.home import ROOT, Home
from state.store import read_state
from tests.parts.chromium import chromium
from tests.parts.prometheus import free_port
from tests.processes.fleet import FleetProcess, eventually

PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 150_000
RUN = 75.0
"""Seconds of the run after its way down the ladder, as content for the charts."""
SETTINGS = {"FLEET_POLICY_CHECK_INTERVAL": "1s"}
TERMINAL = (80, 24)
_LOOKS = 30
_WINDOWS = {
    # name: path of the view, size, theme
    "page": ("/", (1280, 1000), "light"),
    "page-alphas": ("/alphas", (1280, 640), "dark"),
    "page-phone": ("/", (390, 1100), "dark"),
}
_FONT_FROM_ELSEWHERE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> int:
    """Run a fleet and draw it."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        address = f"127.0.0.1:{free_port()}"
        fleet = FleetProcess(Path(folder) / "var", FLEET_WEB_LISTEN=address, **SETTINGS)
        try:
            fleet.start()
            eventually(lambda: came_down(fleet.home), within=180)
            time.sleep(RUN)
            draw_page(f"http://{address}")
            keep("watch.svg", asyncio.run(live_view(fleet)).encode())
        finally:
            fleet.stop()
    return 0


def came_down(home: Home) -> bool:
    """Return True once the fleet has moved twice and no switch is under way."""
    state = read_state(home)
    return state is not None and state.switches > 1 and state.switch is None


def draw_page(url: str) -> None:
    """Keep the pictures of the views."""
    with chromium() as browser:
        for name, (path, (width, height), theme) in _WINDOWS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if theme == "dark" else "light",
            )
            page = context.new_page()
            page.goto(url + path)
            page.wait_for_selector(".parts section table")
            page.wait_for_timeout(3000)  # The chart and the rate of tokens have their first values
            keep(f"{name}.png", small(page.screenshot()))
            context.close()


async def live_view(fleet: FleetProcess) -> str:
    """Return the live view of a terminal as SVG, after the time that its line of memory covers."""
    found = find_fleet(None, fleet.environ)
    app = WatchApp(found, interval=0.3, actions=list(command_line.commands))
    async with app.run_test(size=TERMINAL) as pilot:
        for _ in range(_LOOKS):
            await pilot.pause(0.3)
        return own_fonts(app.export_screenshot(title="Model Fleet"))


def own_fonts(svg: str) -> str:
    """Return a picture of Textual's with the reader's own fonts: Textual's are on another host (pure)."""
    return _FONT_FROM_ELSEWHERE.sub("", svg).replace("Fira Code", "ui-monospace")


def small(png: bytes) -> bytes:
    """Return a picture in few colours, a third of its size."""
    kept = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(
        kept, "PNG", optimize=True
    )
    return kept.getvalue()


def keep(name: str, content: bytes) -> None:
    """Write a picture; raise ValueError if it is larger than a README should load."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name} has {len(content)} bytes, more than {MOST_BYTES}")
    (PICTURES / name).write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
