"""Options of the page's charts for ECharts (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.policy.events import Event, EventKind, sentence
from fleet.runtime.units import MEGABYTE, show_size
from web.feed import View
from web.readings import MemorySample

_GREY = "#808080"
_QUIET = {"axisLabel": {"color": _GREY}, "splitLine": {"lineStyle": {"opacity": 0.25}}}
_MOST_MARKS = 60
_MOST_POINTS = 1500
_WINDOW = 6 * 3600.0


def memory_chart(view: View) -> dict[str, Any]:
    """Return GPU memory over the last hours, with counted incidents and switches as marks."""
    samples = thinned([one for one in view.samples if one.time >= view.time - _WINDOW])
    first = samples[0].time if samples else view.time
    marks = [event for event in view.events if event.time >= first][-_MOST_MARKS:]
    lines: list[dict[str, Any]] = [
        _line("Ollama's models", [(one.time, one.models) for one in samples], "#2f7ed8", area=True),
        _line("in use on the cards", [(one.time, one.used) for one in samples], "#b35c00"),
        _line("on the cards in all", [(one.time, one.total) for one in samples], _GREY),
    ]
    lines = [line for line in lines if any(value is not None for _, value in line["data"])]
    if lines:
        lines[0]["markLine"] = {
            "symbol": "none",
            "silent": False,
            "label": {"show": False},
            "data": [mark for event in marks if (mark := _mark(event))],
        }
    return {
        "animation": False,
        "aria": {"enabled": True},
        "textStyle": {"color": _GREY},
        "grid": {"left": 56, "right": 12, "top": 34, "bottom": 26},
        "legend": {"top": 0, "textStyle": {"color": _GREY}},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "time", "axisLabel": {"hideOverlap": True, "color": _GREY}},
        "yAxis": {"type": "value", "name": "MB", "min": 0, **_QUIET},
        "series": lines,
    }


def _line(
    name: str, points: Sequence[tuple[float, int | None]], colour: str, *, area: bool = False
) -> dict[str, Any]:
    data = [
        [round(when * 1000), None if value is None else round(value / MEGABYTE)] for when, value in points
    ]
    return {
        "type": "line",
        "name": name,
        "showSymbol": len(data) == 1,
        "step": "end",
        "data": data,
        "color": colour,
        **({"areaStyle": {"opacity": 0.15}} if area else {}),
    }


def _mark(event: Event) -> dict[str, Any] | None:
    if event.kind is EventKind.INCIDENT and event.fields.get("counted"):
        style = {"color": "#c62828", "type": "dotted"}
    elif event.kind is EventKind.SWITCH_COMMITTED:
        style = {"color": "#2e7d32", "type": "solid"}
    else:
        return None
    return {"xAxis": round(event.time * 1000), "name": sentence(event)[:120], "lineStyle": style}


def thinned(samples: Sequence[MemorySample]) -> Sequence[MemorySample]:
    """Return at most about 1500 of the samples, evenly chosen, the last one among them."""
    step = len(samples) // _MOST_POINTS + 1
    return list(samples)[::-1][::step][::-1]


def model_chart(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return kept alphas an hour of each model, its GPU memory below its name: which rung earns most."""
    known = [one for one in rows if one["alphas_per_hour"] is not None]
    return {
        "animation": False,
        "aria": {"enabled": True},
        "textStyle": {"color": _GREY},
        "grid": {"left": 8, "right": 24, "top": 8, "bottom": 8, "containLabel": True},
        "tooltip": {"confine": True},
        "xAxis": {"type": "value", "min": 0, **_QUIET},
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [_with_memory(one) for one in known],
            "axisLabel": {"width": 130, "overflow": "truncate", "lineHeight": 16, "color": _GREY},
        },
        "series": [
            {
                "type": "bar",
                "name": "kept alphas an hour",
                "barMaxWidth": 40,
                "data": [round(one["alphas_per_hour"], 2) for one in known],
                "color": "#2f7ed8",
            }
        ],
    }


def _with_memory(row: Mapping[str, Any]) -> str:
    vram = row["vram_bytes"]
    return str(row["model"]) if vram is None else f"{row['model']}\n{show_size(vram)}"
