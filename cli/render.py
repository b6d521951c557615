"""How status, history and findings look to a person; pure: values in, text out."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import click

from cli.doctor import Finding, Health
from fleet.events import Event, EventKind, sentence
from fleet.logs import plain_text
from fleet.units import show_duration, show_size

_COLOURS = {Health.SOUND: "green", Health.WARNING: "yellow", Health.FAULT: "red"}
_LOUD = {
    EventKind.SWITCH_COMMITTED: "cyan",
    EventKind.SWITCH_DONE: "green",
    EventKind.SWITCH_FAILED: "red",
    EventKind.INCIDENT: "yellow",
    EventKind.HELD: "red",
}


def status_lines(row: Mapping[str, Any], now: float) -> list[str]:
    """Return the status as a person reads it."""
    model = row["current_model"]
    size = f", {model['size_mb']} MB" if model["size_mb"] else ""
    lines = [
        _line(
            "model",
            click.style(model["name"], bold=True)
            + f"  rung {model['index']} of 0 to {row['fleet_size'] - 1}{size}",
        ),
        _line("", model["description"]) if model["description"] else "",
        _line("errors", _errors(row)),
        _line("ladder", _ladder(row)),
        _line("in Ollama", _list(row["available_models"])),
        _line("GPU memory", _memory(row["gpu_memory"])),
        _line("programs", _programs(row["programs"])),
        _line("log source", _source(row, now)),
        _line("last switch", _last_switch(row["last_switch"], now)),
        _line("next try up", _ago(row["next_probe"], now) if row["next_probe"] else "none due"),
        _line("chosen", _chosen(row)),
        *_alphas(row["recent_alphas"]),
        *(
            _line("away", click.style(f"{part}: {plain_text(why)}", fg="red"))
            for part, why in row["away"].items()
        ),
    ]
    return [line for line in lines if line]


def _line(label: str, text: str) -> str:
    return f"{label:<12} {text}" if text else ""


def _errors(row: Mapping[str, Any]) -> str:
    text = f"{row['vram_error_count']} of {row['max_vram_errors']}"
    if not row["can_downgrade"]:
        text += ", and no smaller model is left"
    if row["hold"]:
        text += f"; held: {row['hold']['why']}"
    if row["switch"]:
        text += (
            f"; {row['switch']['kind']} to rung {row['switch']['to']} is under way ({row['switch']['phase']})"
        )
    return text


def _ladder(row: Mapping[str, Any]) -> str:
    here = row["current_model"]["index"]
    return " > ".join(
        click.style(label, bold=True) if index == here else label for index, label in enumerate(row["ladder"])
    )


def _list(names: list[str] | None) -> str:
    return "not known" if names is None else ", ".join(plain_text(name) for name in names) or "none"


def _memory(memory: Mapping[str, Any] | None) -> str:
    if memory is None:
        return "not known"
    models = ", ".join(f"{plain_text(one['name'])} {show_size(one['size_vram'])}" for one in memory["models"])
    return f"{show_size(memory['used_bytes'])} in use by Ollama" + (f" ({models})" if models else "")


def _programs(programs: Mapping[str, Any] | None) -> str:
    if programs is None:
        return click.style("supervisord does not run", fg="red")
    return ", ".join(
        click.style(f"{name} {one['state']}", fg="green" if one["state"] == "RUNNING" else "red")
        for name, one in programs.items()
    )


def _source(row: Mapping[str, Any], now: float) -> str:
    away = row["log_source_away"]
    text = row["log_source"] or "not known"
    if not away:
        return text
    return text + click.style(
        f"  away since {_ago(away.get('since', now), now)}: {away.get('reason')}", fg="red"
    )


def _last_switch(switch: Mapping[str, Any] | None, now: float) -> str:
    if switch is None:
        return "none yet"
    move = f"{switch['kind']} {switch['source']} → {switch['target']}"
    return f"{move}, {_ago(switch['time'], now)} ({switch['why']})"


def _chosen(row: Mapping[str, Any]) -> str:
    if row["pinned"]:
        return "pinned by hand; `unpin` lets automatic switches go on"
    if row["ceiling"] is not None:
        return f"climbing back stops at rung {row['ceiling']}; `reset`, `upgrade` or `unpin` lift that"
    return ""


def _alphas(alphas: list[Mapping[str, Any]] | None) -> list[str]:
    if not alphas:
        return []
    rows = [f"{'alphas':<12} newest first"]
    for alpha in alphas:
        sharpe = alpha.get("sharpe")
        figure = f"{sharpe:+.2f}" if isinstance(sharpe, (int, float)) else "     "
        rows.append(
            f"{'':<12} Sharpe {figure}  {plain_text(str(alpha.get('expression')))}  [{alpha.get('source')}]"
        )
    return rows


def _ago(moment: float, now: float) -> str:
    distance = now - moment
    return f"{show_duration(distance)} ago" if distance >= 0 else f"in {show_duration(-distance)}"


def history_lines(events: Iterable[Event]) -> list[str]:
    """Return events a line each, with their UTC times."""
    return [
        time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(event.time))
        + "  "
        + click.style(plain_text(sentence(event)), fg=_LOUD.get(event.kind))
        for event in events
    ]


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Return findings a line each, a hint on a line of its own below."""
    lines = []
    for finding in findings:
        mark = click.style(f"{finding.health.value:<8}", fg=_COLOURS[finding.health])
        lines.append(f"{mark} {finding.part:<14} {plain_text(finding.detail)}")
        if finding.hint:
            lines.append(f"{'':<23} → {finding.hint}")
    return lines
