"""The search: breadth first over every world that can be reached, until none is left or a bound is met."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from fleet.policy.decide import decide
from fleet.policy.facts import Command, Fact, ResumeAsked
from fleet.policy.rules import Rules
from fleet.runtime.errors import SwitchError
from tests.space.invariants import INVARIANTS, stopped_stays_stopped
from tests.space.moves import Move, moves, quiet, runs_after
from tests.space.readings import readings
from tests.space.step import Step
from tests.space.world import NOW, Runs, World, folded, generators, settled, starts

MOST_QUIET_STEPS = 300
RARELY = 7
"""One of so many facts that change nothing, and of steps of the clock, is tried: each in a seventh of the worlds."""


class BrokenInvariantError(AssertionError):
    """An invariant does not hold; the text names it and the shortest way to the step that breaks it."""

    def __init__(self, invariant: str, way: Iterable[str]) -> None:
        self.invariant = invariant
        self.way = tuple(way)
        super().__init__(f"{invariant}: {' → '.join(self.way)}")


@dataclass(slots=True)
class Search:
    """A search under some rules; `closed` is True once every reachable world has been visited."""

    rules: Rules
    first: Iterable[World] = ()
    worlds: dict[Any, tuple[Any, str]] = field(default_factory=dict)
    steps: int = 0
    depth: int = 0
    closed: bool = False
    seconds: float = 0.0
    _settled: set[Any] = field(default_factory=set)

    def run(self, *, seconds: float | None = None, worlds: int | None = None) -> "Search":
        """Visit all worlds, or as many as the bounds allow; raise BrokenInvariantError."""
        began = time.process_time()
        todo: deque[tuple[World, int]] = deque()
        for first in self.first or starts(self.rules):
            self._add(todo, first, None, "start", 0)
        visited = 0
        while todo:
            visited += 1
            self.seconds = time.process_time() - began
            if (seconds is not None and self.seconds > seconds) or (
                worlds is not None and len(self.worlds) > worlds
            ):
                return self
            world, self.depth = todo.popleft()
            for one in generators(world):
                self.comes_to_rest(one)
            for number, move in enumerate(moves(world, self.rules), start=visited):
                if (move.idle or move.rare) and number % RARELY:
                    continue
                for after in self.step(world, move):
                    self._add(todo, after, world.key, move.name, self.depth + 1)
        self.closed = True
        return self

    def _add(self, todo: deque[tuple[World, int]], world: World, before: Any, name: str, depth: int) -> None:
        world = folded(world)
        key = world.key
        if key not in self.worlds:
            self.worlds[key] = (before, name)
            todo.append((world, depth))

    def step(self, world: World, move: Move) -> Iterator[World]:
        """Yield the worlds after a move, none after a refused command; raise BrokenInvariantError."""
        if move.fact is None:
            assert move.world is not None
            if not stopped_stays_stopped(Step(world, move, move.world, self.rules)):
                raise BrokenInvariantError("stopped_stays_stopped", (*self.way(world.key), move.name))
            yield settled(move.world, move.now, self.rules)
            return
        met = move.world or world
        for state in readings(met.state, move.fact, self.rules):
            after = self._decided(world, replace(met, state=state), move, move.fact)
            if after is not None:
                yield settled(after, move.now, self.rules)

    def _decided(self, world: World, met: World, move: Move, fact: Fact) -> World | None:
        """Return the world as the policy returns it, None after a refused command."""
        self.steps += 1
        rules = replace(self.rules, hours=move.hours) if self.rules.hours else self.rules
        try:
            state = decide(met.state, fact, move.now, rules).state
        except SwitchError:
            if not isinstance(fact, (Command, ResumeAsked)):
                raise
            return None
        after = World(state, runs_after(met, state))
        step = Step(met, move, after, rules)
        for invariant in INVARIANTS:
            if not invariant(step):
                raise BrokenInvariantError(invariant.__name__, (*self.way(world.key), move.name))
        return after

    def way(self, key: Any) -> list[str]:
        """Return the moves that lead to a world."""
        found = []
        while key is not None:
            key, name = self.worlds[key]
            found.append(name)
        return found[::-1]

    def comes_to_rest(self, world: World) -> None:
        """From every world a quiet one comes to rest: on the largest model that may run, with the generator as wanted."""
        first = world
        passed: list[Any] = []
        names: list[str] = []
        for _ in range(MOST_QUIET_STEPS):
            key = world.key
            if key in self._settled:
                self._settled.update(passed)
                return
            passed.append(key)
            following = self._quiet(world)
            if following is None:
                if not self._rests(world):
                    break
                self._settled.update(passed)
                return
            name, world = following
            names.append(name)
        raise BrokenInvariantError("comes_to_rest", (*self.way(folded(first).key), "quiet:", *names))

    def _quiet(self, world: World) -> tuple[str, World] | None:
        rules = replace(self.rules, hours=()) if self.rules.hours else self.rules
        for name, fact, met in quiet(world, rules):
            after = met
            if fact is not None:
                state = decide(met.state, fact, NOW, rules).state
                after = settled(World(state, runs_after(met, state)), NOW, self.rules)
            if after.key != world.key:
                return name, after
        return None

    def _rests(self, world: World) -> bool:
        """Return True if a world is at rest, with nothing left to climb to."""
        state, rules = world.state, self.rules
        if state.switch is not None or (state.hold is not None and state.hold.active(NOW)):
            return False
        if world.runs not in {Runs.CURRENT, Runs.STOPPED}:
            return False
        climbs = rules.policy.recover_after and not state.pinned
        # On the CPU, the current rung on the GPU is a climb too.
        lowest = state.current_model_index + state.on_cpu
        return not climbs or not any(rules.can_fit(rung) for rung in range(state.ceiling or 0, lowest))
