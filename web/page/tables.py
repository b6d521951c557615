"""HTML of the tables behind the overview: the history, alphas, models (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fleet.policy.events import Event, EventKind
from fleet.runtime.errors import FleetError
from fleet.runtime.units import show_duration, show_size
from generator.storage.read import AlphaRow
from web.feed import View
from web.page.markup import events, facts, moment, table, text

KINDS = {"": "All", "incident": "Incidents", "switch": "Switches", "pull": "Pulls"}
"""The filters of the history: the first part of an event's kind, and its name."""

_FIGURES = ("fitness", "sharpe", "turnover", "returns", "drawdown", "margin")
UNKNOWN = "-"
_FORMS = {"margin": ".4f"}


def trouble(error: FleetError) -> str:
    """Return an error with its remedy."""
    return f'<p class="bad">{text(error.message)}</p><p>→ {text(error.hint)}</p>'


def choices(
    options: Mapping[str, str], chosen: str, name: str, others: Mapping[str, str] | None = None
) -> str:
    """Return links that set one parameter of the address; the chosen one is marked."""
    links = []
    for value, label in options.items():
        query = {key: one for key, one in {**(others or {}), name: value}.items() if one}
        current = ' aria-current="true"' if value == chosen else ""
        links.append(f'<a href="?{text(urlencode(query))}"{current}>{text(label)}</a>')
    return f'<p class="controls">{" ".join(links)}</p>'


def history(view: View, kind: str, lane: str = "") -> str:
    """Return the last events of a kind, with the log lines of incidents."""
    wanted = [event for event in view.events if _is(event, kind)]
    return choices(KINDS, kind, "kind", {"lane": lane}) + events(wanted, lines=True)


def _is(event: Event, kind: str) -> bool:
    """Return True if an event's kind begins with this word; the switches have the verification too."""
    first = event.kind.value.partition(".")[0]
    return not kind or first == kind or (kind == "switch" and event.kind is EventKind.VERIFY_FAILED)


def alphas(rows: Sequence[AlphaRow], sort: str, *, kept: bool, contains: str, lane: str = "") -> str:
    """Return alphas as a table; the heads of its figures sort it."""
    kind, shown = {"": "All", "1": "Kept"}, "1" if kept else ""
    sorts = {name: name.capitalize() for name in (*_FIGURES, "time")}
    filters = {"kept": shown, "contains": contains, "lane": lane}
    controls = choices(kind, shown, "kept", {**filters, "sort": sort})
    controls += f'<div class="narrow">{choices(sorts, sort, "sort", filters)}</div>'
    controls += f'<p><a href="/diverse{_of_lane(lane)}">Those that add most to each other</a></p>'
    heads = []
    for name, label in sorts.items():
        query = {key: one for key, one in {"sort": name, **filters}.items() if one}
        mark, order = ("&nbsp;▾", ' aria-current="true"') if name == sort else ("", "")
        heads.append(f'<a href="?{text(urlencode(query))}"{order}>{label}{mark}</a>')
    cells = [
        (
            f'<a href="/alphas/{one.id}{_of_lane(lane)}"><code>{text(one.expression)}</code></a>'
            + (f'<br><span class="warn">{text(one.reason)}</span>' if one.reason else ""),
            text(one.model),
            f'<span class="word">{text(one.source)}</span>',
            '<span class="badge good">kept</span>' if one.kept else "",
            '<span class="badge">pool</span>' if one.admitted else "",
            f'<span class="word">{text(one.luck)}</span>' if one.luck else "",
            figure(one.test_sharpe),
            figure(one.dsr),
            *(figure(getattr(one, name), _FORMS.get(name, ".2f")) for name in _FIGURES),
            moment(one.time),
        )
        for one in rows
    ]
    if not cells:
        none = "No alpha passes this filter." if kept or contains else "There are no alphas yet."
        return f"{controls}<p>{none}</p>"
    first = ("Expression", "Model", "Source", "Kept", "Pool", "Luck", "Test Sharpe", "DSR")
    beside = "fitness" if sort == "sharpe" else "sharpe"
    names = (*first, *sorts)
    return controls + table(
        (*first, *heads),
        cells,
        caption="Alphas",
        numbers=len(sorts) + 2,
        narrow=[names.index(name) for name in ("Expression", "Luck", sort, beside)],
    )


def _of_lane(lane: str) -> str:
    """Return the query of an address that names a lane; empty without one."""
    return text("?" + urlencode({"lane": lane})) if lane else ""


def diverse(rows: Sequence[Mapping[str, Any]], lane: str = "") -> str:
    """Return the alphas that add most to each other, in the order of their choice."""
    cells = [
        (
            f'<a href="/alphas/{one["id"]}{_of_lane(lane)}"><code>{text(one["expression"])}</code></a>',
            text(one["model"]),
            figure(one["sharpe"], "+.2f"),
            figure(one["set_sharpe"], "+.2f"),
            figure(one["correlation"], "+.2f"),
        )
        for one in rows
    ]
    head = ("Expression", "Model", "Sharpe", "Sharpe of the set", "Highest correlation")
    return table(head, cells, caption="The chosen alphas", numbers=3, narrow=(0, 2, 3, 4))


def figure(value: float | None, form: str = ".2f") -> str:
    """Return a figure, a dash where it is unknown."""
    return UNKNOWN if value is None else format(value, form)


def models(row: Mapping[str, Any]) -> str:
    """Return the comparison of the models: each one's yield for its GPU memory."""
    head = (
        "Model", "In use", "Incidents", "Between incidents", "GPU memory", "Load", "Tokens/s",
        "Valid", "Unique", "Kept", "Likely", "Kept an hour", "Best Sharpe",
    )  # fmt: skip
    cells = [
        (
            text(one["model"]) + ("" if one["on_ladder"] else " (not on the ladder)"),
            show_duration(one["seconds_in_use"]) if one["seconds_in_use"] else UNKNOWN,
            str(one["incidents"]),
            _seconds(one["seconds_between_incidents"]),
            UNKNOWN if one["vram_bytes"] is None else show_size(one["vram_bytes"]),
            _seconds(one["load_seconds"]),
            figure(one["tokens_per_second"], ".1f"),
            figure(one["valid_share"], ".0%"),
            figure(one["unique_share"], ".0%"),
            f"{one['kept']} of {one['evaluated']}",
            str(one["likely"]),
            figure(one["alphas_per_hour"], ".1f"),
            figure(one["best_sharpe"], "+.2f"),
        )
        for one in row["models"]
    ]
    away = "".join(
        f'<p class="bad">{text(part)} is away: {text(one["reason"])}</p>' for part, one in row["away"].items()
    )
    note = "<p>Speed and alphas are those of the stand-in, not of a real model.</p>" if row["standin"] else ""
    compared = f'<div class="wide">{table(head, cells, caption="Models", numbers=len(head) - 1)}</div>'
    phone = "".join(
        f"<h3>{name}</h3>{facts(zip(head[1:], figures, strict=True))}" for name, *figures in cells
    )
    return f'{compared}<div class="narrow">{phone}</div>{note}{away}'


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else show_duration(value)
