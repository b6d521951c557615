"""Climbing back: when the fleet tries a larger model again, and which.

After `recover_after` without an incident the nearest rung above that can fit is tried (a probe). One that works is
followed by the next above it after the cool-down: memory has come free, and how much is not known. One that
failed is passed over at the next try, until all have had their turn. Each failure doubles the wait up to
`recover_cap`; a rung that survives a window sets it back.
"""

from dataclasses import dataclass, replace

from fleet.policy.events import EventKind
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Recovery
from fleet.runtime.units import show_duration

SPREAD = 0.1
"""Probes are spread by up to this share of their wait, so that fleets on one card fall out of step."""


def postpone(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Begin the wait anew, as after an incident."""
    recovery = state.recovery
    return replace(
        state, recovery=replace(recovery, next=now + (recovery.wait or rules.policy.recover_after))
    )


def probe_failed(state: FleetState, failed: int, now: float, rules: Rules) -> FleetState:
    """Remember a rung that failed its probe and wait twice as long, up to the cap.

    A rung reached by an earlier probe that it was tried from stays on probation.
    """
    recovery = state.recovery
    policy = rules.policy
    wait = min(max(policy.recover_cap, policy.recover_after), (recovery.wait or policy.recover_after) * 2)
    spread = wait * (1 + SPREAD * rules.jitter)
    rungs = tuple(dict.fromkeys((*recovery.failed, failed)))
    state = replace(state, recovery=replace(recovery, wait=wait, next=now + spread, failed=rungs))
    return state.tell(now, EventKind.PROBE_POSTPONED, seconds=spread, failed=rules.ladder[failed].label)


def off_probation(state: FleetState) -> FleetState:
    """Leave the rung that a probe led to: it did not prove itself."""
    left = replace(state.recovery, probation=None, home_rung=None, home_on_cpu=False)
    return replace(state, recovery=left)


def settle(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Set the wait back to its beginning once a rung has survived its probation.

    The next rung's turn comes `recover_after` after the last incident or failure, as if it had been the first.
    """
    recovery = state.recovery
    if recovery.probation is None or now < recovery.probation:
        return state
    wait = rules.policy.recover_after
    saved = max(0.0, (recovery.wait or wait) - wait)
    return replace(state, recovery=Recovery(wait, None if recovery.next is None else recovery.next - saved))


def below_its_best(state: FleetState) -> bool:
    """Tell whether there is a rung to climb back to."""
    return state.on_cpu or state.current_model_index > (state.ceiling or 0)


def due(state: FleetState, now: float, rules: Rules) -> bool:
    """Tell whether a probe is due."""
    recovery = state.recovery
    idle = state.switch is None and not state.pinned
    wanted = bool(rules.policy.recover_after) and below_its_best(state)
    return wanted and idle and (recovery.next or now + 1) <= now


def begun(state: FleetState, index: int) -> FleetState:
    """Return the state in which a probe of a rung begins; one that failed already begins a new round."""
    if index not in state.recovery.failed:
        return state
    return replace(state, recovery=replace(state.recovery, failed=()))


def candidate(state: FleetState, rules: Rules) -> int | None:
    """Return the rung to try: the nearest above that can fit and did not fail in this round.

    What needs no less than one that failed would fail as well and has no turn of its own. When all have had
    theirs a new round begins with the nearest. None if none can fit. Seen from the CPU the nearest is the
    same rung on the GPU.
    """
    nearest = state.current_model_index - (not state.on_cpu)
    above = [index for index in range(nearest, (state.ceiling or 0) - 1, -1) if rules.can_fit(index)]
    failed = state.recovery.failed
    fresh = [index for index in above if not any(rules.needs_no_less(index, one) for one in failed)]
    return next(iter(fresh or above), None)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to come of climbing back: when the next try is due and of which rung, None if none is, and why."""

    next: float | None
    rung: int | None
    why: str


def outlook(state: FleetState, rules: Rules) -> Outlook:
    """Return when the next try of a larger model comes and why, or why none does."""
    hindrance = _hindrance(state, rules)
    if hindrance:
        return Outlook(None, None, hindrance)
    index = candidate(state, rules)
    if index is None:
        return Outlook(
            state.recovery.next, None, "no larger model can fit into what is free; that is looked at again"
        )
    failed = ", ".join(rules.ladder[one].label for one in state.recovery.failed if one <= rules.ladder.last)
    wait = show_duration(state.recovery.wait or rules.policy.recover_after)
    why = f"{failed} failed, so that the wait is {wait}" if failed else f"after {wait} without an incident"
    return Outlook(state.recovery.next, index, why)


def _hindrance(state: FleetState, rules: Rules) -> str:
    if not rules.policy.recover_after:
        return "recover_after is 0s: it never climbs by itself"
    if state.pinned:
        return "the model is pinned; `unpin` lifts that"
    if not below_its_best(state):
        at_ceiling = state.current_model_index > 0
        return (
            "this rung was chosen by hand; `unpin` lifts that" if at_ceiling else "this is the largest model"
        )
    return "a switch is under way" if state.switch is not None else ""
