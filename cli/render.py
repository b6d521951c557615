"""Text of status, history and findings for a terminal (pure)."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.faults import Finding, Health
from fleet.config.hours import NO_MODEL
from fleet.policy.events import Event, EventKind, sentence
from fleet.runtime.clock import parse_since
from fleet.runtime.errors import ConfigError
from fleet.runtime.logging import plain_text
from fleet.runtime.units import show_duration, show_moment, show_size
from state.history import read_history

_COLOURS = {Health.SOUND: "green", Health.WARNING: "yellow", Health.FAULT: "red"}
_LOUD = {
    EventKind.SWITCH_COMMITTED: "cyan",
    EventKind.SWITCH_DONE: "green",
    EventKind.SWITCH_FAILED: "red",
    EventKind.INCIDENT: "yellow",
    EventKind.HELD: "red",
    EventKind.PAUSED: "yellow",
    EventKind.RESUMED: "green",
    EventKind.RESERVE: "yellow",
    EventKind.UNANSWERED: "red",
    EventKind.OLLAMA_HANGS: "red",
    EventKind.ANSWERED: "green",
}


_LABEL = 13
_PART = 15


def status_lines(row: Mapping[str, Any], now: float) -> list[str]:
    """Return the lines of a status. Control characters in its values are made visible."""
    row = _printable(row)
    model = row["current_model"]
    size = f", {model['size_mb']} MB" if model["size_mb"] else ""
    place = f"  rung {model['index']} of 0 to {row['fleet_size'] - 1}{size}"
    name = click.style(plain_text(model["name"]), bold=True)
    lines = [
        _line("model", name + place + _unsure(row)),
        _line("", plain_text(model["description"])) if model["description"] else "",
        _line("errors", _errors(row)),
        _line("ladder", _ladder(row)),
        _line("in Ollama", _list(row["available_models"])),
        _line("pulling", _pull(row["pull"])),
        _line("GPU memory", _memory(row["gpu_memory"])),
        _line("programs", _programs(row)),
        _line("log source", _source(row)),
        _line("last switch", _last_switch(row["last_switch"], now)),
        _line("next try up", _next_try(row, now)),
        _line("paused", _paused(row["pause"], now)),
        _line("hours", _hours(row["hours"], now)),
        _line("reserve", _reserve(row["reserve"])),
        _line("chosen", _chosen(row)),
        _line("BRAIN", _brain(row["brain"])),
        *_alphas(row["recent_alphas"]),
        *(_line("note", click.style(plain_text(text), fg="yellow")) for text in row["warnings"] or ()),
        *(line for part, one in row["away"].items() for line in _away(part, one, now)),
        *(line for one in row["faults"] if one["part"] not in row["away"] for line in _fault(one)),
    ]
    return [line for line in lines if line]


def _next_try(row: Mapping[str, Any], now: float) -> str:
    """Return time, model and reason of the next probe, or the reason for none."""
    ahead = row["recovery"]
    if not ahead:
        return ""
    if ahead["next"] is None:
        when = "none" if ahead["rung"] is None else "not due yet"
        return f"{when}: {plain_text(ahead['why'])}"
    which = "" if ahead["rung"] is None else f", {plain_text(row['ladder'][ahead['rung']])}"
    when = _ago(ahead["next"], now) if ahead["next"] > now else "due now"
    return f"{when}{which} ({plain_text(ahead['why'])})"


def _printable(value: Any) -> Any:
    """Return a status with visible control characters in all of its texts."""
    if isinstance(value, Mapping):
        return {key: _printable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(one) for one in value]
    return plain_text(value) if isinstance(value, str) else value


def _unsure(row: Mapping[str, Any]) -> str:
    return (
        click.style("  (the defaults: the state cannot be read)", fg="red") if "state" in row["away"] else ""
    )


def _away(part: str, one: Mapping[str, Any], now: float) -> list[str]:
    since = "" if one["since"] is None else f" since {_ago(one['since'], now)}"
    hint = [_line("", "→ " + plain_text(one["hint"]))] if one["hint"] else []
    return [_line("away", click.style(f"{part}{since}: {plain_text(one['reason'])}", fg="red")), *hint]


def _fault(one: Mapping[str, Any]) -> list[str]:
    lines = [_line("fault", click.style(f"{one['part']}: {one['detail']}", fg="red"))]
    return [*lines, _line("", f"→ {one['hint']}")] if one["hint"] else lines


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}" if text else ""


def _errors(row: Mapping[str, Any]) -> str:
    text = f"{row['vram_error_count']} of {row['max_vram_errors']}"
    if not row["can_downgrade"]:
        text += ", and no smaller model is left"
    if row["switch"]:
        text += (
            f"; {row['switch']['kind']} to rung {row['switch']['to']} is under way ({row['switch']['phase']})"
        )
    return text


def _ladder(row: Mapping[str, Any]) -> str:
    here, labels = row["current_model"]["index"], [plain_text(label) for label in row["ladder"]]
    return " > ".join(
        click.style(label, bold=True) if index == here else label for index, label in enumerate(labels)
    )


def _pull(pull: Mapping[str, Any] | None) -> str:
    return f"{plain_text(pull['model'])}: {pull['text']}" if pull else ""


def _list(names: list[str] | None) -> str:
    return "not known" if names is None else ", ".join(plain_text(name) for name in names) or "none"


def _memory(memory: Mapping[str, Any] | None) -> str:
    if memory is None:
        return "not known"
    models = ", ".join(f"{plain_text(one['name'])} {show_size(one['size_vram'])}" for one in memory["models"])
    return f"{show_size(memory['used_bytes'])} in use by Ollama" + (f" ({models})" if models else "")


def _programs(row: Mapping[str, Any]) -> str:
    programs = row["programs"]
    if programs is None:
        silent = "does not answer" in row["away"].get("supervisord", {}).get("reason", "")
        return click.style("supervisord " + ("does not answer" if silent else "does not run"), fg="red")
    return ", ".join(
        click.style(f"{name} {one['state']}", fg="green" if one["state"] == "RUNNING" else "red")
        for name, one in programs.items()
    )


def _source(row: Mapping[str, Any]) -> str:
    text = plain_text(row["log_source"] or "not known")
    monitor = (row["programs"] or {}).get("monitor", {}).get("state", "RUNNING")
    if monitor != "RUNNING":
        text += click.style(f"  not followed now: the monitor is {monitor}", fg="red")
    return text + (click.style("  away", fg="red") if row["log_source_away"] else "")


def _last_switch(switch: Mapping[str, Any] | None, now: float) -> str:
    if switch is None:
        return "none yet"
    move = f"{switch['kind']} {switch['from']} → {switch['to']}"
    return f"{move}, {_ago(switch['time'], now)} ({switch['why']})"


_PAUSED_BY = {
    "operator": "by hand; `resume` ends it",
    "hours": "by [[hours]]",
    "reserve": "others use the GPU's memory",
    "step": "for a moment",
    "leftover": "by run/pause.json alone",
}


def _paused(pause: Mapping[str, Any] | None, now: float) -> str:
    if pause is None:
        return ""
    end = "without an end" if pause["until"] is None else f"until {_when(pause['until'], now)}"
    return click.style(f"{end}, {_PAUSED_BY[pause['by']]}: {pause['why']}", fg="yellow")


def _hours(hours: Mapping[str, Any] | None, now: float) -> str:
    if hours is None:
        return ""
    if hours["until"] is None:
        return f"{_cap(hours['cap'])}, always"
    return f"{_cap(hours['cap'])} until {_when(hours['until'], now)}; then {_cap(hours['next'])}"


def _cap(model: str | None) -> str:
    if model is None:
        return "no cap"
    return "the GPU is left alone" if model == NO_MODEL else f"no model above {model}"


def _when(moment: float, now: float) -> str:
    """Return a time to come by the machine's clock, with the distance."""
    return f"{show_moment(moment)} ({_ago(moment, now)})"


def _reserve(reserve: Mapping[str, Any] | None) -> str:
    if reserve is None:
        return ""
    size = "" if reserve["bytes"] is None else f"{show_size(reserve['bytes'])} left to others; "
    if reserve["unknown"]:
        return size + click.style(f"the card cannot be read: {reserve['unknown']}", fg="red")
    capped = f"; {_cap(reserve['cap'])}" if reserve["cap"] else ""
    free = "the card is not read yet" if reserve["free"] is None else f"{show_size(reserve['free'])} free now"
    return f"{size}{free}{capped}"


def _chosen(row: Mapping[str, Any]) -> str:
    if row["pinned"]:
        return "pinned by hand; `unpin` lets automatic switches go on"
    if row["ceiling"]:
        return f"climbing back stops at rung {row['ceiling']}; `reset`, `upgrade` or `unpin` lift that"
    return ""


def _brain(standing: Mapping[str, Any] | None) -> str:
    return "" if standing is None else brain_sentence(standing)


def brain_sentence(standing: Mapping[str, Any]) -> str:
    """Return the generator's session, slots and day's count with BRAIN, without trouble."""
    session = "signed in" if standing["signed_in"] else "not signed in"
    flights = f"{standing['in_flight']} of {standing['slots']} slots in use, {standing['queued']} queued"
    return f"{session}, {flights}, {standing['sent_today']} sent in 24 hours"


def _alphas(alphas: list[Mapping[str, Any]] | None) -> list[str]:
    if not alphas:
        return []
    rows = [_line("alphas", "newest first")]
    for alpha in alphas:
        sharpe = alpha.get("sharpe")
        figure = f"{sharpe:+.2f}" if isinstance(sharpe, (int, float)) else "     "
        expression = plain_text(str(alpha.get("expression")))
        rows.append(_line("", f"Sharpe {figure}  [{alpha.get('source')}]  {expression}"))
    return rows


def _ago(moment: float, now: float) -> str:
    distance = now - moment
    return f"{show_duration(distance)} ago" if distance >= 0 else f"in {show_duration(-distance)}"


def history_lines(events: Iterable[Event]) -> list[str]:
    """Return one line an event, with its UTC time."""
    return [
        time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(event.time))
        + "  "
        + click.style(plain_text(sentence(event)), fg=_LOUD.get(event.kind))
        for event in events
    ]


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Return one line a finding, and its hint on the next line."""
    findings, lines = list(findings), []
    width = max((_PART, *(len(finding.part) + 2 for finding in findings)))
    for finding in findings:
        mark = click.style(f"{finding.health.value:<9}", fg=_COLOURS[finding.health])
        lines.append(f"{mark}{finding.part:<{width}}{plain_text(finding.detail)}")
        if finding.hint:
            lines.append(f"{'':<{9 + width}}→ {plain_text(finding.hint)}")
    return lines


def folded(line: str, width: int, indent: int = _LABEL) -> str:
    """Return a line folded between words at a width, continued under `indent`; colour codes have no width."""
    rows, room = [""], width
    for number, word in enumerate(re.split(r"(?<=\S) (?=\S)", line)):
        length = len(click.unstyle(word))
        if number and length + 1 > room and width > 2 * indent:
            rows.append(" " * indent + word)
            room = width - indent - length
        else:
            rows[-1] += (" " if number else "") + word
            room -= length + (number > 0)
    return "\n".join(rows)


def select(path: Path, *, last: int, kinds: Sequence[str], since: str | None, now: float) -> list[Event]:
    """Return the last events of these kinds since a time, oldest first.

    A kind may be named by its first part: `switch` stands for all kinds of switch events. Raise ConfigError for an
    unknown kind or time.
    """
    wanted = {kind for name in kinds for kind in kinds_called(name)}
    first = None if since is None else parse_since(since, now)
    if not wanted and first is None:
        return read_history(path, last)
    return [
        event
        for event in read_history(path)
        if (not wanted or event.kind in wanted) and (first is None or event.time >= first)
    ][-last:]


def kinds_called(name: str) -> list[EventKind]:
    """Return the kinds that a name stands for; raise ConfigError if there are none."""
    found = [kind for kind in EventKind if name in {kind.value, kind.value.partition(".")[0]}]
    if not found:
        known = ", ".join(dict.fromkeys(kind.value.partition(".")[0] for kind in EventKind))
        raise ConfigError(
            f"there is no kind of event {name!r}", hint=f"Known are {known}, and their full names."
        )
    return found
