"""The views of the page: overview, incidents, alphas, models."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from nicegui import ui

from cli.alphas.query import alpha_details
from cli.report import collect_report
from cli.subcommand import run_json
from fleet.runtime.errors import FleetError
from generator.storage.read import SORTS, Filters, best_alphas, database_location
from web.feed import View
from web.page import alpha, markup, tables
from web.page.charts import memory_chart, model_chart
from web.page.shell import LivePage, PageContext, Site

_ALPHAS = 100
_DIVERSE, _MOST_DIVERSE = 8, 20
_THREE = 3
_DAY = 86400.0
_PERIODS = {"1": "A day", "7": "A week", "0": "All time"}
_ICON = "📉"


def add_page(app: FastAPI, site: Site) -> None:
    """Add the views to the application."""
    _add_overview(site)
    _add_incidents(site)
    _add_alphas(site)
    _add_alpha(site)
    _add_models(site)
    ui.run_with(
        app,
        title="Model Fleet",
        favicon=_ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        binding_refresh_interval=None,
        # Within a machine, compressing the scripts takes longer than sending them.
        gzip_middleware_factory=None if site.rules.loopback else GZipMiddleware,
        show_welcome_message=False,
    )


def _add_overview(site: Site) -> None:
    @ui.page("/")
    async def overview(lane: str = "") -> None:
        if site.names and lane not in site.lanes:
            await _side_by_side(site)
            return
        async with LivePage(site, "/", lane) as page:
            page.section("Health", markup.banner, live=True)
            page.section("Ladder", markup.ladder, width="w4")
            page.section("Incidents on this rung", markup.count, width="w4")
            page.section("Mining", markup.speed, width="w4")
            page.chart("GPU memory", memory_chart, width="w8", below=_below_memory)
            page.section("Programs", markup.programs, width="w4")
            page.section("Last events", lambda view: markup.events(view.events[-15:]), live=True)


def _below_memory(view: View) -> str:
    return markup.memory(view) + markup.pulls(view)


async def _side_by_side(site: Site) -> None:
    """Draw all lanes, a column each."""
    width = "w6" if len(site.names) < _THREE else "w4"
    async with LivePage(site, "/", None) as page:
        for name in site.names:
            with page.column(name, width):
                page.section("Health", markup.banner, live=True)
                page.section("Ladder", markup.ladder)
                page.section("Incidents on this rung", markup.count)
                page.chart("GPU memory", memory_chart, below=_below_memory)
                page.section("Mining", markup.speed)
                page.section("Programs", markup.programs)


def _add_incidents(site: Site) -> None:
    @ui.page("/incidents")
    async def incidents(kind: str = "", lane: str = "") -> None:
        chosen = site.chosen(lane)
        async with LivePage(site, "/incidents", chosen) as page:
            page.section("Events", lambda view: tables.history(view, kind, chosen))


def _add_alphas(site: Site) -> None:
    @ui.page("/alphas")
    async def alphas(sort: str = "fitness", kept: str = "", contains: str = "", lane: str = "") -> None:
        chosen = sort if sort in SORTS else "fitness"
        filters = Filters(kept=True if kept else None, text=contains or None)
        fleet = site.first.readings.fleet
        place = database_location(fleet.settings.generator.database, fleet.home)

        def read() -> str:
            try:
                found = best_alphas(place, _ALPHAS, sort=chosen, filters=filters)
            except FleetError as error:
                return tables.trouble(error)
            return tables.alphas(found, chosen, kept=bool(kept), contains=contains, lane=lane)

        async with LivePage(site, "/alphas", site.chosen(lane)) as page:
            await page.slow("Alphas", read, every=5.0)


def _add_alpha(site: Site) -> None:
    context = site.first
    fleet = context.readings.fleet
    place = database_location(fleet.settings.generator.database, fleet.home)

    @ui.page("/alphas/{number}")
    async def one_alpha(number: str, lane: str = "") -> None:
        found = await asyncio.to_thread(alpha_details, place, _whole(number, 0))
        async with LivePage(site, "/alphas", site.chosen(lane)) as page:
            if found is None:
                page.fixed("Alpha", f"<p>There is no alpha {markup.text(number[:40])}.</p>")
                return
            page.fixed(f"Alpha {found.alpha['id']}", alpha.standing(found))
            page.later("Running PnL", "The alpha is backtested …", lambda: _picture(context, found.alpha))
            page.fixed("Checks", alpha.checks(found), width="w6")
            page.fixed("Tree", alpha.tree(found), width="w6")
            page.fixed("Where it came from", alpha.call(found))

    @ui.page("/diverse")
    async def diverse(count: str = "", lane: str = "") -> None:
        async with LivePage(site, "/alphas", site.chosen(lane)) as page:
            number = str(min(max(_whole(count, _DIVERSE), 1), _MOST_DIVERSE))

            async def choose() -> str:
                try:
                    rows = await run_json(context.readings.fleet.home, "alphas", "--diverse", number)
                    return tables.diverse(rows, lane)
                except FleetError as error:
                    return tables.trouble(error)

            page.later("Alphas that add most to each other", "They are backtested and compared …", choose)


def _whole(given: str, otherwise: int) -> int:
    """Return the whole number in a part of an address, `otherwise` without one."""
    try:
        return int(given)
    except ValueError:
        return otherwise


async def _picture(context: PageContext, row: Mapping[str, Any]) -> str:
    """Return the picture of an alpha's running PnL once it is drawn, else the reason for none."""
    try:
        await context.plots.picture(row)
    except FleetError as error:
        return tables.trouble(error)
    return f'<img class="plot" src="/api/alphas/{row["id"]}/pnl.png" alt="Running PnL and drawdown">'


def _add_models(site: Site) -> None:
    @ui.page("/models")
    async def models(days: str = "0", lane: str = "") -> None:
        chosen = site.chosen(lane)
        fleet = site.lanes[chosen].readings.fleet
        span = float(days) if days in _PERIODS else 0.0
        since = time.time() - span * _DAY if span else 0.0
        # A long history is read while the browser opens the page.
        reading = asyncio.create_task(
            asyncio.to_thread(collect_report, fleet, since=since, decode=orjson.loads)
        )

        async def compared() -> str:
            return tables.models(await reading)

        async def drawn() -> dict[str, Any]:
            return model_chart((await reading)["models"])

        async with LivePage(site, "/models", chosen) as page:
            controls = tables.choices(_PERIODS, days, "days", {"lane": chosen})
            page.later("Models", "The history is read …", compared, controls=controls)
            page.later_chart("Kept alphas an hour in use", drawn)
