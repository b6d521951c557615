"""A day on a card that others use too, on a simulated clock: how long a fleet is on the best rung.

The best is the largest that fits. The oracle knows the memory at every moment and is there at once. The
original's rule moves down after three errors in a row and never climbs back.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from fleet.policy.decide import decide
from fleet.policy.facts import CallEnded, Fact, IncidentSeen, ModelPresent, Restarted, Tick, TrialEnded
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchPhase
from fleet.runtime.units import GIGABYTE
from tests.reference.histories import START, ladder_of

DAY = 86400
HOUR = 3600
THRESHOLD = 3
CALL_EVERY = 20
"""Seconds between two calls; with a tick every 30 s, all happens at whole tens of seconds."""
_STEP = 10
"""While no switch is under way only every tenth second is looked at; the memory is taken to change with them."""

NEEDS = tuple(int(size * GIGABYTE) for size in (3.0, 2.4, 1.5, 0.6))
LADDER = ladder_of(len(NEEDS))

Budget = Sequence[tuple[float, float]]
"""From which hour on how many gigabytes are left for the model."""

OFFICE: Budget = ((0, 4.0), (9, 1.6), (12.5, 4.0), (13.5, 2.5), (18, 0.7), (22, 4.0))
"""A workstation: a notebook in the morning, a free card over lunch, a smaller job, a game in the evening."""

EVENING: Budget = ((0, 4.0), (19, 0.7), (23, 4.0))
"""Somebody plays in the evening."""

STEADY: Budget = ((0, 4.0), (1, 1.6))
"""Something settles on the card at one o'clock, and stays."""


def random_day(seed: int, changes: int = 6) -> Budget:
    """Return a day on which the memory changes so many times, at any moment, to any of four amounts."""
    chance = Random(seed)
    hours = sorted(chance.uniform(0.5, 23.5) for _ in range(changes))
    return ((0, 4.0), *((hour, chance.choice([4.0, 2.5, 1.6, 0.7])) for hour in hours))


@dataclass(frozen=True, slots=True)
class Card:
    """What is left of a card's memory, by the hour."""

    budget: Budget

    def fits(self, index: int, second: int) -> bool:
        """Tell whether a rung fits at a second of the day."""
        return NEEDS[index] <= self.free(second)

    def free(self, second: int) -> int:
        """Return the bytes that are left."""
        left = next(size for hour, size in reversed(self.budget) if second >= hour * HOUR)
        return int(left * GIGABYTE)

    def best(self, second: int) -> int:
        """Return the highest rung that fits."""
        return next(index for index in range(len(NEEDS)) if self.fits(index, second))


@dataclass(slots=True)
class Day:
    """What a day came to; `knows` is whether the free memory is known to the policy (the card's tool tells it)."""

    card: Card
    knows: bool
    rules: Rules = field(default_factory=lambda: Rules(LADDER))
    best: int = 0
    failed_probes: list[int] = field(default_factory=list)
    switches: Counter[str] = field(default_factory=Counter)

    def run(self, seed: int = 1) -> float:
        """Live through the day; return the share of it on the oracle's rung."""
        chance = Random(seed)
        state = FleetState(0, 0, "", START).on_rung(LADDER[0])
        second = 0
        while second < DAY:
            if state.switch is None and second % _STEP:
                rest = _STEP - second % _STEP
                self.best += rest * (state.current_model_index == self.card.best(second))
                second += rest
                continue
            state = self._second(state, second, chance)
            fitting = state.switch is None or state.switch.phase is not SwitchPhase.RESTART
            self.best += fitting and state.current_model_index == self.card.best(second)
            second += 1
        return self.best / DAY

    def _second(self, state: FleetState, second: int, chance: Random) -> FleetState:
        """Live through one second in which something may happen."""
        now = START + second
        rules = replace(self.rules, jitter=chance.random())
        if self.knows:
            rules = replace(rules, needs=NEEDS, free=self.card.free(second))
        for fact in self._facts(state, second, now):
            after = decide(state, fact, now, rules).state
            self._note(state, after, second)
            state = after
        return replace(state, events=())

    def _facts(self, state: FleetState, second: int, now: float) -> Iterator[Fact]:
        switch = state.switch
        if switch is not None and switch.phase is SwitchPhase.PULL:
            yield ModelPresent(switch.number)
        elif switch is not None and switch.phase is SwitchPhase.TRIAL:
            yield TrialEnded(switch.number, passed=self.card.fits(switch.target, second), reason="no memory")
        elif switch is not None and switch.phase is SwitchPhase.RESTART:
            yield Restarted(switch.number)
        elif second % CALL_EVERY == 0:
            yield from self._call(state, second, now)
        if second % 30 == 0:
            yield Tick()

    def _call(self, state: FleetState, second: int, now: float) -> Iterator[Fact]:
        """Let the generator ask once: the log tells of a failure, and so does the call."""
        if self.card.fits(state.current_model_index, second):
            yield CallEnded(now, state.switches, answered=True)
            return
        name = f"load:{second}"
        yield IncidentSeen(name, now, "allocation", "hard", counts=True, load_began=now - 1)
        yield CallEnded(now, state.switches, answered=False, memory=True)

    def _note(self, before: FleetState, after: FleetState, second: int) -> None:
        for event in after.events[len(before.events) :]:
            self.switches[event.kind.value] += 1
            if event.kind.value == "probe.postponed":
                self.failed_probes.append(second)


def originals_rule(card: Card) -> float:
    """Return the share of the day on the best rung for three errors in a row, down, and never up again."""
    index = errors = best = 0
    for second in range(0, DAY, CALL_EVERY):
        errors = 0 if card.fits(index, second) else errors + 1
        if errors == THRESHOLD and index < len(NEEDS) - 1:
            index, errors = index + 1, 0
        best += CALL_EVERY * (index == card.best(second))
    return best / DAY


def most_in_an_hour(seconds: list[int]) -> int:
    """Return the most of these moments that any hour holds."""
    return max((sum(start <= one < start + HOUR for one in seconds) for start in seconds), default=0)


def settled_probes(day: Day) -> list[int]:
    """Return the failed probes of the time in which the memory has not changed for two hours."""
    changes = [hour * HOUR for hour, _ in day.card.budget]
    return [
        second
        for second in day.failed_probes
        if second - max(change for change in changes if change <= second) >= 2 * HOUR
    ]
