"""Climbing back: when the fleet tries a larger model again, and which.

After `recover_after` without an incident the nearest rung above that can fit is tried (a probe). One that
failed is passed over at the next try, until all have had their turn. Each failure doubles the wait up to
`recover_cap`; a rung that survives a window sets it back.
"""

from dataclasses import replace

from fleet.events import EventKind
from fleet.model import FleetState, Recovery
from fleet.rules import Rules

SPREAD = 0.1
"""Probes are spread by up to this share of their wait, so that fleets on one card fall out of step."""


def postpone(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Begin the wait anew, as after an incident."""
    recovery = state.recovery
    return replace(
        state, recovery=replace(recovery, next=now + (recovery.wait or rules.policy.recover_after))
    )


def probe_failed(state: FleetState, failed: int, now: float, rules: Rules) -> FleetState:
    """Remember a rung that failed its probe and wait twice as long, up to the cap."""
    recovery = state.recovery
    policy = rules.policy
    wait = min(max(policy.recover_cap, policy.recover_after), (recovery.wait or policy.recover_after) * 2)
    spread = wait * (1 + SPREAD * rules.jitter)
    rungs = tuple(dict.fromkeys((*recovery.failed, failed)))
    state = replace(state, recovery=Recovery(wait, now + spread, rungs))
    return state.tell(now, EventKind.PROBE_POSTPONED, seconds=spread, failed=rules.ladder[failed].label)


def settle(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Set the wait back to its beginning once a rung has survived its probation.

    The next rung's turn comes `recover_after` after the switch or the last incident, as if none had failed.
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
