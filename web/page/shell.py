"""The shell of every view: header, navigation, actions, and the live parts that are renewed while the tab is visible."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nicegui import ui

from web.access import AccessRules
from web.actions import OF_ALL_LANES, Actions, available_actions
from web.feed import Feed, View
from web.page.dialogs import ActionDialog
from web.page.markup import text
from web.page.paths import VIEWS
from web.plots import Plots
from web.readings import Readings

TICK = 0.5
"""Seconds between two updates of a visible page."""

_SOON = 0.05
"""Seconds until the first request for a slow part."""

_CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
_HEAD = """
<meta name="color-scheme" content="light dark">
<script>
const fleetTheme = () => localStorage.getItem("fleet.theme") || "auto";
document.addEventListener("visibilitychange", () => emitEvent("fleet_visible", !document.hidden));
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
  const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  if (link) link.click();
});
</script>
"""
_LOCAL_TIMES = """
const fleetLocal = () => document.querySelectorAll("time[datetime]:not([data-local])").forEach(one => {
  one.dataset.local = "1"; one.title = one.textContent;
  one.textContent = new Date(one.dateTime).toLocaleString([], {month: "2-digit", day: "2-digit", hour: "2-digit",
    minute: "2-digit", second: "2-digit", hour12: false});
});
fleetLocal();
new MutationObserver(fleetLocal).observe(document.body, {childList: true, subtree: true});
"""


@dataclass(frozen=True, slots=True)
class PageContext:
    """The objects that all views use."""

    readings: Readings
    actions: Actions
    rules: AccessRules
    feed: Feed = field(init=False)
    plots: Plots = field(init=False)

    def __post_init__(self) -> None:
        fleet = self.readings.fleet
        object.__setattr__(self, "feed", Feed(self.readings))
        object.__setattr__(self, "plots", Plots(fleet.home, fleet.started.config if fleet.started else ""))


@dataclass(frozen=True, slots=True)
class Site:
    """The page of a fleet: a context for each lane, and the actions of the whole fleet.

    A fleet without `[[lane]]` entries has one context, whose name is empty.
    """

    lanes: Mapping[str, PageContext]
    actions: Actions
    rules: AccessRules

    @property
    def first(self) -> PageContext:
        """Return the first lane's context, which also serves the parts that the lanes share."""
        return next(iter(self.lanes.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the lanes, none for a fleet without `[[lane]]` entries."""
        return tuple(name for name in self.lanes if name)

    def chosen(self, lane: str) -> str:
        """Return a lane of that name, else the first one's."""
        return lane if lane in self.lanes else next(iter(self.lanes))


class LivePage:
    """One open page: its live parts, renewed while its tab is visible. `lane` is None for all lanes side by side."""

    def __init__(self, site: Site, path: str, lane: str | None) -> None:
        self._site = site
        self._path = path
        self._lane = lane
        self._parts: dict[str, list[Callable[[View], None]]] = {}
        self._slow: list[_SlowPart] = []
        self._views: dict[str, View] = {}

    async def __aenter__(self) -> Self:
        """Draw the header; the body follows within the block."""
        for name in self._site.names if self._lane is None else (self._lane,):
            self._views[name] = await self._site.lanes[name].feed.latest()
            self._parts[name] = []
        ui.add_head_html(f"<style>{_CSS}</style>{_HEAD}")
        name = dict(VIEWS)[self._path]
        models = ", ".join(view.status["current_model"]["name"] for view in self._views.values())
        ui.page_title(f"{name} · Model Fleet")
        ui.add_body_html(f'<div id="boot"><b>Model Fleet</b> · {text(models)} · the page opens …</div>')
        ui.run_javascript('document.getElementById("boot")?.remove();' + _LOCAL_TIMES)
        self._header()
        self._body = ui.element("div").classes("parts").props('id="main"')
        self._body.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Begin to renew the live parts."""
        self._body.__exit__(None, None, None)
        timer = ui.timer(TICK, self._tick)

        def visible(event: Any) -> None:
            timer.active = bool(event.args)

        ui.on("fleet_visible", visible)

    def _header(self) -> None:
        ui.html('<a class="skip" href="#main">Skip to the content</a>', sanitize=False)
        dark = ui.dark_mode()
        with ui.element("header").classes("top"):
            title = "Model Fleet" + (
                " <small>stand-in</small>" if self._site.first.readings.fleet.standin else ""
            )
            nav = navigation(self._path, self._lane, self._site.names)
            ui.html(f"<h1>{title}</h1>{nav}", sanitize=False).style("display:contents")
            with ui.element("div").classes("acts").props('role="group" aria-label="Actions"'):
                for name in available_actions():
                    actions = (
                        self._site.actions if self._lane is None else self._site.lanes[self._lane].actions
                    )
                    if self._lane is None and name not in OF_ALL_LANES:
                        continue  # a switch is of one lane
                    dialog = ActionDialog(actions, self._site.rules, name, self._lane)
                    button(name.capitalize(), dialog.open)
                button("Theme", lambda: self._next_theme(dark)).props(
                    'aria-label="Light, dark or the system\'s theme"'
                )

        async def restore() -> None:
            chosen = await ui.run_javascript("fleetTheme()")
            dark.value = _THEMES.get(chosen)

        ui.context.client.on_connect(restore)

    async def _next_theme(self, dark: Any) -> None:
        names = list(_THEMES)
        chosen = await ui.run_javascript("fleetTheme()")
        name = names[(names.index(chosen) + 1) % len(names)] if chosen in _THEMES else "auto"
        dark.value = _THEMES[name]
        ui.run_javascript(f'localStorage.setItem("fleet.theme", "{name}")')

    @contextmanager
    def column(self, lane: str, width: str) -> Iterator[None]:
        """Add a column of parts of a lane."""
        kept, self._lane = self._lane, lane
        with ui.element("div").classes(f"column {width}").props(f'role="group" aria-label="Lane {lane}"'):
            ui.html(f'<h2 class="lane"><a href="/?lane={lane}">{lane}</a></h2>', sanitize=False)
            yield
        self._lane = kept

    @property
    def _of(self) -> str:
        """Return the lane of the part that is being added."""
        return self._lane if self._lane is not None else next(iter(self._views))

    def _label(self, title: str) -> str:
        return f"{title}, {self._of}" if len(self._views) > 1 else title

    def section(
        self, title: str, markup: Callable[[View], str], *, width: str = "", live: bool = False
    ) -> None:
        """Add a part whose HTML follows the view; `live` announces its changes to screen readers."""
        with ui.element("section").classes(width).props(f'aria-label="{self._label(title)}"'):
            ui.html(f"<h2>{title}</h2>", sanitize=False)
            shown = ui.html(markup(self._views[self._of]), sanitize=False)
            if live:
                shown.props('aria-live="polite"')

        def renew(view: View) -> None:
            shown.content = markup(view)

        self._parts[self._of].append(renew)

    def fixed(self, title: str, markup: str, *, width: str = "") -> None:
        """Add a part that does not change."""
        with ui.element("section").classes(width).props(f'aria-label="{title}"'):
            ui.html(f"<h2>{title}</h2>{markup}", sanitize=False)

    def later(
        self, title: str, meanwhile: str, read: Callable[[], Awaitable[str]], *, controls: str = ""
    ) -> None:
        """Add a slow part, which is filled once the page is open. `controls` are shown above it at once."""
        with ui.element("section").props(f'aria-label="{title}"'):
            ui.html(f"<h2>{title}</h2>{controls}", sanitize=False)
            shown = ui.html(f"<p>{text(meanwhile)}</p>", sanitize=False).props('aria-live="polite"')

        async def fill() -> None:
            shown.content = await read()

        ui.timer(_SOON, fill, once=True)

    def later_chart(self, title: str, read: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Add a slow chart. Only then does the browser load the library of charts."""
        with ui.element("section").props(f'aria-label="{title}"') as section:
            ui.html(f"<h2>{title}</h2>", sanitize=False)

        async def fill() -> None:
            options = await read()
            await asyncio.sleep(_SOON)  # parts of the same reading are shown before the library is loaded
            with section:
                _chart(title, options)

        ui.timer(_SOON, fill, once=True)

    async def slow(self, title: str, read: Callable[[], str], *, every: float) -> None:
        """Add a part that a thread reads, again every few seconds while the tab is visible."""
        markup = await asyncio.to_thread(read)
        with ui.element("section").props(f'aria-label="{title}"'):
            ui.html(f"<h2>{title}</h2>", sanitize=False)
            shown = ui.html(markup, sanitize=False)
        self._slow.append(_SlowPart(shown, read, every, time.monotonic()))

    def chart(
        self,
        title: str,
        options: Callable[[View], dict[str, Any]],
        *,
        width: str = "",
        below: Callable[[View], str] | None = None,
    ) -> None:
        """Add a chart whose options follow the view, with HTML below."""
        seen = self._views[self._of]
        with ui.element("section").classes(width).props(f'aria-label="{self._label(title)}"'):
            ui.html(f"<h2>{title}</h2>", sanitize=False)
            shown = _chart(self._label(title), options(seen))
            said = ui.html(below(seen), sanitize=False) if below else None
        known = [_chart_key(seen)]

        def renew(view: View) -> None:
            if said is not None and below is not None:
                said.content = below(view)
            if _chart_key(view) != known[0]:
                known[0] = _chart_key(view)
                shown.options.clear()
                shown.options.update(options(view))
                shown.update()

        self._parts[self._of].append(renew)

    async def _tick(self) -> None:
        changed = False
        for name, known in self._views.items():
            view = await self._site.lanes[name].feed.latest()
            if view is not known:
                self._views[name], changed = view, True
                for renew in self._parts[name]:
                    renew(view)
        if changed:
            for part in self._slow:
                await part.renew(time.monotonic())


@dataclass(slots=True)
class _SlowPart:
    """A part whose HTML a thread reads at an interval."""

    shown: ui.html
    read: Callable[[], str]
    every: float
    last: float

    async def renew(self, now: float) -> None:
        if now - self.last >= self.every:
            self.last = now
            self.shown.content = await asyncio.to_thread(self.read)


def navigation(path: str, lane: str | None, lanes: Sequence[str]) -> str:
    """Return the links of the views, and those of the lanes, if any (pure)."""
    query = f"?lane={lane}" if lane else ""
    views = "".join(
        f'<a href="{place}{query}" data-key="{number}" title="Key {number}"{_CURRENT * (place == path)}>{name}</a>'
        for number, (place, name) in enumerate(VIEWS, 1)
    )
    found = f'<nav aria-label="Views">{views}</nav>'
    if lanes:
        every = f'<a href="/"{_CURRENT * (lane is None)}>All lanes</a>'
        own = "".join(f'<a href="{path}?lane={one}"{_CURRENT * (one == lane)}>{one}</a>' for one in lanes)
        found += f'<nav aria-label="Lanes">{every}{own}</nav>'
    return found


_CURRENT = ' aria-current="page"'
_THEMES: dict[str, bool | None] = {"auto": None, "light": False, "dark": True}


def _chart_key(view: View) -> tuple[float, int]:
    return (
        view.samples[-1].time if view.samples else 0.0,
        view.events[-1].number if view.events else 0,
    )


def _chart(title: str, options: dict[str, Any]) -> ui.echart:
    return (
        ui.echart(options, renderer="svg").classes("chart").props(f'role="img" aria-label="Chart: {title}"')
    )


def button(label: str, clicked: Callable[[], Any]) -> ui.element:
    """Add a native button."""
    made = ui.element("button").classes("act").props('type="button"')
    with made:
        ui.html(text(label), sanitize=False, tag="span")
    made.on("click", clicked)
    return made
