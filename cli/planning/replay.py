"""The policy run over a scanned log: pure, by the production `decide`, every switch done at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fleet.policy.decide import decide
from fleet.policy.events import Event, EventKind
from fleet.policy.facts import CallEnded, IncidentSeen, ModelPresent, Restarted, TrialEnded
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchPhase
from monitor.incidents.messages import Incident, IncidentFound
from monitor.scan.scan import Calls, ScanReport
from state.codec import default_state

_MOST_CALLS = 100  # the policy computes the share of failures over about so many


@dataclass(frozen=True, slots=True)
class Move:
    """A decision of the policy at a line: a downgrade, or a hold."""

    line: int
    time: float
    text: str


@dataclass(frozen=True, slots=True)
class Replay:
    """Result of a replay: the count at each incident (by id), the moves in order, the last rung and count."""

    counts: dict[str, str]
    moves: tuple[Move, ...]
    rung: str
    errors: int
    threshold: int


def replay(report: ScanReport, rules: Rules) -> Replay:
    """Run the policy over a log's incidents and answered requests, from the top of the ladder."""
    steps = sorted(policy_steps(report), key=lambda step: step[0])
    state = default_state(rules.ladder, steps[0][1] if steps else 0.0)
    counts: dict[str, str] = {}
    moves: list[Move] = []
    for line, now, step in steps:
        if isinstance(step, Calls):
            state = after_calls(state, step, rules)
            continue
        state = decide(state, seen(step), now, rules).state
        counts[step.id] = next((text for event in state.events if (text := _counted(event))), "")
        moves += [Move(line, now, text) for event in state.events if (text := _held_by(event)) is not None]
        if state.switch is not None:
            target = rules.ladder[state.switch.target].label
            moves.append(Move(line, now, f"{state.switch.kind.value} to {target} ({state.switch.why})"))
            state = arrived(state, now, rules)
        state = replace(state, events=())
    rung = rules.ladder[state.current_model_index]
    return Replay(counts, tuple(moves), rung.label, state.vram_error_count, rules.threshold(rung))


def policy_steps(report: ScanReport) -> Iterator[tuple[int, float, Incident | Calls]]:
    """Yield the input of a policy: incidents, and the calls between them, each with line and time."""
    for outcome in report.outcomes:
        if isinstance(outcome, IncidentFound):
            yield outcome.incident.last_line, outcome.incident.last, outcome.incident
        elif isinstance(outcome, Calls):
            yield outcome.line, outcome.time, outcome


def after_calls(state: FleetState, calls: Calls, rules: Rules) -> FleetState:
    """Return the state after the requests between two failures, all with the time of the last one."""
    for answered, number in ((False, calls.failed), (True, calls.answered)):
        for _ in range(min(number, _MOST_CALLS)):
            call = CallEnded(calls.time, state.switches, answered)
            state = decide(state, call, calls.time, rules).state
    return replace(state, events=())


def seen(incident: Incident) -> IncidentSeen:
    """Return the policy's fact of an incident."""
    return IncidentSeen(
        id=incident.id,
        time=incident.first,
        cause=incident.cause.value,
        kind=incident.kind.value,
        counts=incident.counts,
        reason=incident.reason,
        load_began=incident.load_began,
    )


def _counted(event: Event) -> str | None:
    if event.kind is not EventKind.INCIDENT:
        return None
    fields = event.fields
    return f"{fields['errors']} of {fields['threshold']}" if fields["counted"] else str(fields["reason"])


def _held_by(event: Event) -> str | None:
    return f"hold: {event.fields['why']}" if event.kind is EventKind.HELD else None


def arrived(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state with its switch done at once: a log does not show how long a switch takes."""
    while state.switch is not None:
        number, phase = state.switch.number, state.switch.phase
        if phase is SwitchPhase.VERIFY:
            return decide(state, CallEnded(now, state.switches, answered=True), now, rules).state
        step: ModelPresent | TrialEnded | Restarted = Restarted(number)
        if phase is SwitchPhase.PULL:
            step = ModelPresent(number)
        elif phase is SwitchPhase.TRIAL:
            step = TrialEnded(number, passed=True)
        state = decide(state, step, now, rules).state
    return state
