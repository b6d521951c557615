"""Random histories of a fleet: rules, and moves that become facts once the state they meet is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC

from hypothesis import strategies as st

from fleet.config.hours import HoursRow
from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import CAUSES, PolicySettings
from fleet.config.values import Reserve
from fleet.policy.decide import decide
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
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchKind, SwitchPhase
from fleet.runtime.errors import SwitchError
from fleet.runtime.units import GIGABYTE

START = 1_800_000_000.0
_KINDS = (
    "incident",
    "incident",
    "incident",
    "again",
    "answered",
    "failed",
    "out_of_memory",
    "spill",
    "tick",
    "tick",
    "command",
    "unpin",
    "pause",
    "resume",
    "card",
    "card",
    "card",
    "fetch",
    "go_on",
    "go_on",
    "go_on",
    "fail",
    "stale",
)


@dataclass(frozen=True, slots=True)
class Move:
    """What happens next: after `wait` seconds of real time and a step of the clock by `step`."""

    kind: str
    wait: float
    step: float
    pick: int


@dataclass(frozen=True, slots=True)
class Step:
    """One fact and what it led to; `real` is the time that a clock that never steps would show."""

    before: FleetState
    fact: Fact
    now: float
    real: float
    after: FleetState
    refused: bool = False


def ladder_of(length: int) -> Ladder:
    """Return a ladder of so many rungs, in which one model stands twice."""
    names = ["big:70b", "large:30b", "mid:13b", "mid:13b", "small:3b", "tiny:0.5b"]
    return Ladder(
        [
            Rung(
                index,
                name,
                (40 - 6 * index) * GIGABYTE,
                threshold=2 if index == 1 else None,
                options={"num_ctx": 2048} if index == 3 else {},
            )
            for index, name in enumerate(names[:length])
        ]
    )


@st.composite
def some_rules(draw: st.DrawFn) -> Rules:
    """Draw a ladder and every setting of the policy."""
    ladder = ladder_of(draw(st.integers(1, 6)))
    policy = PolicySettings(
        threshold=draw(st.integers(1, 4)),
        window=draw(st.sampled_from([30.0, 600.0])),
        cool_down=draw(st.sampled_from([0.0, 30.0])),
        min_fail_share=draw(st.sampled_from([0.0, 0.0, 0.5])),
        on_spill=draw(st.sampled_from(["downgrade", "report"])),
        selection=draw(st.sampled_from(["next", "fits"])),
        on_exhausted=draw(st.sampled_from(["hold", "cpu", "reset"])),
        recover_after=draw(st.sampled_from([0.0, 60.0, 600.0])),
        recover_cap=draw(st.sampled_from([60.0, 7200.0])),
        max_switches_per_hour=draw(st.sampled_from([1, 2, 3, 12])),
        canary=draw(st.booleans()),
        dynamic_threshold=draw(st.booleans()),
        reserve=draw(st.sampled_from([Reserve(), Reserve(GIGABYTE)])),
    )
    needs = draw(st.one_of(st.just(()), st.tuples(*[_need] * len(ladder))))
    free = draw(st.one_of(st.none(), st.integers(0, 40 * GIGABYTE)))
    sizes = draw(st.one_of(st.just(()), st.tuples(*[_need] * len(ladder))))
    hours = draw(st.sampled_from([(), (), *some_hours(len(ladder))]))
    return Rules(ladder, policy, needs, free, draw(st.floats(0, 1)), sizes, hours)


def some_hours(rungs: int) -> list[tuple[HoursRow, ...]]:
    """Return caps by the clock for the hours after START: one, one without the GPU, and both."""
    days, zone = frozenset(range(7)), UTC
    cap = HoursRow("", days, 510, 720, "cap", rungs // 2, zone)
    none = HoursRow("", days, 600, 660, "none", None, zone)
    return [(cap,), (none,), (cap, none)]


_need = st.one_of(st.none(), st.integers(0, 45 * GIGABYTE))
_move = st.builds(
    Move,
    kind=st.sampled_from(_KINDS),
    wait=st.sampled_from([0.0, 0.5, 2.0, 6.0, 40.0, 700.0, 4000.0]),
    step=st.sampled_from([0.0] * 12 + [-5.0, -900.0, -7200.0]),
    pick=st.integers(0, 999),
)
some_moves = st.lists(_move, max_size=80)


def play(rules: Rules, moves: Sequence[Move], state: FleetState | None = None) -> Iterator[Step]:
    """Run a history and yield its steps; a command that is refused leaves the state as it was."""
    state = state or FleetState(0, 0, rules.ladder[0].model, START).on_rung(rules.ladder[0])
    now = real = START
    told: list[IncidentSeen] = []
    for move in moves:
        now, real = now + move.wait + move.step, real + move.wait
        fact = fact_of(move, state, now, rules, told)
        try:
            after = decide(state, fact, now, rules).state
        except SwitchError:
            yield Step(state, fact, now, real, state, refused=True)
            continue
        yield Step(state, fact, now, real, after)
        state = after


def fact_of(move: Move, state: FleetState, now: float, rules: Rules, told: list[IncidentSeen]) -> Fact:
    """Return the fact that a move becomes; new incidents are put into `told`, from which some come again."""
    pick = move.pick
    match move.kind:
        case "again" if told:
            return told[pick % len(told)]
        case "incident" | "again":
            told.append(_incident(pick, now, rules, len(told)))
            return told[-1]
        case "answered" | "failed" | "out_of_memory":
            stale = pick % 10 == 0
            return CallEnded(
                now - pick % 3,
                state.switches - stale,
                answered=move.kind == "answered",
                memory=move.kind == "out_of_memory",
                reason="it was so",
            )
        case "spill":
            return SpillFound(pick / 1000)
        case "command":
            kinds = [SwitchKind.RESET, SwitchKind.DOWNGRADE, SwitchKind.UPGRADE, SwitchKind.USE]
            target = pick // 4 % (len(rules.ladder) + 1)
            return Command(kinds[pick % 4], target, pin=kinds[pick % 4] is SwitchKind.USE and pick % 8 == 7)
        case "unpin" | "pause" | "resume" | "card":
            return _from_outside(move.kind, pick, now)
        case "fetch":
            return _fetch(pick, rules)
        case "go_on" | "fail" | "stale" if state.switch is not None:
            number = state.switch.number - (move.kind == "stale")
            return _step(state.switch.phase, number, pick, rules, fails=move.kind == "fail")
        case _:
            return Tick()


def _from_outside(kind: str, pick: int, now: float) -> Fact:
    match kind:
        case "pause":
            return PauseAsked(None if pick % 3 == 0 else now + pick, "asked for by hand")
        case "resume":
            return ResumeAsked()
        case "card":
            available = None if pick % 10 == 0 else (pick % 45) * GIGABYTE
            return CardSeen(available, 40 * GIGABYTE if pick % 4 == 0 else None)
        case _:
            return Unpin()


def _incident(pick: int, now: float, rules: Rules, number: int) -> IncidentSeen:
    model = rules.ladder[pick % len(rules.ladder)].model if pick % 3 == 0 else None
    return IncidentSeen(
        id=f"i{number}",
        time=now + (0.0, 0.0, -1.0, -50.0, 5.0)[pick % 5],
        cause=CAUSES[pick % 3],
        kind="soft" if pick % 3 == 2 else "hard",
        counts=pick % 7 != 6,
        reason="another client's" if pick % 7 == 6 else "",
        model=model,
        load_began=now - 1.0 if pick % 2 else None,
    )


def _fetch(pick: int, rules: Rules) -> Fact:
    model = rules.ladder[pick % len(rules.ladder)].model
    if pick % 3 == 0:
        return PrefetchStarted(model, "ahead of its need")
    here = tuple(rung.index for rung in rules.ladder if (pick >> rung.index) & 1)
    return PrefetchDone(model) if pick % 3 == 1 else PrefetchFailed(model, "no such model", here)


def _step(phase: SwitchPhase, number: int, pick: int, rules: Rules, *, fails: bool) -> Fact:
    match phase:
        case SwitchPhase.PULL if fails:
            here = tuple(rung.index for rung in rules.ladder if (pick >> rung.index) & 1)
            return PullFailed(number, "no such model", here, deferred=bool(here) and pick % 5 == 0)
        case SwitchPhase.PULL:
            return ModelPresent(number, was_stopped=pick % 10 == 0)
        case SwitchPhase.TRIAL:
            return TrialEnded(number, passed=not fails, reason="out of memory" if fails else "")
        case SwitchPhase.RESTART if fails:
            return RestartFailed(number, "it died")
        case SwitchPhase.RESTART:
            return Restarted(number, stopped=pick % 10 == 0)
        case _:
            return VerifyEnded(number, "no answer")


def running(rules: Rules, index: int = 0, **changes: object) -> FleetState:
    """Return the state of a fleet that has stood on a rung for a while."""
    state = FleetState(index, 0, "", START).on_rung(rules.ladder[index])
    return replace(state, **changes)  # type: ignore[arg-type]  # the caller names fields of the state
