"""The lanes of `[[lane]]`: each an Ollama with its log, ladder and hours, in place of the fleet's own. Pure."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from fleet.config.entries import MODEL, Problem, ladder_of, read_hours, read_rung, unknown_key
from fleet.config.ladder import Ladder, Rung, same_model
from fleet.config.schema import LaneSettings, OllamaSettings
from fleet.config.values import text
from fleet.runtime.home import DEFAULT_LANE

_OLLAMA = ("url", "log", "on_hang")
_KEYS = ("name", *_OLLAMA, "ladder", "hours")
_NAME = text(r"[a-z0-9][a-z0-9-]{0,39}", "a short name of a-z, 0-9 and -, such as gpu1")
_MOST = 64


def read_lanes(
    rows: Any, ollama: OllamaSettings, ladder: Ladder, hours: Any, problems: list[Problem]
) -> tuple[LaneSettings, ...]:
    """Return the lanes of `[[lane]]` rows, appending faults to `problems`.

    A lane has the fleet's Ollama settings, ladder and hours, except for those that its row gives.
    """
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        problems.append(Problem("lane", "write a [[lane]] table for each lane"))
        return ()
    if len(rows) > _MOST:
        problems.append(Problem("lane", f"there are {len(rows)}; at most {_MOST} are allowed"))
    found: dict[str, LaneSettings] = {}
    for index, row in enumerate(rows[:_MOST]):
        place = f"lane[{index}]"
        problems.extend(unknown_key(key, list(_KEYS), f"{place}.") for key in row if key not in _KEYS)
        name = _name(row, place, found, problems)
        own = _ladder(row["ladder"], ladder, f"{place}.ladder", problems) if "ladder" in row else ladder
        caps, where = (row["hours"], f"{place}.hours") if "hours" in row else (hours, "hours")
        found[name or place] = LaneSettings(
            name=name,
            ollama=_ollama(row, ollama, place, problems),
            ladder=own or ladder,
            hours=_hours(caps, own, where, name, problems),
        )
    return tuple(found.values())


def _name(
    row: Mapping[str, Any], place: str, known: Mapping[str, LaneSettings], problems: list[Problem]
) -> str:
    raw = row.get("name")
    try:
        name = _NAME.read(raw)
    except ValueError as error:
        shown = "is missing" if raw is None else f"{str(raw)[:60]!r} is not allowed"
        problems.append(Problem(f"{place}.name", f"{shown}; allowed is {error}"))
        return ""
    if name == DEFAULT_LANE:
        message = f'"{name}" is the lane of the home itself; choose another name'
        problems.append(Problem(f"{place}.name", message))
    elif name in known:
        problems.append(Problem(f"{place}.name", f'"{name}" is the name of another lane too'))
    return name


def _ollama(
    row: Mapping[str, Any], ollama: OllamaSettings, place: str, problems: list[Problem]
) -> OllamaSettings:
    """Return the fleet's Ollama settings with those of the row in their place."""
    own: dict[str, Any] = {}
    for part in fields(OllamaSettings):
        if part.name in _OLLAMA and part.name in row:
            try:
                own[part.name] = part.metadata["kind"].read(row[part.name])
            except ValueError as error:
                where, raw = f"{place}.{part.name}", str(row[part.name])[:60]
                shown = "the value (not shown)" if "@" in raw else f"{raw!r}"
                problems.append(Problem(where, f"{shown} is not allowed; allowed is {error}"))
    return replace(ollama, **own)


def _ladder(rows: Any, fleet: Ladder, place: str, problems: list[Problem]) -> Ladder | None:
    """Return a lane's ladder. A text names the fleet's rungs of a model; a table is a rung as in `[[ladder]]`."""
    if not isinstance(rows, list) or not all(isinstance(row, (str, Mapping)) for row in rows):
        message = 'write a list of models such as ["llama3.2:3b"], or of tables as in [[ladder]]'
        problems.append(Problem(place, message))
        return None
    before = len(problems)
    rungs: list[Rung] = []
    for number, row in enumerate(rows):
        where = f"{place}[{number}]"
        named = isinstance(row, str)
        found = _named(row, fleet, where, problems) if named else [read_rung(number, row, where, problems)]
        rungs += [replace(rung, index=len(rungs) + step) for step, rung in enumerate(found)]
    return ladder_of(rungs, place, problems) if len(problems) == before else None


def _named(model: str, fleet: Ladder, place: str, problems: list[Problem]) -> list[Rung]:
    """Return the fleet's rungs of a model; a rung without a size for a model that the fleet's ladder lacks."""
    try:
        name = MODEL.read(model)
    except ValueError as error:
        problems.append(Problem(place, f"{model[:60]!r} is not allowed; allowed is {error}"))
        return []
    return [rung for rung in fleet if same_model(rung.model, name)] or [Rung(0, name)]


def _hours(rows: Any, ladder: Ladder | None, place: str, lane: str, problems: list[Problem]) -> Any:
    """Return a lane's caps. The fleet's caps have to name models of the lane's ladder too."""
    faults: list[Problem] = []
    hours = read_hours(rows, ladder, faults, place)
    own = place != "hours"
    problems.extend(
        one
        if own
        else Problem(
            one.path, f"{one.message} (ladder of lane {lane}; give it hours of its own, or hours = [])"
        )
        for one in faults
        if own or "is not on the ladder" in one.message
    )
    return hours
