"""Ingest: log lines and calls go through grouping and policy into the next state. Pure.

A batch yields one state, so that cursor, grouper and count are written together.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fleet.config.ladder import same_model
from fleet.memory_errors.causes import Cause
from fleet.memory_errors.judge import is_memory_error
from fleet.policy.decide import decide
from fleet.policy.facts import CallEnded, IncidentSeen
from fleet.policy.incident_count import recount
from fleet.policy.rules import Rules
from fleet.policy.slow import after_rate
from fleet.policy.state import FleetState
from fleet.policy.unanswered import after_call, hang_cleared
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite, parse_json, printable, whole_number
from monitor.detection.detector import Detector
from monitor.incidents.grouper import advance, next_deadline
from monitor.incidents.messages import (
    FailedCall,
    GpuFound,
    Heard,
    Incident,
    IncidentFound,
    IncidentRetracted,
    Line,
    LoadFinished,
    LogAway,
    LogBack,
    Observation,
    Outcome,
    ServerStarted,
    TimePassed,
    Unloading,
)
from monitor.incidents.messages import GroupingRules as GroupRules
from monitor.incidents.state import GroupState
from monitor.sources.base import LogLine
from monitor.watch.spill import SpillState, server_started

LOG, SIGNALS = "log", "signals"
"""The two origins of lines: Ollama's log, and the generator's calls in `signals.jsonl`."""

_TOTAL = re.compile(r'\btotal="([0-9.]+) ([KMGT]iB)"')
_CALL = {"id", "started", "ended", "model", "switches", "status", "error"}
_VERSION_LIMIT = 40
_NO_SWITCH = -1
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


@dataclass(frozen=True, slots=True)
class Context:
    """The time, the rules, the detector, and the tags of weights by their digests.

    `first_token` is the generator's time-out for the beginning of an answer.
    """

    now: float
    rules: Rules
    detector: Detector
    tags: Mapping[str, str] = field(default_factory=dict)
    first_token: Seconds = 360.0


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A line of `signals.jsonl`: one call of the generator to Ollama."""

    id: str
    started: float
    ended: float
    model: str
    switches: int
    status: int
    error: str
    rate: float | None = None
    version: str = ""

    @property
    def answered(self) -> bool:
        """Return True if Ollama answered."""
        return not self.error


def parse_call(text: str, now: float) -> ApiCall:
    """Return the call in a line; raise ValueError if the line is truncated or holds no call.

    Unreadable numbers get defaults: the call has ended now, and belongs to no switch.
    """
    row = parse_json(text)
    if not isinstance(row, dict) or not row.keys() >= _CALL:
        raise ValueError("the line holds no call of the generator")
    ended = _moment(row["ended"], now)
    switches = whole_number(row["switches"])
    return ApiCall(
        id=str(row["id"]),
        started=_moment(row["started"], ended),
        ended=ended,
        model=str(row["model"]),
        switches=_NO_SWITCH if switches is None else switches,
        status=whole_number(row["status"]) or 0,
        error=str(row["error"] or ""),
        rate=finite(row.get("rate")),
        version=printable(str(row.get("version") or ""), _VERSION_LIMIT),
    )


def all_answered(lines: Iterable[LogLine], now: float) -> bool:
    """Return True if each line holds an answered call."""
    try:
        return all(parse_call(line.text, now).answered for line in lines)
    except ValueError:
        return False


def _moment(value: object, latest: float) -> float:
    """Return a time from outside; `latest` if it is later or unreadable."""
    time = finite(value)
    return latest if time is None else min(max(time, 0.0), latest)


def absorb_batch(state: FleetState, origin: str, lines: Sequence[LogLine], context: Context) -> FleetState:
    """Return the state after a batch of lines of one origin; raise ValueError for a line that is no call."""
    if origin == LOG:
        return absorb_lines(state, lines, context)
    return absorb_calls(state, [parse_call(line.text, context.now) for line in lines], context)


def absorb_lines(state: FleetState, lines: Iterable[LogLine], context: Context) -> FleetState:
    """Return the state after log lines; a batch without lines shows that the log is not silent."""
    seen: list[Observation] = [
        Line(line.text, line.time, context.now if line.live else None, heard=context.now) for line in lines
    ]
    return _observe(state, seen or [Heard(context.now)], context)


def absorb_calls(state: FleetState, calls: Iterable[ApiCall], context: Context) -> FleetState:
    """Return the state after the generator's calls ended."""
    for call in calls:
        if not call.answered:
            error = FailedCall(call.id, call.started, call.ended, call.model, call.status, call.error)
            state = _observe(state, [error], context)
        fact = CallEnded(
            call.ended,
            call.switches,
            call.answered,
            is_memory_error(call.error),
            printable(call.error.replace("\\n", "\n")),
            call.started,
        )
        state = decide(state, fact, context.now, context.rules).state
        waited = call.status == 0 and call.ended - call.started >= context.first_token
        state = after_call(state, fact, waited=waited, now=context.now, limit=context.first_token)
        state = _with_rate(state, call, context)
    return state


def _with_rate(state: FleetState, call: ApiCall, context: Context) -> FleetState:
    if not call.answered or call.rate is None or call.rate <= 0 or call.switches != state.switches:
        return state
    rung = context.rules.ladder[state.current_model_index].label
    return after_rate(state, rung, call.rate, call.version, context.now)


def absorb_time(state: FleetState, context: Context) -> FleetState:
    """Return the state after the grouper's deadline, if that has passed."""
    due = deadline(state, context)
    return state if due is None or context.now < due else _observe(state, [TimePassed(context.now)], context)


def absorb_presence(state: FleetState, context: Context, *, away: bool) -> FleetState:
    """Return the state after the log went away, or came back and is read on from its cursor."""
    if group_of(state).away == away:
        return state
    return _observe(state, [LogAway() if away else LogBack(context.now)], context)


def absorb_unload(state: FleetState, model: str, context: Context) -> FleetState:
    """Return the state after an unload by the fleet itself; its slow return of memory is then no failure."""
    return _observe(state, [Unloading(model, context.now)], context)


def deadline(state: FleetState, context: Context) -> float | None:
    """Return the Unix time of the grouper's next deadline, None if it has none."""
    group = group_of(state)
    return next_deadline(group, _group_rules(state, context)) if group.failures else None


def group_of(state: FleetState) -> GroupState:
    """Return the grouper's state; an unreadable one, such as another version's, begins anew."""
    return GroupState.from_json(dict(state.open))


def _observe(state: FleetState, seen: Iterable[Observation], context: Context) -> FleetState:
    group = group_of(state)
    for observation in seen:
        group, outcomes = advance(group, observation, _group_rules(state, context), context.detector)
        for outcome in outcomes:
            state = _follow(state, outcome, context)
            if isinstance(outcome, GpuFound) and isinstance(observation, Line):
                state = _with_memory_of(state, observation.text)
    return replace(state, open=group.to_json())


def _group_rules(state: FleetState, context: Context) -> GroupRules:
    policy = context.rules.policy
    ours = frozenset(blob for blob, tag in context.tags.items() if same_model(tag, state.current_model))
    return GroupRules(
        incident_gap=policy.incident_gap,
        causes=frozenset(Cause(cause) for cause in policy.causes),
        model=state.current_model,
        blobs=ours,
        tags=context.tags,
        trial="" if state.switch is None else context.rules.ladder[state.switch.target].model,
        ladder=frozenset(rung.model for rung in context.rules.ladder),
    )


def _follow(state: FleetState, outcome: Outcome, context: Context) -> FleetState:
    match outcome:
        case IncidentFound():
            fact = _seen(outcome.incident)
            return decide(state, fact, context.now, context.rules).state
        case IncidentRetracted():
            healed = outcome.incident.id  # forgotten, since it counts after all if its last try fails
            kept = tuple(one for one in state.incidents if one.id != healed)
            ids = tuple(one for one in state.counted_ids if one != healed)
            return recount(replace(state, incidents=kept, counted_ids=ids), context.now, context.rules)
        case GpuFound():
            return _watch(state, gpu=outcome.present)
        case ServerStarted():
            spill = server_started(SpillState.from_json(state.watch.get("spill")))
            return hang_cleared(_watch(state, gpu=None, gpu_total=None, spill=spill.to_json()))
        case LoadFinished() if outcome.loaded:
            return _watch(state, loaded=outcome.time)
        case _:
            return state


def _with_memory_of(state: FleetState, line: str) -> FleetState:
    """Add the GPU memory that the server's line names to that of the GPUs before it."""
    found = _TOTAL.search(line)
    if found is None:
        return state
    before = state.watch.get("gpu_total")
    amount = whole_number((finite(found[1]) or 0.0) * _UNITS[found[2]])
    if not amount:
        return state
    return _watch(state, gpu_total=amount + (before if isinstance(before, int) else 0))


def _watch(state: FleetState, **values: Any) -> FleetState:
    return replace(state, watch={**state.watch, **values})


def _seen(incident: Incident) -> IncidentSeen:
    return IncidentSeen(
        id=incident.id,
        time=incident.first,
        cause=incident.cause.value,
        kind=incident.kind.value,
        counts=incident.counts,
        reason=incident.reason,
        model=incident.model or None,
        load_began=incident.load_began,
    )
