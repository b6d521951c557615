"""`status`: what a fleet is doing, as far as each of its parts can be reached."""

from dataclasses import asdict
from typing import Any

from cli.fleet import Fleet, now
from fleet.counting import count
from fleet.errors import FleetError
from fleet.home import read_json
from fleet.model import FleetState
from fleet.supervisor import ProgramInfo
from state.codec import default_state
from state.ladder import fit_to_ladder
from state.store import read_state

_PATIENCE = 0.4


def collect(fleet: Fleet) -> dict[str, Any]:
    """Return the status: the original's keys, ours beside; what is away is null and named under `away`."""
    away: dict[str, str] = {}
    state = _state(fleet, away)
    rung = fleet.settings.ladder[state.current_model_index]
    ollama = _ollama(fleet, away)
    watch = state.watch
    return {
        "current_model": {
            "name": rung.model,
            "size_mb": rung.size_mb,
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
        "ollama_url": fleet.url,
        "log_source": fleet.log_source or None,
        "log_source_away": watch.get("source_away"),
        "gpu_memory": ollama.get("memory"),
        "programs": _programs(fleet, away),
        "switches": state.switches,
        "switch": _switch(state),
        "last_switch": asdict(state.last_switch) if state.last_switch else None,
        "next_probe": state.recovery.next if state.current_model_index > (state.ceiling or 0) else None,
        "hold": asdict(state.hold) if state.hold and state.hold.active(now()) else None,
        "pinned": state.pinned,
        "ceiling": state.ceiling,
        "generator": read_json(fleet.home.generator_file),
        "recent_alphas": _alphas(fleet, away),
        "away": away,
    }


def _state(fleet: Fleet, away: dict[str, str]) -> FleetState:
    try:
        stored = read_state(fleet.home)
    except FleetError as error:
        away["state"] = error.message
        stored = None
    state = stored if stored is not None else default_state(fleet.settings.ladder, now())
    return fit_to_ladder(state, fleet.settings.ladder, now())


def _switch(state: FleetState) -> dict[str, Any] | None:
    if state.switch is None:
        return None
    row = asdict(state.switch)
    return {"from" if key == "source" else "to" if key == "target" else key: row[key] for key in row}


def _ollama(fleet: Fleet, away: dict[str, str]) -> dict[str, Any]:
    client = fleet.ollama()
    try:
        models = [model.name for model in client.tags(timeout=_PATIENCE)]
        loaded = client.loaded(timeout=_PATIENCE)
    except FleetError as error:
        away["ollama"] = error.message
        return {}
    memory = {
        "used_bytes": sum(model.size_vram for model in loaded),
        "models": [asdict(model) for model in loaded],
    }
    return {"models": models, "memory": memory}


def _programs(fleet: Fleet, away: dict[str, str]) -> dict[str, Any] | None:
    try:
        return {info.name: _program(info) for info in fleet.supervisor(timeout=_PATIENCE).programs()}
    except FleetError as error:
        away["supervisord"] = error.message
        return None


def _program(info: ProgramInfo) -> dict[str, Any]:
    return {"state": info.state.name, "pid": info.pid or None, "description": info.description}


def _alphas(fleet: Fleet, away: dict[str, str]) -> list[dict[str, Any]] | None:
    if fleet.settings.generator.database:
        row = read_json(fleet.home.generator_file) or {}
        alphas = row.get("alphas")
        return alphas if isinstance(alphas, list) else None
    from generator.storage.reading import recent_alphas  # noqa: PLC0415  # sqlite3 only when it is asked for

    try:
        found = recent_alphas(fleet.home.database, 5)
    except FleetError as error:
        away["database"] = error.message
        return None
    shown = ("expression", "model", "source", "sharpe", "fitness", "turnover", "kept", "time")
    return [{name: getattr(alpha, name) for name in shown} for alpha in found]
