"""The server: /metrics, the JSON behind the page, its actions and the page itself, as one ASGI application."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from cli.alphas.query import alpha_details
from cli.console import finite_json
from cli.lanes import lane_events
from cli.report import collect_report
from cli.status import collect_status
from cli.target import Fleet
from fleet.runtime.errors import FleetError
from fleet.runtime.home import Home
from generator.storage.read import SORTS, best_alphas, database_location
from state.history import read_history
from web.access import AccessRules, AsgiApp, Guard, headers_of
from web.actions import Actions, available_actions
from web.metrics import exposition
from web.page.shell import PageContext, Site
from web.page.views import add_page
from web.readings import Readings

_MOST_ROWS = 1000
_SECONDS_A_DAY = 86400.0
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def build(readings: Readings, rules: AccessRules, lanes: Sequence[Readings] = ()) -> AsgiApp:
    """Return the guarded application of a home; `lanes` are the readings of its lanes, if it has any."""
    app = FastAPI(title="Model Fleet", docs_url=None, redoc_url=None, openapi_url=None)
    contexts = {
        one.fleet.home.lane: PageContext(one, Actions(one.fleet.home), rules) for one in lanes or (readings,)
    }
    site = Site(contexts, Actions(Home(readings.fleet.home.root())), rules)
    _add_metrics(app, readings, lanes)
    _add_json(app, readings, lanes)
    _add_picture(app, site.first)
    _add_actions(app, site)
    _add_faults(app)
    add_page(app, site)
    return Guard(app, rules)


def _add_metrics(app: FastAPI, readings: Readings, lanes: Sequence[Readings]) -> None:
    @app.get("/metrics")
    def metrics(request: Request) -> Response:
        found = {one.fleet.home.lane: one.now() for one in lanes} or readings.now()
        body, content_type = exposition(found, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})


def _add_json(app: FastAPI, readings: Readings, lanes: Sequence[Readings]) -> None:
    fleet = readings.fleet
    fleets = {one.fleet.home.lane: one.fleet for one in lanes}

    def answer(read: Callable[[Fleet], Any], lane: str) -> Response:
        if fleets and not lane:
            return _json({"lanes": {name: read(one) for name, one in fleets.items()}})
        return _json(read(_chosen(lane, fleets, fleet)))

    @app.get("/api/status")
    def status(lane: str = "") -> Response:
        return answer(collect_status, lane)

    @app.get("/api/history")
    def history(last: int = 50, lane: str = "") -> Response:
        count = min(max(last, 1), _MOST_ROWS)
        if fleets and not lane:
            found = {name: read_history(one.home.history, count) for name, one in fleets.items()}
            return _json([{**event.row(), "lane": name} for name, event in lane_events(found, count)])
        return _json(
            [event.row() for event in read_history(_chosen(lane, fleets, fleet).home.history, count)]
        )

    @app.get("/api/alphas")
    def alphas(sort: str = "fitness", limit: int = 20) -> Response:
        if sort not in SORTS:
            return _json({"error": f"sort by one of {', '.join(SORTS)}"}, status=400)
        place = database_location(fleet.settings.generator.database, fleet.home)
        found = best_alphas(place, min(max(limit, 1), _MOST_ROWS), sort=sort)
        from cli.alphas.listing import alpha_rows  # noqa: PLC0415

        return _json(alpha_rows(found))

    @app.get("/api/report")
    def report(days: float = 0.0, lane: str = "") -> Response:
        from time import time  # noqa: PLC0415

        since = time() - days * _SECONDS_A_DAY if days > 0 else 0.0
        return answer(partial(collect_report, since=since), lane)


class _NoLaneError(FleetError):
    """The address names a lane that the fleet does not have."""


def _chosen(lane: str, fleets: Mapping[str, Fleet], fleet: Fleet) -> Fleet:
    """Return the fleet of a lane, without lanes the only one; raise FleetError for an unknown lane."""
    if lane and lane not in fleets:
        raise _NoLaneError(
            f"there is no lane {lane!r:.60}", hint=f"Lanes are {', '.join(fleets) or 'not set up'}."
        )
    return fleets.get(lane, fleet)


def _add_picture(app: FastAPI, context: PageContext) -> None:
    fleet = context.readings.fleet
    place = database_location(fleet.settings.generator.database, fleet.home)

    @app.get("/api/alphas/{number}/pnl.png")
    async def picture(number: int) -> Response:
        found = await asyncio.to_thread(alpha_details, place, number)
        if found is None:
            return _json({"error": f"there is no alpha {number}"}, status=404)
        return Response(await context.plots.picture(found.alpha), media_type="image/png")


def _add_faults(app: FastAPI) -> None:
    """Answer each error below /api in one form: an object with `error`, and `hint` where there is one."""

    @app.exception_handler(FleetError)
    async def fault(_request: Request, error: FleetError) -> Response:
        status = 404 if isinstance(error, _NoLaneError) else 503
        return _json({"error": error.message, "hint": error.hint}, status=status)

    @app.exception_handler(RequestValidationError)
    async def wrong(_request: Request, error: RequestValidationError) -> Response:
        found = [
            f"{one['loc'][-1]} is {one['input']!r:.40}: {one['msg'].partition(',')[0]}"
            for one in error.errors()
        ]
        return _json({"error": "; ".join(found)}, status=400)

    @app.api_route("/api/{rest:path}", methods=_METHODS, include_in_schema=False)
    def unknown(request: Request) -> Response:
        return _json({"error": f"there is no {request.method} {request.url.path!r:.60}"}, status=404)


def _json(row: Any, *, status: int = 200) -> Response:
    return JSONResponse(finite_json(row), status_code=status)


def _add_actions(app: FastAPI, site: Site) -> None:
    @app.post("/api/actions/{name}")
    async def act(name: str, request: Request, lane: str = "", duration: str = "") -> Response:
        if not site.rules.holds_token(headers_of(request.scope)):
            hint = "Send the token of run/web.token in the header `Authorization: Bearer TOKEN`."
            return _json({"error": "an action needs the token", "hint": hint}, status=401)
        if name not in available_actions():
            return _json({"error": f"there is no action {name!r:.40}"}, status=404)
        if lane and lane not in site.lanes:
            return _json({"error": f"there is no lane {lane!r:.60}"}, status=404)
        result = await (site.lanes[lane].actions if lane else site.actions).run(name, duration)
        return _json({"done": result.done, "sentence": result.sentence}, status=200 if result.done else 409)
