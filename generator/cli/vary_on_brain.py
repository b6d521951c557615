"""BRAIN's part of `vary`: simulates the best variants within the account's slots and the day's budget."""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random

import click

from fleet.config.load import config_path
from fleet.config.schema import Settings
from fleet.runtime.clock import Clock, SystemClock
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import Home, read_fleet_file
from fleet.runtime.units import Seconds
from generator.brain.events import BrainEvents
from generator.brain.sign_in import SignInTurns
from generator.brain.simulations import Simulator
from generator.domain import AlphaFigures, Candidate, Result, Ruleset
from generator.evaluators.brain import BrainPlan
from generator.evaluators.select import plan_brain
from generator.storage.simulations import SimulationTable
from generator.storage.store import AlphaStore
from generator.variation import AlphaChoices, Trial, Variant

_LOOK: Seconds = 0.5
_MOST_PENDING = 10_000

Queue = Callable[[Candidate, Ruleset], None]
"""Adds a candidate's row, if there is none."""
Store = Callable[[Candidate, Ruleset, Result], None]
"""Stores a result."""


@dataclass(frozen=True, slots=True)
class BrainBench:
    """Simulates variants, those with the same settings together."""

    settings: Settings
    home: Home
    store: AlphaStore
    candidate: Callable[[Variant], Candidate]
    add: Queue
    finish: Store
    clock: Clock = SystemClock()  # noqa: RUF009  # it has no state

    def simulate(self, variants: Sequence[Variant]) -> list[Trial]:
        """Return the trials of the variants that the day's budget allows; each is simulated once."""
        grouped: defaultdict[AlphaChoices, list[Variant]] = defaultdict(list)
        for variant in variants:
            grouped[variant.choices].append(variant)
        return [trial for choices, group in grouped.items() for trial in self._simulated(choices, group)]

    def _simulated(self, choices: AlphaChoices, group: Sequence[Variant]) -> list[Trial]:
        plan = variants_plan(self.settings, self.home, choices)
        api = plan.connect(self.clock, SignInTurns(self.store, lambda action: action()))
        simulator = Simulator(
            api,
            SimulationTable(self.store, plan.rules),
            retry=lambda action: action(),
            clock=self.clock,
            rng=Random(),  # jitter of waits
            slots=plan.brain.slots,
            budget=plan.brain.max_simulations_per_day,
            events=BrainEvents(),
        )
        try:
            return self._run(simulator, plan, {one.digest: one for one in group})
        finally:
            api.close()

    def _run(self, simulator: Simulator, plan: BrainPlan, variants: Mapping[str, Variant]) -> list[Trial]:
        for variant in variants.values():
            self.add(self.candidate(variant), plan.rules)
        pending = self.store.pending(plan.rules, limit=_MOST_PENDING)
        waiting = [one for one in pending if one.digest in variants]
        if known := len(variants) - len(waiting):
            click.echo(f"{known} variants have BRAIN's result already", err=True)
        trials: list[Trial] = []
        count, stopping = len(waiting), threading.Event()
        while len(trials) < count:
            free = simulator.free
            simulator.submit(waiting[:free])
            waiting = waiting[free:]
            for candidate, result in simulator.step():
                self.finish(candidate, plan.rules, result)
                means = isinstance(result, AlphaFigures) and not result.reason
                fitness = result.fitness if isinstance(result, AlphaFigures) and means else None
                trials.append(Trial(variants[candidate.digest], result, fitness))
            if self._is_spent(simulator, plan):
                click.echo(
                    f"the daily budget of BRAIN simulations is used up: {count - len(trials)} variants wait",
                    err=True,
                )
                break
            self.clock.wait(stopping, _LOOK)
        return trials

    def _is_spent(self, simulator: Simulator, plan: BrainPlan) -> bool:
        """Return True if the day's budget is used up and nothing is in flight any more."""
        state, budget = simulator.state(), plan.brain.max_simulations_per_day
        return 0 < budget <= state["sent_today"] and not state["open"]


def variants_plan(settings: Settings, home: Home, choices: AlphaChoices) -> BrainPlan:
    """Return BRAIN's plan of an alpha's settings; raise ConfigError where nothing can be sent to BRAIN."""
    started = read_fleet_file(home)
    if started is not None and started.standin:
        raise ConfigError(
            "a stand-in fleet sends nothing to BRAIN", hint="Use a home of a real fleet, by FLEET_HOME."
        )
    brain = replace(settings.brain, **asdict(choices))
    config = config_path(started, os.environ)
    return plan_brain(replace(settings, brain=brain), home, os.environ, config=config)
