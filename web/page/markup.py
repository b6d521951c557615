"""HTML of the page's parts: a view in, escaped HTML out (pure)."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from fleet.policy.events import Event, EventKind, sentence
from fleet.runtime.logging import indented_text, plain_text
from fleet.runtime.units import show_duration, show_size
from web.feed import View

_LOUD = {
    EventKind.INCIDENT: "warn",
    EventKind.HELD: "bad",
    EventKind.SWITCH_FAILED: "bad",
    EventKind.UNANSWERED: "bad",
    EventKind.OLLAMA_HANGS: "bad",
    EventKind.GPU_LOST: "bad",
    EventKind.SWITCH_DONE: "good",
    EventKind.ANSWERED: "good",
    EventKind.SWITCH_COMMITTED: "info",
}


def text(value: object) -> str:
    """Return a value as safe text: control characters shown, HTML escaped."""
    return escape(plain_text(str(value)))


def moment(stamp: float) -> str:
    """Return a time with its date, in UTC; the page's script turns it into local time."""
    iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stamp))
    return f'<time datetime="{iso}">{iso[5:10]} {iso[11:19]}Z</time>'


def _ago(stamp: float, now: float) -> str:
    distance = now - stamp
    return f"{show_duration(distance)} ago" if distance >= 0 else f"in {show_duration(-distance)}"


def block(lines: Iterable[str]) -> str:
    """Return lines as a block of their own, each with its indentation."""
    return '<pre tabindex="0">' + "\n".join(escape(indented_text(line)) for line in lines) + "</pre>"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return a list of names and values; values are HTML. Empty values are left out."""
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in rows if value)
    return f"<dl>{items}</dl>"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str,
    numbers: int = 0,
    narrow: Collection[int] | None = None,
) -> str:
    """Return a table of HTML cells; the last `numbers` columns are aligned as numbers.

    `narrow` are the places of the columns that a phone shows; all without it.
    """
    first = len(head) - numbers
    kinds = [
        " ".join(["n"] * (place >= first) + ["wide"] * (narrow is not None and place not in narrow))
        for place in range(len(head))
    ]
    classes = [f' class="{kind}"' if kind else "" for kind in kinds]
    cells = "".join(f'<th scope="col"{classes[place]}>{name}</th>' for place, name in enumerate(head))
    lines = "".join(
        "<tr>" + "".join(f"<td{classes[place]}>{cell}</td>" for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{text(caption)}"><table>'
        f'<caption class="sr">{text(caption)}</caption><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody>'
        "</table></div>"
    )


def banner(view: View) -> str:
    """Return the faults and the stale parts; a sentence where there are none."""
    faults = [
        f"<li><b>{text(one['part'])}</b> {text(one['detail'])}"
        + (f'<br><span class="hint">→ {text(one["hint"])}</span>' if one["hint"] else "")
        + "</li>"
        for one in view.status["faults"]
    ]
    old = [
        f'<li class="stale"><b>{text(name)}</b> stale: the last value is of {_ago(when, view.time)}</li>'
        for name, when in view.stale.items()
    ]
    if not faults and not old:
        return '<p class="ok">All is well.</p>'
    return f'<ul class="faults">{"".join(faults + old)}</ul>'


def _stale(view: View, part: str) -> str:
    when = view.stale.get(part)
    return "" if when is None else f' <span class="badge stale">stale, {_ago(when, view.time)}</span>'


def ladder(view: View) -> str:
    """Return the ladder with the current rung, why the fleet is there, and the next move up."""
    row, here = view.status, view.status["current_model"]["index"]
    switch = row["switch"]
    rungs = []
    for index, label in enumerate(row["ladder"]):
        marks = []
        if index == here:
            marks.append('<span class="badge here">here</span>')
        if row["pinned"] and index == here:
            marks.append('<span class="badge">pinned</span>')
        if row["ceiling"] is not None and index == row["ceiling"]:
            marks.append('<span class="badge">ceiling</span>')
        if switch and index == switch["to"]:
            marks.append(f'<span class="badge busy">{text(switch["kind"])}: {text(switch["phase"])}</span>')
        current = ' aria-current="true" class="here"' if index == here else ""
        rungs.append(f"<li{current}><span>{text(label)}</span> {' '.join(marks)}</li>")
    last, ahead = row["last_switch"], row["recovery"]
    why = "" if last is None else f"{_move(last)}, {_ago(last['time'], view.time)}: {text(last['why'])}"
    up = (
        text(ahead["why"])
        if ahead["next"] is None
        else f"{_ago(ahead['next'], view.time)} ({text(ahead['why'])})"
    )
    standing = facts([("Last switch", why or "none yet"), ("Next try up", up)])
    return f'<ol class="ladder" start="0">{"".join(rungs)}</ol>{standing}'


def _move(switch: Mapping[str, Any]) -> str:
    return f"{text(switch['kind'])} {text(switch['from'])} → {text(switch['to'])}"


def count(view: View) -> str:
    """Return the count of incidents against the threshold, and a hold or pause."""
    row = view.status
    most, now = row["max_vram_errors"], row["vram_error_count"]
    label = f"{now} of {most} incidents"
    bar = f'<meter min="0" max="{most}" value="{min(now, most)}" aria-label="{label}">{label}</meter>'
    hold = row["hold"]
    held = (
        ""
        if hold is None
        else f'<span class="badge bad">held until {moment(hold["until"])}</span> {text(hold["why"])}'
    )
    paused = row.get("pause")
    pausing = ""
    if isinstance(paused, Mapping):
        until = paused.get("until")
        end = "until resumed" if until is None else f"until {moment(float(until))}"
        pausing = f'<span class="badge warn">paused {end}</span> {text(paused.get("why") or "")}'
    last = next((one for one in reversed(view.events) if one.kind is EventKind.INCIDENT), None)
    latest = "" if last is None else f"{_ago(last.time, view.time)}: {text(sentence(last))}"
    bottom = "" if row["can_downgrade"] else "no smaller model is left"
    return f'<p class="big">{label}</p>{bar}' + facts(
        [("Hold", held), ("Pause", pausing), ("Last one", latest), ("Ladder", bottom)]
    )


def programs(view: View) -> str:
    """Return the programs with their states, and the parts around them."""
    row = view.status
    known = row["programs"]
    if known is None:
        listed = '<p><span class="badge bad">supervisord does not answer</span></p>'
    else:
        cells = [
            (
                text(name) + _stale(view, name),
                f'<span class="badge {"good" if one["state"] == "RUNNING" else "bad"}">{text(one["state"])}</span>',
                text(one["description"] or ""),
            )
            for name, one in known.items()
        ]
        listed = table(("Program", "State", "Since"), cells, caption="Programs")
    models = row["available_models"]
    source = text(row["log_source"] or "not known") + (
        ' <span class="badge bad">away</span>' if row["log_source_away"] else ""
    )
    return listed + facts(
        [
            ("Log source", source),
            ("In Ollama", "not known" if models is None else ", ".join(map(text, models)) or "none"),
        ]
    )


def memory(view: View) -> str:
    """Return the GPU memory now, by model and by card."""
    found, last = view.status["gpu_memory"], view.samples[-1] if view.samples else None
    rows = []
    if found is None:
        rows.append(("Ollama", "not known"))
    else:
        parts = [
            f"{text(one['name'])} {show_size(one['size_vram'])}"
            + ("" if one["size_vram"] >= one["size"] else f" of {show_size(one['size'])}")
            for one in found["models"]
        ]
        rows.append(
            ("Ollama", f"{show_size(found['used_bytes'])}" + (f" ({', '.join(parts)})" if parts else ""))
        )
    if last is not None and last.used is not None and last.total is not None:
        rows.append(("Cards", f"{show_size(last.used)} of {show_size(last.total)}"))
    rows.append(
        ("Marks", '<span class="key incident"></span> incident <span class="key switch"></span> switch')
    )
    return facts(rows) + _stale(view, "GPU memory")


def speed(view: View) -> str:
    """Return the generation's speed and the run's counts."""
    totals = (view.status["generator"] or {}).get("totals") or {}
    per_second = "not known" if view.tokens_per_second is None else f"{view.tokens_per_second:.1f}"
    names = ("calls", "failed", "valid", "invalid", "duplicates", "evaluated", "kept")
    counts = [(name.capitalize(), text(totals[name])) for name in names if name in totals]
    return f'<p class="big">{per_second} tokens/s</p>' + facts(counts) + _stale(view, "generator")


def pulls(view: View) -> str:
    """Return the pulls under way with their progress; empty without one."""
    under_way: dict[str, Event] = {}
    for event in view.events:
        model = str(event.fields.get("model", ""))
        if event.kind is EventKind.PULL_STARTED:
            under_way[model] = event
        elif event.kind in {EventKind.PULL_DONE, EventKind.PULL_FAILED}:
            under_way.pop(model, None)
    progress = view.status.get("pull")
    lines = []
    if isinstance(progress, Mapping):
        name = str(progress.get("model", ""))
        under_way.pop(name, None)
        lines.append(_pull_line(name, progress.get("completed_bytes"), progress.get("total_bytes")))
    lines += [_pull_line(model, None, None) for model in under_way]
    return f'<ul class="pulls">{"".join(lines)}</ul>' if lines else ""


def _pull_line(model: str, done: object, total: object) -> str:
    known = isinstance(done, int) and isinstance(total, int) and total > 0
    bar = f'<progress max="{total}" value="{done}" aria-label="pull of {text(model)}"></progress>' if known else (
        f'<progress aria-label="pull of {text(model)}"></progress>'
    )  # fmt: skip
    shown = (
        f" {show_size(done)} of {show_size(total)}"
        if isinstance(done, int) and isinstance(total, int) and known
        else ""
    )
    return f"<li>pull of {text(model)}{bar}{shown}</li>"


def events(rows: Sequence[Event], *, lines: bool = False) -> str:
    """Return events as a table, newest first; `lines` adds the log lines of incidents."""
    if not rows:
        return "<p>Nothing has happened yet.</p>"
    cells = []
    for event in reversed(rows):
        said = f'<span class="{_LOUD.get(event.kind, "")}">{text(sentence(event))}</span>'
        shown = event.fields.get("lines")
        if lines and isinstance(shown, list) and shown:
            said += f"<details><summary>Log lines</summary>{block(map(str, shown))}</details>"
        cells.append((str(event.number), moment(event.time), said))
    return table(("No.", "Time", "Event"), cells, caption="Events")
