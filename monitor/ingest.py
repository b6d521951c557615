"""From what was read to the next state (pure): lines and calls in, through grouping and policy, a state out.

One state comes of one batch, so that cursor, grouper and count are written together.
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
from fleet.policy.state import FleetState
from fleet.policy.unanswered import after_call, hang_over
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite, parse_json, whole_number
from monitor.detection.detector import Detector
from monitor.incidents.grouper import advance, next_deadline
from monitor.incidents.messages import (
    FailedCall,
    GpuFound,
    Heard,
    Incident,
    IncidentFound,
    IncidentHealed,
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
"""Where lines come from: Ollama's log, and the calls that the generator notes."""

_TOTAL = re.compile(r'\btotal="([0-9.]+) ([KMGT]iB)"')
_CALL = {"id", "started", "ended", "model", "switches", "status", "error"}
_NO_SWITCH = -1
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


@dataclass(frozen=True, slots=True)
class Context:
    """What absorbing goes by: the time, the rules, the detector, and the tags of weights by their digests.

    `first_token` is how long the generator waits for an answer to begin.
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

    @property
    def answered(self) -> bool:
        """Tell whether Ollama answered."""
        return not self.error


def parse_call(text: str, now: float) -> ApiCall:
    """Return the call that a line holds; raise ValueError for a line that is cut off or foreign.

    A number that cannot be read is left out: a call has then ended now, and is no switch's.
    """
    row = parse_json(text)
    if not isinstance(row, dict) or not row.keys() >= _CALL:
        raise ValueError("no call of the generator")
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
    )


def all_answered(lines: Iterable[LogLine], now: float) -> bool:
    """Return True if each line holds a call that was answered."""
    try:
        return all(parse_call(line.text, now).answered for line in lines)
    except ValueError:
        return False


def _moment(value: object, latest: float) -> float:
    """Return a time from outside; one that is later than `latest` or cannot be read counts as that."""
    time = finite(value)
    return latest if time is None else min(max(time, 0.0), latest)


def absorb_batch(state: FleetState, origin: str, lines: Sequence[LogLine], context: Context) -> FleetState:
    """Return the state after lines of one origin."""
    if origin == LOG:
        return absorb_lines(state, lines, context)
    return absorb_calls(state, [parse_call(line.text, context.now) for line in lines], context)


def absorb_lines(state: FleetState, lines: Iterable[LogLine], context: Context) -> FleetState:
    """Return the state after log lines; a batch without any tells that the log is not silent."""
    seen: list[Observation] = [
        Line(line.text, line.time, context.now if line.live else None, heard=context.now) for line in lines
    ]
    return _observe(state, seen or [Heard(context.now)], context)


def absorb_calls(state: FleetState, calls: Iterable[ApiCall], context: Context) -> FleetState:
    """Return the state after calls of the generator ended."""
    for call in calls:
        if not call.answered:
            error = FailedCall(call.id, call.started, call.ended, call.model, call.status, call.error)
            state = _observe(state, [error], context)
        fact = CallEnded(
            call.ended,
            call.switches,
            call.answered,
            is_memory_error(call.error),
            call.error[:200],
            call.started,
        )
        state = decide(state, fact, context.now, context.rules).state
        waited = call.status == 0 and call.ended - call.started >= context.first_token
        state = after_call(state, fact, waited=waited, now=context.now, limit=context.first_token)
    return state


def absorb_time(state: FleetState, context: Context) -> FleetState:
    """Return the state after time has passed, as far as the grouper waits for it."""
    due = deadline(state, context)
    return state if due is None or context.now < due else _observe(state, [TimePassed(context.now)], context)


def absorb_presence(state: FleetState, context: Context, *, away: bool) -> FleetState:
    """Return the state after nobody reads the log any more, or it is read again from where it was left."""
    if group_of(state).away == away:
        return state
    return _observe(state, [LogAway() if away else LogBack(context.now)], context)


def absorb_unload(state: FleetState, model: str, context: Context) -> FleetState:
    """Return the state after we asked for an unload: that its memory comes back slowly is then no news."""
    return _observe(state, [Unloading(model, context.now)], context)


def deadline(state: FleetState, context: Context) -> float | None:
    """Return the Unix time at which the grouper wants to look again, None if it waits for nothing."""
    group = group_of(state)
    return next_deadline(group, _group_rules(state, context)) if group.failures else None


class _LastRead:
    """The grouper's state that was read or written last: the same object of JSON holds the same."""

    def __init__(self) -> None:
        self._pair: tuple[Mapping[str, Any], GroupState] | None = None

    def __call__(self, row: Mapping[str, Any]) -> GroupState:
        pair = self._pair
        if pair is None or pair[0] is not row:
            pair = self._pair = row, GroupState.from_json(dict(row))
        return pair[1]

    def note(self, row: Mapping[str, Any], group: GroupState) -> None:
        self._pair = row, group


_last_read = _LastRead()


def group_of(state: FleetState) -> GroupState:
    """Return the grouper's state; one of another version that cannot be read begins anew."""
    return _last_read(state.open)


def _observe(state: FleetState, seen: Iterable[Observation], context: Context) -> FleetState:
    group = group_of(state)
    for observation in seen:
        group, outcomes = advance(group, observation, _group_rules(state, context), context.detector)
        for outcome in outcomes:
            state = _follow(state, outcome, context)
            if isinstance(outcome, GpuFound) and isinstance(observation, Line):
                state = _with_memory_of(state, observation.text)
    row = group.to_json()
    _last_read.note(row, group)
    return replace(state, open=row)


def _group_rules(state: FleetState, context: Context) -> GroupRules:
    policy = context.rules.policy
    ours = frozenset(blob for blob, tag in context.tags.items() if same_model(tag, state.current_model))
    return GroupRules(
        incident_gap=policy.incident_gap,
        causes=frozenset(Cause(cause) for cause in policy.causes),
        model=state.current_model,
        blobs=ours,
        tags=context.tags,
    )


def _follow(state: FleetState, outcome: Outcome, context: Context) -> FleetState:
    match outcome:
        case IncidentFound():
            fact = _seen(outcome.incident, context.tags)
            return decide(state, fact, context.now, context.rules).state
        case IncidentHealed():
            kept = tuple(one for one in state.incidents if one.id != outcome.incident.id)
            return recount(replace(state, incidents=kept), context.now, context.rules)
        case GpuFound():
            return _watch(state, gpu=outcome.present)
        case ServerStarted():
            spill = server_started(SpillState.from_json(state.watch.get("spill")))
            return hang_over(_watch(state, gpu=None, gpu_total=None, spill=spill.to_json()))
        case LoadFinished() if outcome.loaded:
            return _watch(state, loaded=outcome.time)
        case _:
            return state


def _with_memory_of(state: FleetState, line: str) -> FleetState:
    """Add a GPU's memory, as the server's line of it says, to that of the GPUs before it."""
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


def _seen(incident: Incident, tags: Mapping[str, str]) -> IncidentSeen:
    return IncidentSeen(
        id=incident.id,
        time=incident.first,
        cause=incident.cause.value,
        kind=incident.kind.value,
        counts=incident.counts,
        reason=incident.reason,
        model=tags.get(incident.model, incident.model) or None,
        load_began=incident.load_began,
    )
