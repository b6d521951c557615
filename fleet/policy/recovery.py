"""Recovery: when the fleet probes a larger model, and which one (pure).

After `recover_after` without an incident the fleet probes the nearest rung above that can fit. After a successful probe
the next rung above follows after the cool-down: the amount of freed memory is unknown. A rung whose probe failed is
skipped until every other rung has been probed. Each failure doubles the wait, up to `recover_cap`; a rung that survives
a window resets it.
"""

from dataclasses import dataclass, replace

from fleet.policy.events import EventKind
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Recovery
from fleet.runtime.units import Seconds, show_duration

SPREAD = 0.1
"""Largest jitter, as a share of the wait. It keeps fleets on one GPU from probing at the same moments."""


def longest_wait(rules: Rules) -> Seconds:
    """Return the wait that doubling ends at."""
    return max(rules.policy.recover_cap, rules.policy.recover_after)


def wait_of(state: FleetState, rules: Rules) -> Seconds:
    """Return the wait for a probe; without probes that of the way back from a cap."""
    wait = min(state.recovery.wait, longest_wait(rules))
    return wait or rules.policy.recover_after or rules.policy.recover_cap


def postpone(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state with the wait for the next probe restarted, as after an incident."""
    return replace(state, recovery=replace(state.recovery, next=now + wait_of(state, rules)))


def probe_failed(state: FleetState, failed: int, now: float, rules: Rules) -> FleetState:
    """Return the state with a rung added to the failed ones and the wait doubled, up to the cap.

    A current rung that an earlier probe reached stays on probation.
    """
    recovery = state.recovery
    policy = rules.policy
    wait = min(longest_wait(rules), (recovery.wait or policy.recover_after) * 2)
    spread = wait * (1 + SPREAD * rules.jitter)
    rungs = tuple(dict.fromkeys((*recovery.failed, failed)))
    state = replace(state, recovery=replace(recovery, wait=wait, next=now + spread, failed=rungs))
    if not policy.recover_after:
        state = replace(state, displaced=None)  # without probes there is one try to come back from a cap
    return state.with_event(now, EventKind.PROBE_POSTPONED, seconds=spread, failed=rules.ladder[failed].label)


def end_probation(state: FleetState) -> FleetState:
    """Return the state without probation, for a rung that failed during it."""
    left = replace(state.recovery, probation=None, home_rung=None, home_on_cpu=False)
    return replace(state, recovery=left)


def reset_wait(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state with the wait reset to `recover_after` once the rung has survived its probation.

    The next probe moves earlier by the difference, as if the wait had never been doubled. A rung whose switch still
    verifies has not survived yet and keeps its home rung.
    """
    recovery = state.recovery
    if recovery.probation is None or now < recovery.probation or state.switch is not None:
        return state
    wait = rules.policy.recover_after
    saved = max(0.0, (recovery.wait or wait) - wait)
    return replace(
        state, recovery=Recovery(wait, None if recovery.next is None else max(0.0, recovery.next - saved))
    )


def can_climb(state: FleetState) -> bool:
    """Return True if there is a larger model up to the ceiling, or the GPU, to return to."""
    return state.on_cpu or state.current_model_index > state.top


def probe_due(state: FleetState, now: float, rules: Rules) -> bool:
    """Return True if a probe is due."""
    recovery = state.recovery
    free = (not state.pinned and bool(rules.policy.recover_after)) or may_come_back(state)
    return free and state.switch is None and can_climb(state) and (recovery.next or now + 1) <= now


def may_come_back(state: FleetState) -> bool:
    """Return True if a cap moved the fleet down from a rung that is allowed again."""
    return state.displaced is not None and state.top <= state.displaced < state.current_model_index


def probe_begun(state: FleetState, index: int) -> FleetState:
    """Return the state as the probe of a rung begins; a rung that failed before begins a new round."""
    if index not in state.recovery.failed:
        return state
    return replace(state, recovery=replace(state.recovery, failed=()))


def probe_target(state: FleetState, rules: Rules) -> int | None:
    """Return the rung to probe: the nearest above that can fit and has not failed in this round.

    A rung that needs at least as much as a failed one would fail too and is skipped. When all are skipped, a new round
    begins with the nearest. Return None if no rung can fit. On the CPU the nearest rung is the current one on the GPU.
    After a cap, the rung from which it moved the fleet comes first; a pinned fleet climbs no higher.
    """
    nearest, home = state.current_model_index - (not state.on_cpu), state.displaced
    top = state.top
    if home is not None and (state.pinned or not rules.policy.recover_after):
        top = max(top, home)
    above = [index for index in range(nearest, top - 1, -1) if rules.can_fit(index)]
    if home in above and may_come_back(state):
        above = [home, *(index for index in above if index != home)]
    failed = state.recovery.failed
    fresh = [index for index in above if not any(rules.needs_at_least(index, one) for one in failed)]
    return next(iter(fresh or above), None)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The next probe, or why there is none: its time (Unix seconds) and its rung, each None if unknown."""

    next: float | None
    rung: int | None
    why: str


def outlook(state: FleetState, rules: Rules) -> Outlook:
    """Return when the next probe comes and why, or why none comes."""
    obstacle = _why_no_probe(state, rules)
    if obstacle:
        return Outlook(None, None, obstacle)
    index = probe_target(state, rules)
    if index is None:
        return Outlook(
            state.recovery.next,
            None,
            "no larger model fits into the free GPU memory; checked again at the next probe",
        )
    failed = ", ".join(rules.ladder[one].label for one in state.recovery.failed if one <= rules.ladder.last)
    wait = show_duration(wait_of(state, rules))
    why = f"{failed} failed, and the wait is {wait}" if failed else f"after {wait} without an incident"
    return Outlook(state.recovery.next, index, why)


def _why_no_probe(state: FleetState, rules: Rules) -> str:
    if state.pause is not None:
        return "the fleet is paused; `resume` ends that"
    if any(cap is not None and cap.rung is None for cap in (state.hours, state.reserve)):
        return "the fleet is paused by [[hours]] or the reserve of GPU memory"
    if state.cap and state.cap == state.top and not can_climb(state):
        return "[[hours]] or the reserve of GPU memory allow no larger model now"
    if not rules.policy.recover_after and not may_come_back(state):
        return "recover_after is 0s: no probes"
    if state.pinned and not may_come_back(state):
        return "the model is pinned; `unpin` removes the pin"
    if not can_climb(state):
        at_ceiling = state.current_model_index > 0
        return (
            "this rung was chosen by hand; `unpin` removes that limit"
            if at_ceiling
            else "this is the largest model"
        )
    return "a switch is under way" if state.switch is not None else ""
