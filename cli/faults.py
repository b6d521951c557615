"""The faults of a fleet, derived from a status row (pure). `status`, `status --check` and `doctor` share this list.

A fault keeps the fleet from mining by itself. A person's choice is no fault: a generator stopped by hand, a pause, a
pin, a ceiling. A switch under way is no fault either.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fleet.clients.supervisor_log import CRASH_LOOP_WINDOW, is_crash_loop
from fleet.config.ladder import same_model
from fleet.policy.state import Unanswered
from fleet.policy.unanswered import remedy
from fleet.runtime.home import DEFAULT_LANE, Home
from fleet.runtime.logging import plain_text
from fleet.runtime.units import MEGABYTE, Seconds, show_duration, show_size
from fleet.runtime.untrusted import finite, whole_number


class Health(StrEnum):
    """The result of a check; only FAULT makes `doctor` exit 1."""

    SOUND = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, with the remedy as `hint`."""

    part: str
    health: Health
    detail: str
    hint: str = ""


_SKIPPED_FOR: Seconds = 3600.0
"""A skipped line is a fault for this long: an hourly check sees each one."""

_DISK_FULL = 16 * MEGABYTE
"""Free space below which the home's disk is full: state, heartbeats and logs no longer fit for long."""

_CURRENT: Seconds = 60.0
"""Oldest heartbeat that still describes the present."""

_DOWN = {"STOPPED", "BACKOFF", "EXITED", "FATAL", "UNKNOWN"}
_BETWEEN = {"STOPPED", "EXITED"}
"""States of the generator during a switch, or after a stop by hand."""


def faults(row: Mapping[str, Any], now: float) -> list[Finding]:
    """Return the faults of a status row, each with part and remedy; empty without one."""
    found = [
        *(Finding(part, Health.FAULT, one["reason"], one["hint"]) for part, one in row["away"].items()),
        *_damage(row),
        *_home_folders(row),
        *_programs(row),
        *_unanswered(row, now),
        *_replies(row, now),
        *_evaluator(row, now),
        *_dask(row, now),
        *_log(row, now),
        *_skipped(row, now),
        *_held(row, now),
        *_reserve(row),
        *_brain(row),
        *_notices(row),
    ]
    return [Finding(one.part, one.health, plain_text(one.detail), plain_text(one.hint)) for one in found]


def _fault(part: str, detail: str, hint: str) -> Iterator[Finding]:
    yield Finding(part, Health.FAULT, detail, hint)


def _home(row: Mapping[str, Any]) -> Home:
    lane = row.get("lane", DEFAULT_LANE)
    return Home(Path(row["home"]), "" if lane == DEFAULT_LANE else lane)


def _damage(row: Mapping[str, Any]) -> Iterator[Finding]:
    if row["state_damaged"]:
        hint = "The monitor sets the damaged file aside at its next write; check that the monitor runs."
        yield from _fault("state", f"its last good copy is used: {row['state_damaged']}", hint)


def _home_folders(row: Mapping[str, Any]) -> Iterator[Finding]:
    if row["unwritable"]:
        hint = "Correct its permissions; one user runs all of a fleet."
        yield from _fault("home", f"{row['unwritable']} cannot be written", hint)
    free = row["disk_free_bytes"]
    if free is not None and free < _DISK_FULL:
        yield from _fault("disk", f"{show_size(free)} free for {row['home']}", "Make room on this disk.")


def _programs(row: Mapping[str, Any]) -> Iterator[Finding]:
    home = _home(row)
    for name, program in (row["programs"] or {}).items():
        chosen = name == "generator" and (row["switch"] or _is_stopped(row))
        if is_crash_loop(program["restarts"]):
            detail = (
                f"it ended by itself {program['restarts']} times within {show_duration(CRASH_LOOP_WINDOW)}"
            )
            if program["state"] != "RUNNING":
                detail += f", and is {program['state']}"
            yield from _fault(name, detail, f"{_log_of(home, name)} and {home.supervisord_log} say why.")
        elif program["state"] in _DOWN - (_BETWEEN if chosen else set()):
            hint = (
                f"`{home.supervisorctl('start', name)}` starts it; {_log_of(home, name)} says why it ended."
            )
            yield from _fault(name, f"it is {program['state']}", hint)
        elif program["silent"]:
            hint = f"It may hang: `{home.supervisorctl('restart', name)}` starts it anew."
            yield from _fault(name, f"it {program['silent']}", hint)


def _log_of(home: Home, program: str) -> Path:
    return home.log / ("ollama.log" if program == "standin" else f"{program}.log")


def _is_stopped(row: Mapping[str, Any]) -> bool:
    """Return True if a person stopped the generator. Its failed calls are then no fault."""
    return (row["programs"] or {}).get("generator", {}).get("state") == "STOPPED" and not row["switch"]


def _unanswered(row: Mapping[str, Any], now: float) -> Iterator[Finding]:
    failed = row["unanswered"]
    if failed is None or not failed["reported"] or _is_stopped(row):
        return
    calls = "1 call" if failed["calls"] == 1 else f"{failed['calls']} calls"
    lead = "Ollama hangs: no answer" if failed["hangs"] else "no answer"
    since = show_duration(max(now - failed["since"], 0.0))
    detail = f"{lead} for {since}, {calls} failed in a row, the last one with: {failed['reason']}"
    hint = remedy(Unanswered(**failed), row["log_source"] or "", pulling=_pull_of_model(row))
    if row["profile"] == "embedded" and (failed["hangs"] or "ollama" in row["away"]):
        away = row["away"].get("supervisord")
        restart = _home(row).supervisorctl("restart", "standin")
        hint = away["hint"] if away else f"`{restart}` starts the stand-in anew."
    yield from _fault("calls", detail, hint)


def _pull_of_model(row: Mapping[str, Any]) -> str:
    """Return the progress of the pull of the rung's own model, empty without one."""
    pull = row["pull"]
    return pull["text"] if pull and same_model(pull["model"], row["current_model"]["name"]) else ""


def _replies(row: Mapping[str, Any], now: float) -> Iterator[Finding]:
    """Yield the fault of `unusable` in `run/generator.json`, unless the heartbeat is old."""
    for streak in _reported(row, "unusable", now):
        calls = whole_number(streak.get("calls"))
        many = "" if calls is None else f", {calls} calls in a row"
        detail = f"{row['generator'].get('model')} gives nothing usable{_since(streak, now)}{many}: {streak.get('reason')}"
        yield from _fault("replies", detail, str(streak.get("mend") or ""))


def _evaluator(row: Mapping[str, Any], now: float) -> Iterator[Finding]:
    for away in _reported(row, "evaluator_away", now):
        detail = f"no alpha is evaluated{_since(away, now)}: {away.get('reason')}"
        yield from _fault("evaluator", detail, str(away.get("hint") or ""))


def _dask(row: Mapping[str, Any], now: float) -> Iterator[Finding]:
    for away in _reported(row, "dask_away", now):
        detail = (
            f"the local engine evaluates instead of dask workers{_since(away, now)}: {away.get('reason')}"
        )
        yield from _fault("dask", detail, str(away.get("hint") or ""))


def _reported(row: Mapping[str, Any], name: str, now: float) -> Iterator[Mapping[str, Any]]:
    """Yield a failure in `run/generator.json`, unless there is none or the heartbeat is old."""
    generator = row["generator"] or {}
    failure, beat = generator.get(name), finite(generator.get("heartbeat"))
    if isinstance(failure, Mapping) and beat is not None and now - beat <= _CURRENT:
        yield failure


def _since(failure: Mapping[str, Any], now: float) -> str:
    since = finite(failure.get("since"))
    return "" if since is None else f" for {show_duration(max(now - since, 0.0))}"


def _log(row: Mapping[str, Any], now: float) -> Iterator[Finding]:
    away = row["log_source_away"]
    if not isinstance(away, Mapping):
        return
    detail = f"{row['log_source'] or 'it'} is away{_since(away, now)}: {away.get('reason')}"
    yield from _fault("log source", detail, str(away.get("hint") or ""))


def _skipped(row: Mapping[str, Any], now: float) -> Iterator[Finding]:
    skipped = row["skipped"]
    if skipped is None or now - skipped["last"] > _SKIPPED_FOR:
        return
    lines = "1 line" if skipped["count"] == 1 else f"{skipped['count']} lines"
    detail = f"{lines} could not be read; a failure may be missing from the count"
    yield from _fault(
        "skipped lines", detail, "`history --kind line.skipped` shows them; please report them."
    )


def _held(row: Mapping[str, Any], now: float) -> Iterator[Finding]:
    hold, pause = row["hold"], row["pause"]
    if pause is not None and pause["by"] == "leftover":
        detail = f"run/pause.json pauses it, and nothing in the state asks for that: {pause['why']}"
        yield from _fault("generator", detail, "`resume` removes the request.")
    if hold is not None and pause is None:
        wait = show_duration(max(hold["until"] - now, 0.0))
        hint = "A smaller model, a smaller num_ctx or more free GPU memory helps; `use` and `reset` end the hold."
        yield from _fault("generator", f"it is held for {wait} more: {hold['why']}", hint)


def _reserve(row: Mapping[str, Any]) -> Iterator[Finding]:
    reserve = row["reserve"]
    if reserve is not None and reserve["unknown"]:
        hint = 'The reserve is not kept meanwhile. Let nvidia-smi or rocm-smi answer here, or set `reserve = "0 B"`.'
        yield from _fault("reserve", f"the card cannot be read: {reserve['unknown']}", hint)


def _brain(row: Mapping[str, Any]) -> Iterator[Finding]:
    brain = row["brain"] or {}
    if brain.get("trouble"):
        hint = "The generator asks again by itself; brain.trouble in log/generator.log says more."
        yield from _fault("brain", str(brain["trouble"]), str(brain.get("mend") or hint))


def _notices(row: Mapping[str, Any]) -> Iterator[Finding]:
    late = [one for one in row["notices"] if not one["given_up"]]
    if late:
        many = "1 notice is" if len(late) == 1 else f"{len(late)} notices are"
        detail = f"{many} not delivered to {late[-1]['place']}: {late[-1]['reason']}"
        yield from _fault("notices", detail, "`notify --test` shows each place's answer.")
