"""All that can happen next in a world: facts for the policy, the executor's work, a person at supervisord, time.

The executor does its work and writes the fact afterwards; a crash is a fact that does not come. A new fact of the policy
is a row of `FACTS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fleet.config.hours import HoursRow
from fleet.memory_errors.causes import Cause, SignalKind
from fleet.policy.caps import LOOKS
from fleet.policy.facts import (
    CallEnded,
    CardSeen,
    Command,
    Fact,
    IncidentSeen,
    ModelPresent,
    PauseAsked,
    PrefetchDone,
    PrefetchFailed,
    PrefetchStarted,
    PullFailed,
    Restarted,
    RestartFailed,
    ResumeAsked,
    SpillFound,
    Tick,
    TrialEnded,
    Unpin,
    VerifyEnded,
)
from fleet.policy.rules import VERIFY_RETRY, Rules
from fleet.policy.state import FleetState, Switch, SwitchKind, SwitchPhase
from monitor.detection.detector import Detector
from monitor.incidents.messages import Incident, IncidentRetracted
from monitor.ingest import Context, _follow
from tests.space.world import (
    ANSWERED,
    KNOWN,
    NEW,
    NOW,
    OTHER,
    SETTLED,
    SOON,
    STALE_SWITCH,
    SWITCHES,
    Runs,
    World,
    all_later,
    generators,
    later,
    settled,
)

_ROOM = 1.2
"""Room on the card as a factor of a rung's size; a cap is raised with less."""
_DETECTOR = Detector()
_SET_BACK = NOW - 7200.0
LONG_AGO = 100_000.0
SWITCHED = 29.0
"""Seconds since a commit whose cool-down runs; less than every cool-down but 0."""


@dataclass(frozen=True, slots=True)
class Move:
    """What happens next: a fact for the policy at `now`, else the `world` that follows.

    With a fact, `world` is the one that the fact meets, where it is another one that is not told apart.
    """

    name: str
    fact: Fact | None = None
    now: float = NOW
    world: World | None = None
    idle: bool = False
    """The fact changes nothing but events."""
    rare: bool = False
    """The search tries the move in a part of the worlds only."""
    hours: tuple[HoursRow, ...] = ()
    """The caps of the calendar that are in force; only ticks read them."""


def moves(world: World, rules: Rules) -> Iterator[Move]:
    """Yield what can happen next."""
    for facts in FACTS:
        yield from facts(world, rules)
    yield from _executor(world, rules)
    for name, after in later(world, rules):
        yield Move(name, world=after)


# Facts


def _incidents(world: World, rules: Rules) -> Iterator[Move]:
    """Incidents, as far as the policy can tell them apart, after the cool-down and in it."""
    state = world.state
    hard = IncidentSeen(NEW, NOW, "allocation", "hard", counts=True)
    soft = replace(hard, kind="soft", cause="not_recovered")
    yield Move("an incident", hard)
    yield Move(
        "an incident after the clock was set back", replace(hard, time=_SET_BACK), now=_SET_BACK, rare=True
    )
    yield Move("a soft incident", soft)
    yield Move("an incident that does not count", replace(hard, counts=False, reason="host"), idle=True)
    yield Move("an incident again", replace(hard, id=KNOWN), idle=True)
    before = replace(hard, time=SETTLED.time - 2.0, model=state.current_model)
    yield Move("an incident from before the switch", before, idle=True)
    if state.switch is None:
        met = replace(world, state=replace(state, last_finished=NOW - ANSWERED))
        yield Move(
            "an incident from before the last answer", replace(hard, time=NOW - ANSWERED * 5 / 4), world=met
        )
    if state.switch is not None and state.switch.phase is SwitchPhase.TRIAL:
        yield Move("an incident by name", replace(hard, model=state.current_model))
    if rules.policy.cool_down:
        yield from _in_cool_down(world, hard, soft)
    if state.incidents:
        yield Move("an incident is taken back", world=_retracted(world, rules))


def _in_cool_down(world: World, hard: IncidentSeen, soft: IncidentSeen) -> Iterator[Move]:
    """Incidents in the cool-down after a switch from another model, or from the same one."""
    current = world.state.current_model
    for source in (OTHER, current):
        past = replace(SETTLED, source=source, time=NOW - SWITCHED)
        met = replace(world, state=replace(world.state, last_switch=past))
        yield Move("an incident by name", replace(hard, model=current), world=met)
        yield Move("an incident in a new load", replace(hard, load_began=NOW), world=met)
        late = replace(hard, model=source, load_began=NOW - LONG_AGO)
        yield Move("an incident of the model before", late, world=met, idle=True)
        yield Move("a soft incident in the cool-down", soft, world=met, idle=True)


def _retracted(world: World, rules: Rules) -> World:
    """Return the world after the last incident turned out to have healed, as the monitor makes it."""
    *others, last = world.state.incidents
    state = replace(world.state, incidents=(*others, replace(last, id=NEW)))
    healed = Incident(NEW, SignalKind.HARD, Cause.ALLOCATION, True, NOW, NOW, "", "")
    state = _follow(state, IncidentRetracted(healed), Context(NOW, rules, _DETECTOR))
    return settled(World(state, world.runs), NOW, rules)


def _calls(world: World, _: Rules) -> Iterator[Move]:
    failed = CallEnded(NOW, SWITCHES, answered=False, reason="it failed", started=NOW - 0.5)
    switch = world.state.switch
    if world.runs in {Runs.STALE, Runs.DOWN}:
        yield Move(
            "a call on another model fails", replace(failed, switches=SWITCHES - 1, memory=True), idle=True
        )
    if world.runs is Runs.CURRENT:
        yield Move("a call is answered", replace(failed, answered=True, reason=""))
        yield Move("a call lacks memory", replace(failed, memory=True))
        yield Move("a call fails", failed)
        if switch is not None and switch.failed_at is not None:
            same = replace(failed, memory=True, started=NOW - VERIFY_RETRY - 1)
            yield Move("a call from before the first failure lacks memory", same)


def _time(world: World, rules: Rules) -> Iterator[Move]:
    yield Move("a tick", Tick())
    for row in rules.hours:
        yield Move(f"a tick while the calendar allows {row.model}", Tick(), hours=(row,))
    yield Move("a tick after the clock was set back", Tick(), now=_SET_BACK, rare=True)


def _spill(world: World, _: Rules) -> Iterator[Move]:
    yield Move("a spill", SpillFound(0.5))


def _card(_: World, rules: Rules) -> Iterator[Move]:
    """Readings of the card that leave room for each rung, for none, or cannot be made."""
    if rules.policy.reserve:
        for rung in rules.ladder:
            yield Move(f"the card has room for {rung.index}", CardSeen(round((rung.size or 0) * _ROOM)))
        yield Move("the card has no room", CardSeen(0))
        yield Move("the card cannot be read", CardSeen(None), rare=True)


def _commands(world: World, rules: Rules) -> Iterator[Move]:
    for kind in (SwitchKind.RESET, SwitchKind.DOWNGRADE, SwitchKind.UPGRADE):
        yield Move(kind.value, Command(kind))
    for rung in rules.ladder:
        for pin in (False, True):
            yield Move(f"use {rung.index}{' --pin' * pin}", Command(SwitchKind.USE, rung.index, pin=pin))
    yield Move("unpin", Unpin())


def _steps(world: World, rules: Rules) -> Iterator[Move]:
    """The facts that end a step of the executor."""
    switch = world.state.switch
    if switch is None:
        yield Move("a late step", ModelPresent(STALE_SWITCH), idle=True)
        return
    number = switch.number
    match switch.phase:
        case SwitchPhase.PULL:
            yield from _pull_ends(world, switch, rules)
        case SwitchPhase.TRIAL:
            for met in generators(world):
                passed = TrialEnded(number, passed=True, was_stopped=seems_stopped(met))
                yield Move("the trial passes", passed, world=met)
            yield Move("the trial fails", TrialEnded(number, passed=False, reason="out of memory"))
            yield Move("an earlier trial ends", TrialEnded(STALE_SWITCH, passed=True), idle=True)
        case SwitchPhase.RESTART:
            if switch.was_stopped or world.runs is Runs.STOPPED:
                yield Move("the generator stays stopped", Restarted(number, stopped=True))
            if world.runs is Runs.CURRENT:
                yield Move("the generator is up", Restarted(number))
            yield Move("the restart fails", RestartFailed(number, "it died"))
            yield Move("an earlier restart ends", Restarted(STALE_SWITCH), idle=True)
        case SwitchPhase.VERIFY:
            yield Move("no answer in time", VerifyEnded(number, "no call was answered in time"))
            yield Move("an earlier wait ends", VerifyEnded(STALE_SWITCH, "late"), idle=True)


def _pull_ends(world: World, switch: Switch, rules: Rules) -> Iterator[Move]:
    number = switch.number
    for met in generators(world):
        yield Move("the model is present", ModelPresent(number, was_stopped=seems_stopped(met)), world=met)
    yield Move("an earlier pull ends", ModelPresent(STALE_SWITCH), idle=True)
    yield Move("the pull fails", PullFailed(number, "no such model"))
    for index in range(switch.target + 1, len(rules.ladder)):
        yield Move(f"the pull fails, {index} is here", PullFailed(number, "no", (index,)))
        if not switch.by_hand:
            waits = PullFailed(number, "not yet", (index,), deferred=True)
            yield Move(f"the pull waits, {index} is here", waits)


def seems_stopped(world: World) -> bool:
    """Return True if the executor takes the generator for one that a person stopped."""
    return world.runs in {Runs.STOPPED, Runs.DOWN} and not world.state.restarting


def _prefetch(world: World, rules: Rules) -> Iterator[Move]:
    state = world.state
    yield Move(
        "a background pull begins", PrefetchStarted(state.current_model, "the fleet uses it"), idle=True
    )
    met = replace(world, state=replace(state, behind=(state.current_model,)))
    yield Move("a skipped model is pulled", PrefetchDone(state.current_model), world=met)
    for index in range(state.current_model_index + 1, len(rules.ladder)):
        yield Move(
            f"the model cannot be pulled, {index} is here",
            PrefetchFailed(state.current_model, "no", (index,)),
        )


def _pauses(world: World, _: Rules) -> Iterator[Move]:
    yield Move("pause", PauseAsked(None, "by hand"))
    yield Move("pause for a while", PauseAsked(NOW + SOON, "by hand"), rare=True)
    yield Move("resume", ResumeAsked())


FACTS: tuple[Callable[[World, Rules], Iterator[Move]], ...] = (
    _steps,
    _calls,
    _incidents,
    _time,
    _commands,
    _spill,
    _card,
    _prefetch,
    _pauses,
)


# The executor's work


def _executor(world: World, rules: Rules) -> Iterator[Move]:
    """The work that comes before a fact; after a crash the next executor repeats it."""
    switch = world.state.switch
    restarts = switch is not None and switch.phase is SwitchPhase.RESTART
    if restarts and not switch.was_stopped:
        if world.runs in {Runs.CURRENT, Runs.STALE}:
            yield Move("the restart stops the generator", world=replace(world, runs=Runs.DOWN))
        if world.runs is Runs.DOWN:
            yield Move("the restart starts the generator", world=replace(world, runs=Runs.CURRENT))
    if world.runs is Runs.STALE:
        yield Move("the generator is replaced", world=replace(world, runs=Runs.CURRENT))
    if world.state.restarting and not restarts and world.runs is Runs.DOWN:
        yield Move("the generator is revived", world=replace(world, runs=Runs.CURRENT))


def runs_after(before: World, state: FleetState) -> Runs:
    """Return the generator after a fact: a commit makes the running one stale."""
    if state.switches != before.state.switches and before.runs is Runs.CURRENT:
        return Runs.STALE
    return before.runs


def _quiet_step(world: World, switch: Switch) -> Iterator[tuple[str, Fact | None, World]]:
    number, seems = switch.number, seems_stopped(world)
    match switch.phase:
        case SwitchPhase.PULL:
            yield "the model is present", ModelPresent(number, was_stopped=seems), world
        case SwitchPhase.TRIAL:
            yield "the trial passes", TrialEnded(number, passed=True, was_stopped=seems), world
        case SwitchPhase.RESTART if switch.was_stopped:
            yield "the generator stays stopped", Restarted(number, stopped=True), world
        case SwitchPhase.RESTART:
            yield "the generator is up", Restarted(number), replace(world, runs=Runs.CURRENT)
        case _ if seems:
            yield "no answer in time", VerifyEnded(number, "no call was answered in time"), world


def quiet(world: World, rules: Rules) -> Iterator[tuple[str, Fact | None, World]]:
    """Yield what happens next while nothing goes wrong and no person interferes, with the world that the fact meets.

    The first one that changes anything happens. Without any the world is at rest.
    """
    state, runs = world.state, world.runs
    if state.switch is not None:
        yield from _quiet_step(world, state.switch)
    if runs is Runs.STALE:
        yield "the generator is replaced", None, replace(world, runs=Runs.CURRENT)
    if state.restarting and runs is Runs.DOWN:
        yield "the generator is revived", None, replace(world, runs=Runs.CURRENT)
    if runs is Runs.CURRENT:
        yield "a call is answered", CallEnded(NOW, SWITCHES, answered=True), world
    if state.reserve is not None:
        looked = replace(state, reserve=replace(state.reserve, looks=1 - LOOKS))
        yield "the card has room", CardSeen(None), replace(world, state=looked)
    yield "time passes", Tick(), all_later(world, rules)
