"""The parts of the live view: a status row and events in, styled lines of a terminal out (pure)."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from fleet.policy.events import Event, EventKind, sentence
from fleet.runtime.logging import plain_text
from fleet.runtime.units import show_duration, show_size
from fleet.runtime.untrusted import whole_number

_BLOCKS = " ▁▂▃▄▅▆▇█"
_MARK, _SWITCHED = "▲", {EventKind.SWITCH_COMMITTED}
_BAR = 20
_LOUD = {
    EventKind.INCIDENT: "yellow",
    EventKind.HELD: "red",
    EventKind.SWITCH_FAILED: "red",
    EventKind.UNANSWERED: "red",
    EventKind.OLLAMA_HANGS: "red",
    EventKind.SWITCH_COMMITTED: "cyan",
    EventKind.SWITCH_DONE: "green",
    EventKind.ANSWERED: "green",
}

Sample = tuple[float, int | None]
"""A time and the GPU memory of Ollama's models then, None if unknown."""


def title(row: Mapping[str, Any]) -> Text:
    """Return the first line: model, count, and faults."""
    model = row["current_model"]
    line = Text.assemble(
        (plain_text(model["name"]), "bold"),
        f"  rung {model['index']} of 0 to {row['fleet_size'] - 1}",
        f"  errors {row['vram_error_count']} of {row['max_vram_errors']}",
    )
    if row["profile"] == "embedded":
        line.append("  stand-in", "dim")
    faults = [f"{one['part']}: {one['detail']}" for one in row["faults"]]
    line.append("\n")
    line.append(plain_text("; ".join(faults)) if faults else "all is well", "red" if faults else "green")
    return line


def ladder_lines(row: Mapping[str, Any], now: float) -> Text:
    """Return the ladder with the current rung, and the next move."""
    lines, here, switch = Text(), row["current_model"]["index"], row["switch"]
    for index, label in enumerate(row["ladder"]):
        mark = "▶ " if index == here else "  "
        lines.append(f"{mark}{plain_text(label)}", "bold" if index == here else "")
        if index == here and row["pinned"]:
            lines.append(" pinned", "cyan")
        if switch and switch["to"] == index:
            lines.append(f" ← {switch['kind']}, {switch['phase']}", "yellow")
        lines.append("\n")
    lines.append(next_up(row, now), "dim")
    return lines


def next_up(row: Mapping[str, Any], now: float) -> str:
    """Return the next move: the end of a hold or a pause, else the next try of a larger model."""
    hold, paused, ahead = row["hold"], row.get("pause"), row["recovery"]
    if isinstance(paused, Mapping):
        until = paused.get("until")
        return (
            "paused until resumed" if until is None else f"paused for {show_duration(max(until - now, 0.0))}"
        )
    if hold is not None:
        return plain_text(f"held for {show_duration(max(hold['until'] - now, 0.0))}: {hold['why']}")
    if ahead["next"] is None:
        return plain_text(ahead["why"])
    return f"next try up in {show_duration(max(ahead['next'] - now, 0.0))}"


def memory(row: Mapping[str, Any], samples: Sequence[Sample], events: Sequence[Event], width: int) -> Text:
    """Return the GPU memory now and its line over the session, with the switches marked below."""
    found = row["gpu_memory"]
    now = "not known" if found is None else show_size(found["used_bytes"])
    models = (
        [] if found is None else [f"{one['name']} {show_size(one['size_vram'])}" for one in found["models"]]
    )
    lines = Text.assemble(("GPU memory ", "bold"), now, f"  {plain_text(', '.join(models))}\n")
    switched = [event.time for event in events if event.kind in _SWITCHED]
    line, marks = history_line(samples, switched, width)
    lines.append(line + "\n", "blue")
    lines.append(marks + "\n", "cyan")
    return lines


def history_line(samples: Sequence[Sample], switched: Sequence[float], width: int) -> tuple[str, str]:
    """Return a line of blocks, the latest sample right, and a line with a mark where a switch happened.

    A column is one sample. An unknown value is a gap.
    """
    shown = list(samples)[-width:]
    most = max((value for _, value in shown if value is not None), default=0)
    blocks = "".join(
        " " if value is None else _BLOCKS[max(1, round(value / most * 8))] if value and most else "▁"
        for _, value in shown
    )
    marks = []
    for place, (when, _) in enumerate(shown):
        before = shown[place - 1][0] if place else when
        marks.append(_MARK if any(before < moment <= when for moment in switched) else " ")
    return blocks, "".join(marks).rstrip()


def work(row: Mapping[str, Any], tokens_per_second: float | None, pulls: Sequence[str], width: int) -> Text:
    """Return programs, pulls, tokens a second, counts and the newest alphas."""
    lines = Text()
    programs = row["programs"]
    if programs is None:
        lines.append("supervisord does not answer\n", "red")
    else:
        for name, one in programs.items():
            lines.append(f"{plain_text(name)} ")
            lines.append(f"{one['state']}  ", "green" if one["state"] == "RUNNING" else "red")
        lines.append("\n")
    for pull in pulls:
        lines.append(pull + "\n", "yellow")
    totals = (row["generator"] or {}).get("totals") or {}
    speed = "not known" if tokens_per_second is None else f"{tokens_per_second:.1f}"
    counts = "  ".join(
        f"{name} {totals[name]}" for name in ("calls", "failed", "valid", "kept") if name in totals
    )
    lines.append(f"tokens/s {speed}  {plain_text(counts)}\n")
    for alpha in (row["recent_alphas"] or [])[:2]:
        sharpe = alpha.get("sharpe")
        figure = f"{sharpe:+.2f}" if isinstance(sharpe, (int, float)) else "    -"
        said = f"Sharpe {figure} [{alpha.get('source')}] {plain_text(str(alpha.get('expression')))}"
        lines.append(cut(said, width) + "\n", "dim")
    return lines


def pull_lines(row: Mapping[str, Any], events: Sequence[Event]) -> list[str]:
    """Return a line for each pull under way: a bar where its progress is known."""
    under_way: dict[str, None] = {}
    for event in events:
        model = str(event.fields.get("model", ""))
        if event.kind is EventKind.PULL_STARTED:
            under_way[model] = None
        elif event.kind in {EventKind.PULL_DONE, EventKind.PULL_FAILED}:
            under_way.pop(model, None)
    lines, progress = [], row.get("pull")
    if isinstance(progress, Mapping):
        name = str(progress.get("model", ""))
        under_way.pop(name, None)
        lines.append(_pull_line(name, progress))
    return [*lines, *(f"pull of {plain_text(model)} under way" for model in under_way)]


def _pull_line(model: str, progress: Mapping[str, Any]) -> str:
    done, total = whole_number(progress.get("completed_bytes")), whole_number(progress.get("total_bytes"))
    if done is None or not total or total < 0:
        return f"pull of {plain_text(model)} under way"
    share = min(max(done / total, 0.0), 1.0)
    bar = "█" * round(_BAR * share)
    return f"pull of {plain_text(model)} {bar:░<{_BAR}} {share:4.0%} of {show_size(total)}"


def cut(line: str, width: int) -> str:
    """Return a line that fits into a width."""
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def event_lines(events: Sequence[Event], count: int, width: int) -> Text:
    """Return the last events, newest first, one line each."""
    lines = Text()
    for event in list(reversed(events))[:count]:
        lines.append(time.strftime("%H:%M:%S  ", time.localtime(event.time)), "dim")
        lines.append(cut(plain_text(sentence(event)), width - 10) + "\n", _LOUD.get(event.kind, ""))
    return lines
