"""What the policy would have done about a log's incidents, and when (pure).

A log says when failures came and when requests were answered. It cannot say whether a larger or smaller model would
have done better, so every downgrade counts as carried out at once and well, and no trial of a larger model is made up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fleet.policy.decide import decide
from fleet.policy.events import Event, EventKind
from fleet.policy.facts import CallEnded, IncidentSeen, ModelHere, Restarted
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Phase
from monitor.incidents.messages import Incident, IncidentFound
from monitor.scan.scan import Calls, ScanReport
from state.codec import default_state

_MOST_CALLS = 100  # the policy reckons the share of failures over about so many


@dataclass(frozen=True, slots=True)
class Move:
    """What the policy decided at a line: a downgrade, or to hold."""

    line: int
    time: float
    text: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of a log: each incident's count by its id, the moves in order, and where that ended."""

    counts: dict[str, str]
    moves: tuple[Move, ...]
    rung: str
    errors: int
    threshold: int


def replay(report: ScanReport, rules: Rules) -> Replay:
    """Run the policy over a log's incidents and answered requests, from the top of the ladder."""
    steps = sorted(_steps(report), key=lambda step: step[0])
    state = default_state(rules.ladder, steps[0][1] if steps else 0.0)
    counts: dict[str, str] = {}
    moves: list[Move] = []
    for line, now, step in steps:
        if isinstance(step, Calls):
            state = _called(state, step, rules)
            continue
        state = decide(state, _seen(step), now, rules).state
        counts[step.id] = next((text for event in state.events if (text := _counted(event))), "")
        moves += [Move(line, now, text) for event in state.events if (text := _moved(event)) is not None]
        if state.switch is not None:
            target = rules.ladder[state.switch.target].label
            moves.append(Move(line, now, f"{state.switch.kind.value} to {target} ({state.switch.why})"))
            state = _arrived(state, now, rules)
        state = replace(state, events=())
    rung = rules.ladder[state.current_model_index]
    return Replay(counts, tuple(moves), rung.label, state.vram_error_count, rules.threshold(rung))


def _steps(report: ScanReport) -> Iterator[tuple[int, float, Incident | Calls]]:
    for outcome in report.outcomes:
        if isinstance(outcome, IncidentFound):
            yield outcome.incident.last_line, outcome.incident.last, outcome.incident
        elif isinstance(outcome, Calls):
            yield outcome.line, outcome.time, outcome


def _called(state: FleetState, calls: Calls, rules: Rules) -> FleetState:
    """Let requests that ended between two failures count; all of them by the last one's time."""
    for answered, number in ((False, calls.failed), (True, calls.answered)):
        for _ in range(min(number, _MOST_CALLS)):
            call = CallEnded(calls.time, state.switches, answered)
            state = decide(state, call, calls.time, rules).state
    return replace(state, events=())


def _seen(incident: Incident) -> IncidentSeen:
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


def _moved(event: Event) -> str | None:
    return f"hold: {event.fields['why']}" if event.kind is EventKind.HELD else None


def _arrived(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state with its switch done: a log cannot tell how long one would have taken."""
    while state.switch is not None:
        number, phase = state.switch.number, state.switch.phase
        step = ModelHere(number) if phase is Phase.PULL else Restarted(number)
        if phase is Phase.VERIFY:
            return decide(state, CallEnded(now, state.switches, answered=True), now, rules).state
        state = decide(state, step, now, rules).state
    return state
