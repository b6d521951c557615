"""All lanes of a fleet at once: a status line and a command each, and their faults and events."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import click

from cli.faults import Finding, Health
from cli.parallel_checks import LONG_PATIENCE, PATIENCE
from cli.status import collect_status
from cli.target import Fleet
from fleet.clients.supervisor import Supervisor
from fleet.policy.events import Event, sentence
from fleet.runtime.errors import FleetError
from fleet.runtime.logging import plain_text
from fleet.runtime.units import Seconds, show_duration

T = TypeVar("T")


def of_each_lane(fleet: Fleet, read: Callable[[Fleet], T]) -> dict[str, T]:
    """Return the results of `read` by the lanes' names; the lanes are read in parallel."""
    lanes = fleet.lanes()
    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        return dict(zip((lane.home.lane for lane in lanes), pool.map(read, lanes), strict=True))


def lane_lines(rows: Mapping[str, Mapping[str, Any]], now: float) -> list[str]:
    """Return a line for each lane's status row, and below it a line for each fault (pure)."""
    width = max(map(len, rows))
    lines = []
    for lane, row in rows.items():
        name = click.style(f"{lane:<{width}}", bold=True)
        lines.append(f"{name}  {plain_text(_line(row, now))}")
        faults = [f"{one['part']}: {one['detail']}" for one in row["faults"]]
        lines += [f"{'':<{width}}  {click.style(plain_text(fault), fg='red')}" for fault in faults]
    return lines


def _line(row: Mapping[str, Any], now: float) -> str:
    model = row["current_model"]
    switch, pause, hold = row["switch"], row["pause"], row["hold"]
    parts = [
        f"{model['name']}, rung {model['index']} of 0 to {row['fleet_size'] - 1}",
        f"errors {row['vram_error_count']} of {row['max_vram_errors']}",
        _programs(row),
        f"{switch['kind']} to rung {switch['to']} ({switch['phase']})" if switch else "",
        f"paused: {pause['why']}" if pause else "",
        f"held for {show_duration(max(hold['until'] - now, 0.0))} more" if hold else "",
    ]
    return "; ".join(part for part in parts if part)


def _programs(row: Mapping[str, Any]) -> str:
    if row["programs"] is None:
        return "not running"
    states = [(name, one["state"]) for name, one in row["programs"].items()]
    odd = [f"{name} {state}" for name, state in states if state != "RUNNING"]
    return ", ".join(odd) or "running"


def fleet_reasons(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the faults of all lanes for `status --check`, each with its lane (pure)."""
    return [
        f"{lane}: {fault['part']}: {fault['detail']}" for lane, row in rows.items() for fault in row["faults"]
    ]


def lane_events(found: Mapping[str, Sequence[Event]], last: int) -> list[tuple[str, Event]]:
    """Return the last events of all lanes with their lanes, oldest first (pure)."""
    events = [(lane, event) for lane, rows in found.items() for event in rows]
    return sorted(events, key=lambda one: one[1].time)[-last:]


def lane_event_lines(events: Iterable[tuple[str, Event]]) -> list[str]:
    """Return a line for each event, with its UTC time and its lane (pure)."""
    return [
        time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(event.time))
        + f"  {click.style(lane, bold=True)}: {plain_text(sentence(event))}"
        for lane, event in events
    ]


def lane_findings(fleet: Fleet, found: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """Return the findings of all lanes, each with its lane, after those about the lanes as a whole."""
    home = fleet.home
    stopped = f"the home's own files in {home.path}, stopped while there are [[lane]] entries"
    whole = [Finding("lane default", Health.SOUND, stopped), *_shared(fleet), *_removed(fleet)]
    return [
        *whole,
        *(replace(one, part=f"{lane} {one.part}") for lane, findings in found.items() for one in findings),
    ]


def _removed(fleet: Fleet) -> list[Finding]:
    """Return a warning for each lane that runs and is not in fleet.toml any more."""
    try:
        running = [program.name for program in Supervisor(fleet.home.socket, timeout=1.0).programs()]
    except FleetError:
        return []  # each lane's own checks report it
    known = {lane.name for lane in fleet.settings.lanes}
    lanes = [name.removeprefix("monitor-") for name in running if name.startswith("monitor-")]
    hint = "Start the fleet anew; the lane's folder stays."
    return [
        Finding("lanes", Health.WARNING, f"{lane} runs, and fleet.toml has no such lane", hint)
        for lane in lanes
        if lane not in known
    ]


def _shared(fleet: Fleet) -> list[Finding]:
    """Return a warning for each Ollama, and each log, that two lanes share."""
    lanes, warnings = fleet.lanes(), []
    for what, values, harm in (
        ("Ollama", [lane.url for lane in lanes], "each unloads the other's models"),
        ("log", [lane.log_source for lane in lanes], "a failure counts in both"),
    ):
        for value in dict.fromkeys(value for value in values if value and values.count(value) > 1):
            names = [lane.home.lane for lane, own in zip(lanes, values, strict=True) if own == value]
            detail = f"{' and '.join(names)} share the {what} {value}: {harm}"
            hint = "Give each [[lane]] the url and the log of an Ollama of its own."
            warnings.append(Finding("lanes", Health.WARNING, detail, hint))
    return warnings


def statuses(fleet: Fleet, *, patience: Seconds = PATIENCE) -> dict[str, dict[str, Any]]:
    """Return the status row of each lane; parallel checks share the processor and get more time."""
    within = min(patience * len(fleet.lanes()), LONG_PATIENCE)
    return of_each_lane(fleet, lambda lane: collect_status(lane, within=within))


def for_each_lane(fleet: Fleet, act: Callable[[Fleet], T]) -> tuple[dict[str, T], dict[str, FleetError]]:
    """Act on each lane in turn; return the results, and the errors of lanes that refused."""
    done: dict[str, T] = {}
    failed: dict[str, FleetError] = {}
    for lane in fleet.lanes():
        try:
            done[lane.home.lane] = act(lane)
        except FleetError as error:
            failed[lane.home.lane] = error
    return done, failed
