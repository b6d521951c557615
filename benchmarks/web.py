"""The page and /metrics in a home with a week's work, seen by a real Chromium.

Beside them, in the same run, a bare `http.server` serves the same content as a file: the floor here. llama-swap's page
cannot be had here.
"""

import os
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

from benchmarks.report import Report
from benchmarks.rest import cost, process
from fleet.config.schema import Settings
from fleet.policy.events import EventKind
from fleet.runtime.home import Home
from state.history import read_history
from state.store import StateStore
from tests.parts.chromium import chromium
from tests.parts.prometheus import free_port
from tests.processes.fleet import FleetProcess, eventually, stamped_failure
from tests.processes.week_of_work import write_week
from web.page.paths import VIEWS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EVENTS, ALPHAS = 100_000, 50_000
OPENINGS, INCIDENTS, SCRAPES, REST = 8, 20, 500, 10.0
SETTINGS = {
    "FLEET_STANDIN_VRAM": "64 GB",
    "FLEET_POLICY_THRESHOLD": "1000",
    "FLEET_POLICY_INCIDENT_GAP": "100ms",
}
_WATCH = """
const look = () => {
  if (window.seenAt === undefined && document.querySelector(".parts section table"))
    requestAnimationFrame(() => { window.seenAt ??= performance.now(); });
};
new MutationObserver(look).observe(document, {childList: true, subtree: true});
document.addEventListener("DOMContentLoaded", look);
"""
_PAINTS = """() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
  return paint === undefined || window.seenAt === undefined ? null : [paint, window.seenAt];
}"""
_NEXT_EVENT = """number => { window.nextEvent = new Promise(resolve => {
  const look = () => {
    const cell = document.querySelector("section[aria-label='Last events'] tbody td");
    if (cell && Number(cell.textContent) > number)
      requestAnimationFrame(() => setTimeout(() => resolve(Date.now() / 1000)));
  };
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
  look();
}); }"""


@dataclass(frozen=True, slots=True)
class Opening:
    """Seconds from the navigation to the first paint and to the view's content."""

    paint: float
    content: float


@contextmanager
def week_fleet() -> Iterator[tuple[FleetProcess, str]]:
    """Run a fleet with a page in a home with a week's work; give it and the page's address."""
    with tempfile.TemporaryDirectory(prefix="fw-") as folder:
        home = Home(Path(folder) / "home")
        write_week(home, events=EVENTS, alphas=ALPHAS)
        fleet = FleetProcess(home.path, FLEET_WEB_LISTEN=f"127.0.0.1:{free_port()}", **SETTINGS)
        StateStore(home, Settings().ladder).update(lambda state: replace(state, last_event_number=EVENTS))
        address = fleet.environ["FLEET_WEB_LISTEN"]
        try:
            fleet.start()
            eventually(lambda: _answers(f"http://{address}/metrics"), what="the page answers")
            yield fleet, address
        finally:
            fleet.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.read())
    except OSError:
        return False


def measure() -> list[Report]:
    """Measure the page, its program and /metrics."""
    with ExitStack() as stack:
        fleet, address = stack.enter_context(week_fleet())
        browser = stack.enter_context(chromium())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bare = stack.enter_context(bare_server(folder))
        start = cost(fleet.pid("web"))
        copy_of_overview(browser, f"http://{address}/", folder / "page.html")
        views = openings(browser, f"http://{address}", bare[0])
        lag = incidents(browser, f"http://{address}/", fleet)
        (folder / "metrics").write_bytes(_body(f"http://{address}/metrics"))
        scrapes = {
            "/metrics": scraped(f"http://{address}/metrics"),
            "the same bytes by http.server": scraped(f"{bare[0]}/metrics"),
        }
        series = [line for line in (folder / "metrics").read_text().splitlines() if not line.startswith("#")]
        use = program_rows(browser, f"http://{address}/", fleet, bare[1], start.rss)
    return [
        _views_report(views),
        _lag_report(lag),
        _scrape_report(scrapes, len(series)),
        _program_report(use),
    ]


# The browser


@contextmanager
def bare_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Serve a folder by the standard library; give its URL and its process."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(folder),
    ]
    with process(command) as pid:
        (folder / "ready").touch()
        eventually(lambda: (folder / "ready").exists() and _reached(port), what="http.server answers")
        yield f"http://127.0.0.1:{port}", pid


def _reached(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status)
    except OSError:
        return False


def copy_of_overview(browser: "Browser", url: str, path: Path) -> None:
    """Write the overview's content and style as a page without scripts."""
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector(".parts section")
    style = page.evaluate("[...document.querySelectorAll('style')].map(one => one.textContent).join('\\n')")
    parts = page.evaluate("document.querySelector('.parts').outerHTML")
    path.write_text(f"<!doctype html><meta charset=utf-8><title>copy</title><style>{style}</style>{parts}")
    page.context.close()


def openings(browser: "Browser", url: str, bare: str) -> dict[str, list[Opening]]:
    """Open each view several times: in a browser that has none of it, and again."""
    places = {name: url + path for path, name in VIEWS} | {
        "the overview's copy by http.server": f"{bare}/page.html"
    }
    found: dict[str, list[Opening]] = {}
    for _ in range(OPENINGS):
        for name, place in places.items():
            context = browser.new_context()
            context.add_init_script(_WATCH)
            page = context.new_page()
            found.setdefault(f"{name}, first", []).append(_opening(page, place))
            found.setdefault(f"{name}, again", []).append(_opening(page, place))
            context.close()
    return found


def _opening(page: "Page", url: str) -> Opening:
    page.goto(url)
    paint, content = page.wait_for_function(_PAINTS, timeout=60_000).json_value()
    return Opening(paint / 1000, content / 1000)


def incidents(browser: "Browser", url: str, fleet: FleetProcess) -> dict[str, list[float]]:
    """Write failures into the followed log; return the times to the history and to the page."""
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector(".parts section")
    found: dict[str, list[float]] = {"in the history": [], "on the page": []}
    rng = random.Random(7)
    for _ in range(INCIDENTS):
        time.sleep(1 + rng.random())
        last = read_history(fleet.home.history, 1)[-1].number
        page.evaluate(_NEXT_EVENT, last)
        written = time.time()
        fleet.write(stamped_failure(written))
        shown = float(page.evaluate("window.nextEvent"))
        events = [one for one in read_history(fleet.home.history, 10) if one.number > last]
        incident = next(one for one in events if one.kind is EventKind.INCIDENT)
        found["in the history"].append(incident.time - written)
        found["on the page"].append(shown - written)
    page.context.close()
    return found


# The program


def _body(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        content: bytes = answer.read()
        return content


def scraped(url: str) -> list[float]:
    """Return the seconds of each scrape, every one on its own connection."""
    times = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        _body(url)
        times.append(time.perf_counter() - began)
        time.sleep(0.01)
    return times


def program_rows(
    browser: "Browser", url: str, fleet: FleetProcess, bare: int, first: float
) -> list[tuple[str, float, float | None]]:
    """Return the program's memory and CPU: after its start, after the views, with 0, 1 and 5 pages, and hidden."""
    pid, rows = fleet.pid("web"), [("web, after its start", first, None)]
    rows.append(("web, no page open", *_spent(pid)))
    pages = [browser.new_page() for _ in range(5)]
    for number, page in enumerate(pages, 1):
        page.goto(url)
        page.wait_for_selector(".parts section")
        if number in {1, 5}:
            rows.append((f"web, {number} visible page{'s' * (number > 1)}", *_spent(pid)))
    for page in pages[1:]:
        page.context.close()
    pages[0].evaluate(
        "Object.defineProperty(document, 'hidden', {value: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    time.sleep(1)
    rows.append(("web, 1 hidden page", *_spent(pid)))
    pages[0].context.close()
    rows.append(("monitor", *_spent(fleet.pid("monitor"))))
    rows.append(("http.server", *_spent(bare)))
    return rows


def _spent(pid: int) -> tuple[float, float]:
    """Return memory in MiB, and the share of a core in per cent, over some seconds."""
    before = cost(pid)
    time.sleep(REST)
    after = cost(pid)
    return after.rss, (after.cpu - before.cpu) / REST * 100


# Tables


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1]


def _ms(*values: float) -> list[str]:
    return [f"{1000 * value:.0f}" for value in values]


def _views_report(found: dict[str, list[Opening]]) -> Report:
    rows = []
    for name, all_of_it in found.items():
        paint, content = [one.paint for one in all_of_it], [one.content for one in all_of_it]
        floor = median(
            one.content for one in found[f"the overview's copy by http.server, {name.rpartition(', ')[2]}"]
        )
        rows.append(
            [
                name,
                *_ms(median(paint), _p95(paint), median(content), _p95(content)),
                f"{median(content) / floor:.1f}",
            ]
        )
    head = ["view", "first paint, ms", "p95", "content, ms", "p95", "content / copy"]
    notes = (
        f"A home with {EVENTS:,} events and {ALPHAS:,} alphas, mining; {OPENINGS} openings of each view. *First*: a browser "
        "that has none of the page's files; *again*: the same tab once more. The aim is 1 s for the first paint, and for "
        "the content. The copy is the overview's HTML as a file, without scripts; llama-swap's page cannot be had here. "
        f"The machine's load was {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores; the aims are those of a free machine."
    )
    return Report("The page", head, rows, notes)


def _lag_report(found: dict[str, list[float]]) -> Report:
    rows = [[name, *_ms(median(times), _p95(times), max(times))] for name, times in found.items()]
    notes = f"{INCIDENTS} failure lines written to the followed log, each an incident. The aim is 1 s."
    return Report(
        "From a log line to the page",
        ["line written to incident …", "median, ms", "p95", "most"],
        rows,
        notes,
    )


def _scrape_report(found: dict[str, list[float]], series: int) -> Report:
    rows = [
        [name, *(f"{1000 * one:.1f}" for one in (median(times), _p95(times)))]
        for name, times in found.items()
    ]
    notes = f"{SCRAPES} scrapes, each on a connection of its own; {series} series. The aims are p95 20 ms and 200 series."
    return Report("A scrape", ["answer", "median, ms", "p95"], rows, notes)


def _program_report(found: Sequence[tuple[str, float, float | None]]) -> Report:
    rows = [[name, f"{rss:.0f}", "" if share is None else f"{share:.2f}"] for name, rss, share in found]
    return Report("The page's program", ["process", "RSS, MiB", "% of a core"], rows, f"{REST:.0f} s each.")
