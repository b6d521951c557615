"""Ingest: log lines, calls and facts go through grouping and policy into the next state. Pure.

A batch is handled in two parts. The grouper turns its lines into findings, which takes time and needs no lock. The
policy decides on the findings and the state under the lock. One write carries cursor, grouper and count.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from fleet.config.ladder import same_model
from fleet.memory_errors.causes import Cause
from fleet.memory_errors.judge import is_memory_error
from fleet.policy.caps import with_freed
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import CallEnded, IncidentSeen
from fleet.policy.incident_count import recount
from fleet.policy.rules import Rules
from fleet.policy.slow import after_rate
from fleet.policy.state import FleetState
from fleet.policy.unanswered import after_call, hang_cleared, hang_found, slow_found
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import printable
from monitor.api_calls import ApiCall, parse_call
from monitor.detection.detector import Detector
from monitor.inbox import (
    Fact,
    GeneratorRuns,
    GpuFreed,
    HangCommandBegins,
    HangFound,
    LogPresence,
    MemoryReading,
    ReloadFailed,
    Reported,
    SlowFound,
)
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
    PromptRead,
    ServerStarted,
    TimePassed,
)
from monitor.incidents.messages import GroupingRules as GroupRules
from monitor.incidents.state import GroupState
from monitor.sources.base import LogLine
from monitor.watch.hang_command import recent_runs
from monitor.watch.spill import after_reading, not_reloaded, server_started, spill_of, with_spill
from state.codec import from_json, to_json

LOG, SIGNALS = "log", "signals"
"""The two origins of lines: Ollama's log, and the generator's calls in `signals.jsonl`."""


@dataclass(frozen=True, slots=True)
class Context:
    """The time, the rules, the detector, the tags of weights by their digests, and the digests of the rungs' weights.

    `first_token` is the generator's time-out for the beginning of an answer.
    """

    now: float
    rules: Rules
    detector: Detector
    tags: Mapping[str, str] = field(default_factory=dict)
    first_token: Seconds = 360.0
    weights: tuple[str | None, ...] = ()


Finding: TypeAlias = Outcome | ApiCall
"""A result of a batch on which the policy decides."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a batch: the grouper's state after it, and the findings in order."""

    group: GroupState
    found: tuple[Finding, ...]


def read_batch(state: FleetState, origin: str, lines: Sequence[LogLine], context: Context) -> Findings:
    """Return the findings of a batch of one origin; raise ValueError for a line that is no call.

    A batch without log lines shows that the log is not silent.
    """
    if origin == LOG:
        seen: list[Observation] = [
            Line(line.text, line.time, context.now if line.live else None, heard=context.now)
            for line in lines
        ]
        return _observed(state, seen or [Heard(context.now)], context)
    return read_calls(state, [parse_call(line.text, context.now) for line in lines], context)


def read_calls(state: FleetState, calls: Iterable[ApiCall], context: Context) -> Findings:
    """Return the findings of the generator's calls."""
    seen: list[Observation | ApiCall] = []
    for call in calls:
        if not call.answered:
            seen.append(FailedCall(call.id, call.started, call.ended, call.model, call.status, call.error))
        seen.append(call)
    return _observed(state, seen, context)


def _observed(state: FleetState, seen: Iterable[Observation | ApiCall], context: Context) -> Findings:
    group, rules, found = group_of(state), _group_rules(state, context), list[Finding]()
    for one in seen:
        if isinstance(one, ApiCall):
            found.append(one)
            continue
        group, outcomes = advance(group, one, rules, context.detector)
        found += outcomes
    return Findings(group, tuple(found))


def decide_on(state: FleetState, findings: Findings, context: Context) -> FleetState:
    """Return the state after the findings of a batch."""
    state = replace(state, open=to_json(findings.group))
    for finding in findings.found:
        state = _follow(state, finding, context)
    return state


def deciding(
    before: FleetState, origin: str, lines: Sequence[LogLine], context: Context
) -> Callable[[FleetState], FleetState]:
    """Read a batch on a snapshot; return the change that decides on its findings and the later state.

    The change reads the lines again only if the grouper's state or the model has changed meanwhile.
    """
    findings = read_batch(before, origin, lines, context)

    def decide_now(state: FleetState) -> FleetState:
        same = (state.open, state.switches) == (before.open, before.switches)
        return decide_on(state, findings if same else read_batch(state, origin, lines, context), context)

    return decide_now


def absorb_batch(state: FleetState, origin: str, lines: Sequence[LogLine], context: Context) -> FleetState:
    """Return the state after a batch of lines of one origin; raise ValueError for a line that is no call."""
    return decide_on(state, read_batch(state, origin, lines, context), context)


def absorb_fact(state: FleetState, fact: Fact, context: Context) -> FleetState:
    """Return the state after a fact that a thread has posted."""
    match fact:
        case MemoryReading():
            return after_reading(state, fact, context.rules)
        case ReloadFailed():
            return with_spill(state, not_reloaded(spill_of(state)))
        case HangFound():
            return hang_found(state, context.now, context.first_token)
        case HangCommandBegins():
            runs = [*recent_runs(state, context.now), context.now]
            return _watch(state, on_hang=runs).with_event(context.now, EventKind.ON_HANG, outcome="it runs")
        case SlowFound():
            return slow_found(state, fact.why)
        case GeneratorRuns():
            return replace(state, restarting=False) if state.switches == fact.switches else state
        case GpuFreed():
            return with_freed(state, context.now)
        case Reported():
            return state.with_event(context.now, fact.kind, **fact.fields)
        case LogPresence():
            state = absorb_presence(state, context, away=fact.away is not None)
            return with_log_status(state, fact, context.now)
        case _:
            return decide(state, fact, context.now, context.rules).state


def with_log_status(state: FleetState, log: LogPresence, now: float) -> FleetState:
    """Return the state with the log's absence: its reason and its beginning, kept across restarts of the monitor."""
    was, away = state.watch.get("source_away"), log.away
    watch = {key: value for key, value in state.watch.items() if key != "source_away"}
    if away is None:
        state = replace(state, watch=watch)
        return state.with_event(now, EventKind.SOURCE_BACK, source=log.name) if was else state
    since = was.get("since", now) if isinstance(was, dict) else now
    watch["source_away"] = {"since": since, "reason": away.reason, "hint": away.hint}
    state = replace(state, watch=watch)
    return state if was else state.with_event(now, EventKind.SOURCE_AWAY, source=log.name, reason=away.reason)


def _with_rate(state: FleetState, call: ApiCall, context: Context) -> FleetState:
    if not call.answered or call.rate is None or call.rate <= 0 or call.switches != state.switches:
        return state
    rung = context.rules.ladder[state.current_model_index].label
    return after_rate(state, rung, call.rate, call.version, context.now)


def absorb_time(state: FleetState, context: Context) -> FleetState:
    """Return the state after the grouper's deadline, if due. A clock that was set back restarts each wait."""
    group = group_of(state)
    waits = [one.heard for one in (*group.failures, group.load) if one is not None]
    if not group.away and max(waits, default=0.0) > context.now:
        return _observe(state, LogBack(context.now), context)
    due = deadline(state, context)
    return state if due is None or context.now < due else _observe(state, TimePassed(context.now), context)


def absorb_presence(state: FleetState, context: Context, *, away: bool) -> FleetState:
    """Return the state after the log went away, or came back and is read on from its cursor."""
    if group_of(state).away == away:
        return state
    return _observe(state, LogAway() if away else LogBack(context.now), context)


def _observe(state: FleetState, observation: Observation, context: Context) -> FleetState:
    return decide_on(state, _observed(state, [observation], context), context)


def deadline(state: FleetState, context: Context) -> float | None:
    """Return the Unix time of the grouper's next deadline, None if it has none."""
    group = group_of(state)
    return next_deadline(group, _group_rules(state, context)) if group.failures else None


def group_of(state: FleetState) -> GroupState:
    """Return the grouper's state; an unreadable one, such as another version's, begins anew."""
    return from_json(GroupState, dict(state.open)) or GroupState()


def _group_rules(state: FleetState, context: Context) -> GroupRules:
    policy, last = context.rules.policy, state.last_switch
    rungs = zip(context.rules.ladder, context.weights, strict=False)  # none are known at first
    # Where two models have the same weights, `tags` names one of them.
    ours = frozenset(blob for rung, blob in rungs if blob and same_model(rung.model, state.current_model))
    return GroupRules(
        incident_gap=policy.incident_gap,
        causes=frozenset(Cause(cause) for cause in policy.causes),
        model=state.current_model,
        blobs=ours,
        tags={**context.tags, **dict.fromkeys(ours, state.current_model)},
        trial="" if state.switch is None else context.rules.ladder[state.switch.target].model,
        ladder=frozenset(rung.model for rung in context.rules.ladder),
        unloads=state.unloads
        if last is None
        else (*state.unloads, last.time),  # the restart follows the commit
    )


def _follow(state: FleetState, finding: Finding, context: Context) -> FleetState:
    match finding:
        case IncidentFound():
            return decide(state, _seen(finding.incident), context.now, context.rules).state
        case IncidentRetracted():
            healed = finding.incident.id  # forgotten, since it counts after all if its last try fails
            kept = tuple(one for one in state.incidents if one.id != healed)
            ids = tuple(one for one in state.counted_ids if one != healed)
            return recount(replace(state, incidents=kept, counted_ids=ids), context.now, context.rules)
        case ApiCall():
            return _call_ended(state, finding, context)
        case GpuFound():
            before = state.watch.get("gpu_total")
            known = before if isinstance(before, int) else None
            total = known if finding.memory is None else finding.memory + (known or 0)
            return _watch(state, gpu=finding.present, gpu_total=total)
        case ServerStarted():
            state = with_spill(_watch(state, gpu=None, gpu_total=None), server_started(spill_of(state)))
            return hang_cleared(state)
        case PromptRead():
            return _watch(state, prompt_read=min(finding.time, context.now))
        case LoadFinished() if finding.loaded:
            return _watch(state, loaded=min(finding.time, context.now))
        case _:
            return state


def _call_ended(state: FleetState, call: ApiCall, context: Context) -> FleetState:
    fact = CallEnded(
        call.ended,
        call.switches,
        call.answered,
        is_memory_error(call.error),
        printable(call.error.replace("\\n", "\n")),
        call.started,
    )
    state = decide(state, fact, context.now, context.rules).state
    waited = call.status == 0 and call.seconds >= context.first_token
    # The row begins with the time that a call waited: on a suspended machine nothing waits.
    fact = replace(fact, started=call.ended - call.seconds)
    state = after_call(state, fact, waited=waited, now=context.now, limit=context.first_token)
    return _with_rate(state, call, context)


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
        lines=incident.lines,
    )
