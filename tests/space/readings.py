"""The readings of a world's timers: the states that one world stands for, as far as a fact can tell them apart.

A timer that only some facts read is not stored in the world. Such a fact meets the world once with each reading.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from fleet.policy.caps import LOOKS
from fleet.policy.facts import CallEnded, CardSeen, Command, Fact, IncidentSeen, SpillFound, Tick, TrialEnded
from fleet.policy.rules import VERIFY_RETRY, Rules
from fleet.policy.state import FleetState, ReserveCap, SwitchKind, SwitchPhase
from tests.space.world import LATE, NOW

Reading = Callable[[FleetState, Fact, Rules], Iterator[FleetState]]


def _next_probe(state: FleetState, fact: Fact, _: Rules) -> Iterator[FleetState]:
    """The next probe is due: read by ticks, where there is something to climb to."""
    if isinstance(fact, Tick) and (state.current_model_index > 0 or state.on_cpu):
        yield replace(state, recovery=replace(state.recovery, next=NOW - LATE))


def _probation(state: FleetState, fact: Fact, _: Rules) -> Iterator[FleetState]:
    """The probation is over: read by all but commands."""
    if state.recovery.probation is not None and not isinstance(fact, Command):
        yield replace(state, recovery=replace(state.recovery, probation=NOW - LATE))


def _wait(state: FleetState, fact: Fact, rules: Rules) -> Iterator[FleetState]:
    """The wait is the longest: read where a probe may fail."""
    probes = state.switch is not None and state.switch.kind is SwitchKind.PROBE
    fails = isinstance(fact, (IncidentSeen, CallEnded, SpillFound, Tick))
    fails |= isinstance(fact, TrialEnded) and not fact.passed
    if fails and (probes or state.recovery.probation is not None):
        longest = max(rules.policy.recover_cap, rules.policy.recover_after)
        yield replace(state, recovery=replace(state.recovery, wait=longest))


def _window(state: FleetState, fact: Fact, rules: Rules) -> Iterator[FleetState]:
    """Incidents of the row have left the window: read by an answer, which ends the row."""
    if isinstance(fact, CallEnded) and fact.answered and state.last_finished is None:
        for number in range(1, len(state.incidents) + 1):
            older = [replace(one, time=NOW - rules.policy.window - LATE) for one in state.incidents[:number]]
            yield replace(state, incidents=(*older, *state.incidents[number:]))


def _second_chance(state: FleetState, fact: Fact, _: Rules) -> Iterator[FleetState]:
    """The second chance is due: read by a memory failure of the new model."""
    switch = state.switch
    fails = isinstance(fact, IncidentSeen) or (isinstance(fact, CallEnded) and fact.memory)
    if fails and switch is not None and switch.failed_at is not None:
        yield replace(state, switch=replace(switch, failed_at=NOW - VERIFY_RETRY))


def _share(state: FleetState, fact: Fact, rules: Rules) -> Iterator[FleetState]:
    """Most calls were answered: read with `min_fail_share`, where a threshold may be acted on."""
    restarts = state.switch is not None and state.switch.phase is SwitchPhase.RESTART
    if rules.policy.min_fail_share and not restarts and not isinstance(fact, Command):
        yield replace(state, finished=2, failed=1)


def _looks(state: FleetState, fact: Fact, rules: Rules) -> Iterator[FleetState]:
    """The card was read twice already with the same result: read by the third reading, which may set the cap."""
    if isinstance(fact, CardSeen) and rules.policy.reserve and state.switch is None:
        for looks in (1 - LOOKS, LOOKS - 1):
            yield replace(state, reserve=replace(state.reserve or ReserveCap(), looks=looks))


_READINGS: tuple[Reading, ...] = (_next_probe, _probation, _wait, _window, _second_chance, _share, _looks)


def readings(state: FleetState, fact: Fact, rules: Rules) -> list[FleetState]:
    """Return the states that one state stands for, as far as a fact can tell them apart."""
    found = [state]
    for reading in _READINGS:
        found += [other for one in found for other in reading(one, fact, rules)]
    return found
