"""`status`: the state of a fleet and of each part that can be reached."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cli.faults import faults
from cli.parallel_checks import PATIENCE, Unreachable, look_at
from cli.target import Fleet, now
from fleet.clients.supervisor import ProgramInfo, ProgramState
from fleet.clients.supervisor_log import read_exits
from fleet.config.hours import NO_MODEL
from fleet.policy.events import Event, EventKind
from fleet.policy.hours import cap_in_force, forecast
from fleet.policy.incident_count import count
from fleet.policy.recovery import outlook
from fleet.policy.rules import Rules
from fleet.policy.slow import slow_rungs
from fleet.policy.state import FleetState
from fleet.runtime.errors import FleetError
from fleet.runtime.heartbeat import GRACE, WITH_HEARTBEAT, heartbeat_fault, read_heartbeat
from fleet.runtime.home import DEFAULT_LANE, LANE_PROGRAMS, Home, read_json
from fleet.runtime.pause_request import read_pause
from fleet.runtime.pull_progress import read_pull
from fleet.runtime.units import MEGABYTE, Seconds, show_size
from fleet.runtime.untrusted import moment, whole_number
from state.codec import default_state, to_json
from state.history import read_history
from state.refit import fit_to_ladder
from state.store import read_with_damage

_ALPHAS = 5
_EVENTS = 200
_SHOWN = ("expression", "model", "source", "sharpe", "fitness", "turnover", "kept", "time")
_BRAIN = ("signed_in", "in_flight", "slots", "queued", "sent_today", "trouble", "mend")
_STEP: Seconds = 300.0
"""Longest pause of a trial or a check, beyond the wait for a first token."""
_AWAY_AND_BACK = {EventKind.OLLAMA_AWAY, EventKind.OLLAMA_BACK}


def collect_status(fleet: Fleet, *, within: Seconds = PATIENCE) -> dict[str, Any]:
    """Return the status row: the original's keys and ours. A part that is away is null and named under `away`."""
    seen, away = look_at(_parts(fleet, within), within=within)
    stored, damage = seen["state"] or (None, "")
    ladder = fleet.settings.ladder
    state = fit_to_ladder(stored or default_state(ladder, now()), ladder, now())
    # Without a monitor no program keeps these two up to date.
    hours, pause = cap_in_force(fleet.settings.hours, state.hours, now()), state.pause
    state = replace(state, hours=hours, pause=pause if pause is not None and pause.active(now()) else None)
    rung = fleet.settings.ladder[state.current_model_index]
    ollama = seen["ollama"] or {}
    generator, ahead = seen["generator"], outlook(state, fleet.rules)
    row = {
        "current_model": {
            "name": rung.model,
            "size_mb": _size_mb(fleet.rules, rung.index),
            "description": rung.description,
            "index": rung.index,
            "options": dict(state.current_options),
        },
        "vram_error_count": count(state, now(), fleet.rules),
        "max_vram_errors": fleet.rules.threshold(rung),
        "available_models": ollama.get("models"),
        "fleet_size": len(fleet.settings.ladder),
        "can_downgrade": fleet.settings.ladder.below(rung.index) is not None,
        "ladder": [one.label for one in fleet.settings.ladder],
        "profile": fleet.started.profile if fleet.started else None,
        "home": str(fleet.home.path),
        "lane": fleet.home.lane or DEFAULT_LANE,
        "ollama_url": fleet.url,
        "log_source": fleet.log_source or None,
        "log_source_away": state.watch.get("source_away"),
        "gpu_memory": ollama.get("memory"),
        "programs": seen["supervisord"],
        "switches": state.switches,
        "switch": to_json(state.switch, whole=True),
        "last_switch": to_json(state.last_switch, whole=True),
        "recovery": asdict(ahead),
        "warnings": [
            *(_needy(fleet.rules, index) for index in _needy_rungs(fleet.rules)),
            *(f"{rung} is slow: `history --kind slow` shows its rates" for rung in slow_rungs(state.watch)),
        ],
        "next_probe": ahead.next,
        "hold": asdict(state.hold) if state.hold and state.hold.active(now()) else None,
        "pause": _pause(fleet, state),
        "hours": _hours(fleet),
        "reserve": _reserve(fleet, state),
        "pinned": state.pinned,
        "ceiling": state.ceiling,
        "generator": generator,
        "brain": brain_of(generator),
        "recent_alphas": seen["database"],
        "unanswered": asdict(state.unanswered) if state.unanswered else None,
        "pull": _pull(fleet.home),
        "notices": undelivered(fleet.home),
        "skipped": asdict(state.skipped) if state.skipped else None,
        "state_damaged": damage,
        "disk_free_bytes": _disk_free(fleet),
        "unwritable": _unwritable(fleet.home),
        "away": {part: asdict(one) for part, one in _dated(fleet, away, generator or {}).items()},
    }
    return {**row, "faults": [asdict(one) for one in faults(row, now())]}


def _pause(fleet: Fleet, state: FleetState) -> dict[str, Any] | None:
    """Return the pause in force, or a request in `run/pause.json` that no pause of the state explains.

    For such a request `by` is "step" for a trial or a check, which ends within minutes, else "leftover".
    """
    present = now()
    paused = state.paused(present)
    if paused is not None:
        return {"by": paused.by.value, "since": paused.since, "until": paused.until, "why": paused.why}
    request = read_pause(fleet.home.pause_file, present)
    if request is None or (state.hold is not None and state.hold.active(present)):
        return None
    longest = fleet.settings.ollama.first_token_timeout + _STEP
    short = request.until is not None and request.until - present <= longest
    since = moment((read_json(fleet.home.pause_file) or {}).get("since"))
    by = "step" if short else "leftover"
    return {"by": by, "since": since, "until": request.until, "why": request.why}


def _hours(fleet: Fleet) -> dict[str, Any] | None:
    """Return the cap by the clock, until when, and the next; None without `[[hours]]`."""
    if not fleet.settings.hours:
        return None
    found = forecast(fleet.settings.hours, now())
    return {
        "cap": None if found.cap is None else found.cap.model,
        "until": found.until,
        "next": None if found.next is None else found.next.model,
    }


def _reserve(fleet: Fleet, state: FleetState) -> dict[str, Any] | None:
    """Return the reserve of GPU memory, by the monitor's last reading of the card; None without one."""
    reserve = fleet.settings.policy.reserve
    if not reserve:
        return None
    row = read_json(fleet.home.card_file) or {}  # missing until the monitor's first reading
    total, free = whole_number(row.get("total")), whole_number(row.get("free"))
    cap = state.reserve
    return {
        "bytes": None if total is None and reserve.share else reserve.of(total or 0),
        "free": free,
        "total": total,
        "unknown": str(row.get("unknown") or ""),
        "cap": None if cap is None or cap.rung == 0 else _label(fleet, cap.rung),
    }


def _label(fleet: Fleet, rung: int | None) -> str:
    return NO_MODEL if rung is None else fleet.settings.ladder[rung].label


def brain_of(generator: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the generator's last report of BRAIN, None if it does not evaluate there."""
    row = (generator or {}).get("brain")
    return {name: row.get(name) for name in _BRAIN} if isinstance(row, dict) else None


def undelivered(home: Home) -> list[dict[str, Any]]:
    """Return the undelivered notices: those that are tried again, and the last ones given up after a day."""
    box = read_json(home.notices_file) or {}
    found = []
    for name, given_up in (("lost", True), ("waiting", False)):
        rows = box.get(name)
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and isinstance(row.get("notice"), dict) and row.get("reason"):
                notice = {key: row["notice"].get(key) for key in ("id", "kind", "time", "text")}
                found.append(
                    {**notice, "place": row.get("name"), "reason": row["reason"], "given_up": given_up}
                )
    return found


def _disk_free(fleet: Fleet) -> int | None:
    """Return the bytes that this user may still write to the home's disk; None where another lane answers for it."""
    try:
        disk = os.statvfs(fleet.home.path)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize if fleet.leads else None


def _unwritable(home: Home) -> str | None:
    """Return a folder of the home into which this user may not write, None if there is none."""
    folders = (one for one in (home.path, home.run, home.log) if os.access(one, os.F_OK))
    return next((str(one) for one in folders if not os.access(one, os.W_OK | os.X_OK)), None)


def _pull(home: Home) -> dict[str, Any] | None:
    pull = read_pull(home, now())
    return None if pull is None else {**asdict(pull), "text": pull.text}


def _parts(fleet: Fleet, within: Seconds) -> dict[str, Callable[[], Any]]:
    parts: dict[str, Callable[[], Any]] = {
        "state": lambda: read_with_damage(fleet.home),
        "generator": lambda: read_json(fleet.home.generator_file),
        "supervisord": lambda: _programs(fleet, within),
        "ollama": lambda: _ollama(fleet, within),
        "database": lambda: _alphas(fleet),
        "history": lambda: _require_readable(fleet.home.history),
    }
    if fleet.log_source.startswith("docker:"):
        parts["docker"] = lambda: _engine(within)
    return parts


def _ollama(fleet: Fleet, within: Seconds) -> dict[str, Any]:
    client = fleet.ollama()
    models = [model.name for model in client.tags(timeout=within)]
    loaded = client.loaded(timeout=within)
    memory = {
        "used_bytes": sum(model.size_vram for model in loaded),
        "models": [asdict(model) for model in loaded],
    }
    return {"models": models, "memory": memory}


def _size_mb(rules: Rules, index: int) -> int | None:
    size = rules.size(index)
    return None if size is None else round(size / MEGABYTE)


def _needy_rungs(rules: Rules) -> tuple[int, ...]:
    """Return the rungs that need more than the rung above; none under `fits`, which skips them."""
    return () if rules.policy.selection == "fits" else rules.rungs_needing_more()


def _needy(rules: Rules, index: int) -> str:
    need, above = rules.need(index) or 0, rules.need(index - 1) or 0
    return (
        f"{rules.ladder[index].label} needs {show_size(need)}, more than {rules.ladder[index - 1].label} above it "
        f'({show_size(above)}); selection = "fits" skips it'
    )


def _programs(fleet: Fleet, within: Seconds) -> dict[str, Any]:
    programs = fleet.supervisor(timeout=within).programs()
    if all(info.name not in LANE_PROGRAMS for info in programs):
        raise FleetError(
            f"supervisord runs no program of the lane {fleet.home.lane or DEFAULT_LANE}",
            hint="Lanes get their programs when the fleet is started; with [[lane]] in fleet.toml `default` has none.",
        )
    ends = read_exits(fleet.home.supervisord_log, now())
    return {
        info.name: _program(fleet.home, info, ends.get(fleet.home.program(info.name), 0)) for info in programs
    }


def _program(home: Home, info: ProgramInfo, restarts: int) -> dict[str, Any]:
    """Return the row of a program. `silent` is set for a running program without a fresh heartbeat."""
    shows = info.name in WITH_HEARTBEAT and info.state is ProgramState.RUNNING and info.uptime > GRACE
    return {
        "state": info.state.name,
        "pid": info.pid or None,
        "description": info.description,
        "restarts": restarts,
        "silent": heartbeat_fault(read_heartbeat(home, info.name), now()) if shows else "",
    }


def _engine(within: Seconds) -> None:
    from fleet.startup.profile import MachineProbes  # noqa: PLC0415  # only where the log is Docker's

    reason = MachineProbes(os.environ).engine(timeout=within)
    if reason:
        hint = "Is the Engine running, and may this user use its socket? DOCKER_HOST names another."
        raise FleetError(reason, hint=hint)


def _require_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:  # nothing has happened yet
        pass
    except OSError as error:
        hint = "Check its permissions; a folder in its place must be moved away."
        raise FleetError(f"{path} cannot be read: {error.strerror}", hint=hint) from error


def _alphas(fleet: Fleet) -> list[dict[str, Any]]:
    """Return the newest alphas; those of a database server come from the generator's heartbeat file."""
    if fleet.settings.generator.database:
        newest = (read_json(fleet.home.generator_file) or {}).get("alphas")
        rows = [row for row in newest if isinstance(row, dict)] if isinstance(newest, list) else []
        return [{name: row.get(name) for name in _SHOWN} for row in reversed(rows)]
    from generator.storage.read import recent_alphas  # noqa: PLC0415  # sqlite3 only where it is needed

    found = recent_alphas(fleet.home.database, _ALPHAS)
    return [{name: getattr(alpha, name) for name in _SHOWN} for alpha in found]


def _dated(fleet: Fleet, away: dict[str, Unreachable], generator: dict[str, Any]) -> dict[str, Unreachable]:
    """Return the parts that are away with their times, and the database that the generator cannot reach."""
    missed = generator.get("database_away")
    if "database" not in away and isinstance(missed, dict):
        away["database"] = Unreachable(
            str(missed.get("reason", "")), str(missed.get("hint", "")), moment(missed.get("since"))
        )
    if not away:
        return away
    events = [] if "history" in away else read_history(fleet.home.history, _EVENTS)
    ended = last_write(fleet.home) if "supervisord" in away else None
    since = {
        "supervisord": ended,
        "ollama": ollama_away_since(events) or (ended if fleet.standin else None),
        "state": _changed(fleet.home.state),
        "database": moment(missed.get("since")) if isinstance(missed, dict) else None,
    }
    return {part: Unreachable(one.reason, one.hint, since.get(part)) for part, one in away.items()}


def ollama_away_since(events: Sequence[Event]) -> float | None:
    """Return since when Ollama is away by the monitor's events, None if it answered last."""
    last = next((event for event in reversed(events) if event.kind in _AWAY_AND_BACK), None)
    return last.time if last is not None and last.kind is EventKind.OLLAMA_AWAY else None


def last_write(home: Home) -> float | None:
    """Return the time of the fleet's last write, None while its supervisord lives."""
    try:
        os.kill(int(home.pid_file.read_text()), 0)
    except (OSError, ValueError):
        moments = [_changed(home.supervisord_log), _changed(home.generator_file)]
        return max((one for one in moments if one is not None), default=None)
    return None


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
