"""The shell of every view: header, navigation, actions, and the live parts that are renewed while the tab is visible."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nicegui import ui

from web.access import AccessRules
from web.actions import Actions, available_actions
from web.feed import Feed, View
from web.page.dialogs import ActionDialog
from web.page.markup import text
from web.page.paths import VIEWS
from web.plots import Plots
from web.readings import Readings

TICK = 0.5
"""Seconds between two looks of a visible page."""

_SOON = 0.05
"""Seconds until a part that takes its time is asked for."""

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
    """What all views need."""

    readings: Readings
    actions: Actions
    rules: AccessRules
    feed: Feed = field(init=False)
    plots: Plots = field(init=False)

    def __post_init__(self) -> None:
        fleet = self.readings.fleet
        object.__setattr__(self, "feed", Feed(self.readings))
        object.__setattr__(self, "plots", Plots(fleet.home, fleet.started.config if fleet.started else ""))


class LivePage:
    """One open page: its live parts, renewed while its tab is visible."""

    def __init__(self, context: PageContext, path: str) -> None:
        self._context = context
        self._path = path
        self._parts: list[Callable[[View], None]] = []
        self._slow: list[_SlowPart] = []

    async def __aenter__(self) -> Self:
        """Draw the header; the body follows within the block."""
        self.view = await self._context.feed.latest()
        ui.add_head_html(f"<style>{_CSS}</style>{_HEAD}")
        name = dict(VIEWS)[self._path]
        model = self.view.status["current_model"]["name"]
        ui.page_title(f"{name} · Model Fleet")
        ui.add_body_html(f'<div id="boot"><b>Model Fleet</b> · {text(model)} · the page opens …</div>')
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
        links = "".join(
            f'<a href="{path}" data-key="{number}" title="Key {number}"{_CURRENT * (path == self._path)}>{name}</a>'
            for number, (path, name) in enumerate(VIEWS, 1)
        )
        dark = ui.dark_mode()
        with ui.element("header").classes("top"):
            title = "Model Fleet" + (
                " <small>stand-in</small>" if self._context.readings.fleet.standin else ""
            )
            ui.html(f'<h1>{title}</h1><nav aria-label="Views">{links}</nav>', sanitize=False).style(
                "display:contents"
            )
            with ui.element("div").classes("acts").props('role="group" aria-label="Actions"'):
                for name in available_actions():
                    dialog = ActionDialog(self._context.actions, self._context.rules, name)
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

    def section(
        self, title: str, markup: Callable[[View], str], *, width: str = "", live: bool = False
    ) -> None:
        """Add a part whose HTML follows the view; `live` announces its changes to screen readers."""
        with ui.element("section").classes(width).props(f'aria-label="{title}"'):
            ui.html(f"<h2>{title}</h2>", sanitize=False)
            shown = ui.html(markup(self.view), sanitize=False)
            if live:
                shown.props('aria-live="polite"')

        def renew(view: View) -> None:
            shown.content = markup(view)

        self._parts.append(renew)

    def fixed(self, title: str, markup: str, *, width: str = "") -> None:
        """Add a part that stays as it is."""
        with ui.element("section").classes(width).props(f'aria-label="{title}"'):
            ui.html(f"<h2>{title}</h2>{markup}", sanitize=False)

    def later(
        self, title: str, meanwhile: str, read: Callable[[], Awaitable[str]], *, controls: str = ""
    ) -> None:
        """Add a part that takes its time: it is filled once the page is open. `controls` stand above it at once."""
        with ui.element("section").props(f'aria-label="{title}"'):
            ui.html(f"<h2>{title}</h2>{controls}", sanitize=False)
            shown = ui.html(f"<p>{text(meanwhile)}</p>", sanitize=False).props('aria-live="polite"')

        async def fill() -> None:
            shown.content = await read()

        ui.timer(_SOON, fill, once=True)

    def later_chart(self, title: str, read: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Add a chart that takes its time."""
        with ui.element("section").props(f'aria-label="{title}"'):
            ui.html(f"<h2>{title}</h2>", sanitize=False)
            shown = _chart(title, {})

        async def fill() -> None:
            shown.options.update(await read())
            shown.update()

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
        with ui.element("section").classes(width).props(f'aria-label="{title}"'):
            ui.html(f"<h2>{title}</h2>", sanitize=False)
            shown = _chart(title, options(self.view))
            said = ui.html(below(self.view), sanitize=False) if below else None
        known = [_chart_key(self.view)]

        def renew(view: View) -> None:
            if said is not None and below is not None:
                said.content = below(view)
            if _chart_key(view) != known[0]:
                known[0] = _chart_key(view)
                shown.options.clear()
                shown.options.update(options(view))
                shown.update()

        self._parts.append(renew)

    async def _tick(self) -> None:
        view = await self._context.feed.latest()
        if view is self.view:
            return
        self.view = view
        for renew in self._parts:
            renew(view)
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
