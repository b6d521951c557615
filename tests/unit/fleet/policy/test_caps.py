"""What is left to others, held to cases: a pause by hand, caps by the clock, and the reserve of GPU memory."""

from collections import Counter
from dataclasses import replace
from datetime import datetime
from random import Random
from zoneinfo import ZoneInfo

import pytest

from fleet.config.hours import HoursRow, parse_when
from fleet.config.schema import PolicySettings
from fleet.config.values import Reserve
from fleet.policy.caps import must_free, with_freed
from fleet.policy.decide import decide
from fleet.policy.events import EventKind, sentence
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
    PullFailed,
    Restarted,
    ResumeAsked,
    SpillFound,
    Tick,
    TrialEnded,
)
from fleet.policy.recovery import outlook
from fleet.policy.rules import Rules
from fleet.policy.state import (
    FleetState,
    Hold,
    HoursCap,
    OperatorPause,
    PausedBy,
    Recovery,
    ReserveCap,
    SwitchKind,
    SwitchPhase,
)
from fleet.runtime.errors import SwitchError
from fleet.runtime.units import GIGABYTE
from state.codec import decode_state, encode_state
from tests.reference.histories import running

T = 1_800_000_000.0
BERLIN = ZoneInfo("Europe/Berlin")
NEEDS = (3 * GIGABYTE, 2 * GIGABYTE, GIGABYTE, GIGABYTE // 2)
RULES = Rules(needs=NEEDS)
RESERVE = Rules(needs=NEEDS, policy=PolicySettings(reserve=Reserve(GIGABYTE)))
PAUSE = PauseAsked(None, "asked for by hand")


def hours(when: str, rung: int | None, model: str = "") -> HoursRow:
    days, start, end = parse_when(when)
    return HoursRow(
        when, days, start, end, model or ("none" if rung is None else f"rung {rung}"), rung, BERLIN
    )


def capped(*rows: HoursRow, **policy: object) -> Rules:
    return Rules(needs=NEEDS, policy=PolicySettings(**policy), hours=rows)  # type: ignore[arg-type]


def at(text: str) -> float:
    """Return a moment of Friday, 2027-01-15 in Berlin."""
    return datetime.fromisoformat(f"2027-01-15T{text}").replace(tzinfo=BERLIN).timestamp()


def after(state: FleetState, *facts: tuple[float, Fact], rules: Rules = RULES) -> FleetState:
    for now, fact in facts:
        state = decide(state, fact, now, rules).state
    return state


def carried_out(
    state: FleetState, now: float, rules: Rules, *, until: SwitchPhase | None = None
) -> FleetState:
    """Take the switch under way through its phases, up to one or to its end."""
    while state.switch is not None and state.switch.phase is not until:
        number = state.switch.number
        fact: Fact = {
            SwitchPhase.PULL: ModelPresent(number),
            SwitchPhase.TRIAL: TrialEnded(number, passed=True),
            SwitchPhase.RESTART: Restarted(number),
            SwitchPhase.VERIFY: CallEnded(now, state.switches, answered=True),
        }[state.switch.phase]
        state = decide(state, fact, now, rules).state
    return state


def fields(state: FleetState, kind: EventKind) -> list[dict[str, object]]:
    return [dict(event.fields) for event in state.events if event.kind is kind]


def incidents(now: float) -> list[tuple[float, Fact]]:
    return [(now, IncidentSeen(f"{now} {n}", now, "allocation", "hard", counts=True)) for n in range(3)]


# By hand


def test_a_pause_stands_in_the_state_until_its_end_and_ends_by_itself() -> None:
    state = after(running(RULES, 1), (T, PauseAsked(T + 7200, "why")))
    assert state.pause == OperatorPause(T, T + 7200, "why")
    found = state.paused(T + 7199)
    assert found is not None
    assert (found.by, found.since, found.until) == (PausedBy.OPERATOR, T, T + 7200)
    assert state.paused(T + 7200) is None, "also where no monitor runs"
    state = after(state, (T + 7200, Tick()))
    assert state.pause is None
    assert fields(state, EventKind.RESUMED) == [{"why": "its time is over"}]


@pytest.mark.parametrize(
    "fact",
    [
        Tick(),
        SpillFound(0.1),
        PrefetchFailed("phi3:mini", "gone", (2, 3)),
        CardSeen(0),
        *(fact for _, fact in incidents(T + 5000)),
    ],
)
def test_while_it_lasts_nothing_is_switched_or_tried_by_itself(fact: Fact) -> None:
    state = after(running(RULES, 1), (T, PAUSE))
    state = replace(state, recovery=replace(state.recovery, next=T))
    assert after(state, *[(T + 5000, fact)] * 5).switch is None


def test_a_failure_during_it_is_counted_and_acted_on_afterwards() -> None:
    state = after(running(RULES), (T, PAUSE), *incidents(T + 5))
    assert (state.vram_error_count, state.switch) == (3, None)
    state = after(state, (T + 6, ResumeAsked()), *incidents(T + 7))
    assert state.switch is not None


@pytest.mark.parametrize("kind", list(SwitchKind)[:4])
def test_a_command_changes_the_rung_and_tries_nothing(kind: SwitchKind) -> None:
    state = after(running(RULES, 1), (T, PAUSE), (T + 1, Command(kind, 3)))
    assert state.switch is not None
    state = after(state, (T + 2, ModelPresent(state.switch.number)))
    assert state.switch is not None
    assert state.switch.phase is SwitchPhase.RESTART, "without a trial, which would load the model"
    state = after(state, (T + 3, Restarted(state.switch.number)))
    assert (state.switch, state.current_model_index) == (None, {"downgrade": 2, "use": 3}.get(kind, 0))
    assert fields(state, EventKind.SWITCH_DONE)[0]["result"] == "unverified: the fleet is paused"
    assert state.paused(T + 4) is not None


def a_probe(until: SwitchPhase) -> FleetState:
    state = replace(running(RULES, 1), recovery=replace(running(RULES).recovery, next=T - 1))
    return carried_out(after(state, (T, Tick())), T, RULES, until=until)


@pytest.mark.parametrize("phase", [SwitchPhase.PULL, SwitchPhase.TRIAL])
def test_a_probe_under_way_is_dropped(phase: SwitchPhase) -> None:
    state = after(a_probe(phase), (T + 1, PAUSE))
    assert (state.switch, state.current_model_index) == (None, 1)
    assert fields(state, EventKind.SWITCH_SUPERSEDED)[0]["by"] == "pause"


def test_a_switch_that_is_committed_ends_without_a_call() -> None:
    restarting = after(a_probe(SwitchPhase.RESTART), (T + 1, PAUSE))
    assert restarting.switch is not None
    assert after(restarting, (T + 2, Restarted(restarting.switch.number))).switch is None
    assert after(a_probe(SwitchPhase.VERIFY), (T + 1, PAUSE)).switch is None


def test_resume_is_safe_to_repeat_and_delays_the_next_probe() -> None:
    state = replace(running(RULES, 1), recovery=replace(running(RULES).recovery, next=T - 1))
    state = after(state, (T, PAUSE), (T + 60, ResumeAsked()), (T + 61, ResumeAsked()), (T + 62, Tick()))
    assert state.pause is None
    assert state.switch is None, "the next probe comes after its wait"
    assert len(fields(state, EventKind.RESUMED)) == 1


def test_another_pause_replaces_the_first_and_keeps_its_beginning() -> None:
    state = after(running(RULES), (T, PauseAsked(T + 60, "a")), (T + 30, PauseAsked(None, "b")))
    assert state.pause == OperatorPause(T, None, "b")


def test_a_pause_keeps_its_length_where_the_clock_is_set_back() -> None:
    state = after(running(RULES), (T, PauseAsked(T + 600, "a")), (T - 86400, Tick()))
    assert state.pause == OperatorPause(T - 86400, T - 86400 + 600, "a")


# By the clock


EVENING = capped(hours("18:00-23:30", 2, "tinyllama:1.1b"))


def test_at_the_hour_the_fleet_moves_down_and_says_why() -> None:
    state = after(running(EVENING), (at("17:59:59"), Tick()), rules=EVENING)
    assert (state.hours, state.switch) == (None, None)
    state = after(state, (at("18:00"), Tick()), rules=EVENING)
    assert state.hours is not None
    assert (state.hours.model, state.hours.rung, state.hours.until) == ("tinyllama:1.1b", 2, at("23:30"))
    assert state.switch is not None
    assert (state.switch.target, state.switch.by_hand) == (2, False)
    assert state.switch.why == "[[hours]] allow no model above tinyllama:1.1b now"
    assert fields(state, EventKind.HOURS) == [{"model": "tinyllama:1.1b", "until": at("23:30")}]
    state = carried_out(state, at("18:00:05"), EVENING)
    assert state.ceiling is None, "the cap is apart from the ceiling"


def evening_fleet(rules: Rules = EVENING, state: FleetState | None = None) -> FleetState:
    """Return a fleet that a cap has moved down at 18:00, and that was seen at 23:00."""
    state = after(state or running(rules), (at("18:00"), Tick()), rules=rules)
    return after(carried_out(state, at("18:00:05"), rules), (at("23:00"), Tick()), rules=rules)


def test_below_the_cap_it_stays_and_says_so() -> None:
    state = evening_fleet()
    assert (state.current_model_index, state.switch) == (2, None)
    assert outlook(state, EVENING).why == "[[hours]] or the reserve of GPU memory allow no larger model now"


@pytest.mark.parametrize("field", ["hours", "reserve"])
def test_no_larger_model_is_promised_while_a_cap_pauses_the_fleet(field: str) -> None:
    caps = {"hours": HoursCap("none", None, T), "reserve": ReserveCap(None, T)}
    found = outlook(replace(running(RULES, 2), **{field: caps[field]}), RULES)
    assert (found.next, found.rung) == (None, None)
    assert found.why == "the fleet is paused by [[hours]] or the reserve of GPU memory"


def test_when_the_cap_ends_the_rung_before_it_is_tried_at_once_without_the_back_off() -> None:
    state = evening_fleet()
    state = replace(
        state, recovery=replace(state.recovery, wait=3600.0, next=at("23:00") + 7200, failed=(0,))
    )
    state = after(state, (at("23:30"), Tick()), rules=EVENING)
    assert state.hours is None
    assert state.switch is not None
    assert (state.switch.kind, state.switch.target) == (SwitchKind.PROBE, 0)
    assert state.switch.why == "the cap has ended"
    assert carried_out(state, at("23:31"), EVENING).current_model_index == 0


def test_also_a_pinned_fleet_and_one_without_probes_come_back_and_climb_no_further() -> None:
    for rules, start in [
        (EVENING, running(EVENING, 1, pinned=True, ceiling=1)),
        (capped(hours("18:00-23:30", 2), recover_after=0.0), running(EVENING, 1)),
    ]:
        state = evening_fleet(rules, start)
        assert state.current_model_index == 2, "a cap moves a pinned fleet too"
        state = carried_out(after(state, (at("23:30"), Tick()), rules=rules), at("23:31"), rules)
        assert (state.current_model_index, state.displaced) == (1, None)
        assert after(state, *[(at("23:59") + 3600 * n, Tick()) for n in range(9)], rules=rules).switch is None


@pytest.mark.parametrize(("lifted", "rung"), [("23:30", 1), (None, 2)], ids=["back", "down"])
def test_a_pinned_fleet_that_a_cap_moved_is_reported_and_stays_when_its_model_fails(
    lifted: str | None, rung: int
) -> None:
    """The cap's own move and the way back from it are automatic; a failure of their model moves no pinned fleet."""
    start = after(running(EVENING, 1, pinned=True, ceiling=1), (at("18:00"), Tick()), rules=EVENING)
    if lifted is not None:
        start = carried_out(start, at("18:01"), EVENING)
    moment = at(lifted or "18:01")
    state = after(start, (moment, Tick()), rules=EVENING)
    state = carried_out(state, moment, EVENING, until=SwitchPhase.VERIFY)
    failures = [
        CallEnded(moment + seconds, state.switches, answered=False, memory=True, started=moment + seconds)
        for seconds in (1, 8)
    ]
    state = after(state, *[(failed.time, failed) for failed in failures], rules=EVENING)
    assert (state.switch, state.current_model_index, state.pinned) == (None, rung, True)
    next_steps = [event.fields["next"] for event in state.events if event.kind is EventKind.VERIFY_FAILED]
    assert next_steps == ["one retry follows", "it was pinned and stays"]


@pytest.mark.parametrize("ended_by", [PullFailed, PauseAsked])
def test_a_move_to_a_cap_that_was_never_made_leaves_no_way_back(ended_by: type[Fact]) -> None:
    """A later downgrade has another reason: the end of the cap is none to try the larger model again."""
    rules = capped(hours("18:00-23:30", 2), recover_after=0.0)
    state = after(running(rules, 1), (at("18:00"), Tick()), rules=rules)
    assert (state.displaced, state.switch and state.switch.target) == (1, 2)
    number = 0 if state.switch is None else state.switch.number
    fact = PullFailed(number, "no") if ended_by is PullFailed else PauseAsked(at("23:35"), "why")
    state = after(state, (at("18:01"), fact), (at("23:36"), Tick()), rules=rules)
    assert (state.displaced, state.switch, state.current_model_index) == (None, None, 1)
    state = carried_out(after(state, *incidents(at("23:40")), rules=rules), at("23:41"), rules)
    assert state.current_model_index == 2
    assert after(state, *[(at("23:50") + 3600 * n, Tick()) for n in range(3)], rules=rules).switch is None


@pytest.mark.parametrize("pinned", [False, True])
def test_a_move_to_a_cap_that_ends_before_the_commit_is_dropped(pinned: bool) -> None:
    state = after(running(EVENING, 1, pinned=pinned), (at("18:00"), Tick()), rules=EVENING)
    assert state.switch is not None
    assert state.switch.phase is SwitchPhase.PULL
    state = after(state, (at("23:29"), Tick()), rules=EVENING)
    assert state.switch is not None, "the cap is still in force, and the pull lasts"
    state = after(state, (at("23:30"), Tick()), rules=EVENING)
    assert (state.switch, state.displaced, state.current_model_index) == (None, None, 1)
    assert len(fields(state, EventKind.SWITCH_SUPERSEDED)) == 1


def test_without_probes_a_failed_return_is_not_repeated() -> None:
    rules = capped(hours("18:00-23:30", 2), recover_after=0.0)
    state = after(evening_fleet(rules), (at("23:30"), Tick()), rules=rules)
    state = carried_out(state, at("23:30"), rules, until=SwitchPhase.TRIAL)
    assert state.switch is not None
    state = after(
        state, (at("23:31"), TrialEnded(state.switch.number, passed=False, reason="no")), rules=rules
    )
    before = state.last_event_number
    state = after(state, *[(at("23:32") + 3600 * n, Tick()) for n in range(6)], rules=rules)
    assert (state.switch, state.last_event_number) == (None, before)


def test_without_probes_the_way_back_waits_for_a_model_that_is_being_pulled() -> None:
    rules = capped(hours("18:00-23:30", 2), recover_after=0.0)
    state = after(evening_fleet(rules), (at("23:30"), Tick()), rules=rules)
    assert state.switch is not None
    deferred = PullFailed(state.switch.number, "it is pulled in the background", deferred=True)
    state = after(state, (at("23:31"), deferred), rules=rules)
    state = after(state, *[(at("23:32") + 30 * n, Tick()) for n in range(9)], rules=rules)
    assert (state.switch, state.displaced) == (None, 0)
    model = rules.ladder[0].model
    state = after(state, (at("23:40"), PrefetchDone(model)), (at("23:40"), Tick()), rules=rules)
    assert state.switch is not None
    assert state.switch.target == 0


def test_a_ceiling_chosen_by_hand_holds_beside_the_cap() -> None:
    state = evening_fleet(EVENING, running(EVENING, 1, ceiling=1))
    state = after(state, (at("23:30"), Tick()), rules=EVENING)
    assert state.switch is not None
    assert state.switch.target == 1


@pytest.mark.parametrize("command", [Command(SwitchKind.USE, 0), Command(SwitchKind.UPGRADE)])
def test_no_command_goes_above_the_cap(command: Command) -> None:
    with pytest.raises(
        SwitchError, match=r"above the cap: \[\[hours\]\] allow no model above tinyllama"
    ) as caught:
        after(evening_fleet(), (at("23:10"), command), rules=EVENING)
    assert caught.value.hint


def test_reset_goes_as_high_as_the_cap_allows() -> None:
    state = carried_out(
        after(evening_fleet(), (at("23:01"), Command(SwitchKind.DOWNGRADE)), rules=EVENING), T, EVENING
    )
    state = after(state, (at("23:10"), Command(SwitchKind.RESET)), rules=EVENING)
    assert state.switch is not None
    assert (state.switch.target, state.ceiling) == (2, None)


def test_a_probe_under_way_to_a_rung_above_the_cap_is_dropped() -> None:
    rules = capped(hours("18:00-23:30", 1))
    state = replace(running(rules, 1), recovery=replace(running(rules).recovery, next=at("17:00")))
    state = after(state, (at("17:59:50"), Tick()), rules=rules)
    assert state.switch is not None
    assert after(state, (at("18:00"), Tick()), rules=rules).switch is None


def test_a_hold_does_not_delay_the_move_and_a_model_that_is_not_there_holds_the_generator() -> None:
    state = after(running(EVENING), (at("17:59"), Tick()), rules=EVENING)
    state = after(replace(state, hold=Hold(at("18:10"), 1, "why")), (at("18:00"), Tick()), rules=EVENING)
    assert state.switch is not None
    state = after(state, (at("18:01"), PullFailed(state.switch.number, "no network")), rules=EVENING)
    assert state.hold is not None
    assert "none is here: no network" in state.hold.why
    assert after(state, (state.hold.until, Tick()), rules=EVENING).switch is not None


LEFT_ALONE = capped(hours("18:00-20:00", None), hours("19:00-23:00", 2))


def test_a_cap_that_ends_during_a_probe_keeps_the_way_home() -> None:
    home = Recovery(1200.0, at("15:00"), (), at("14:05"), 3, home_on_cpu=True)
    probing = replace(running(RULES, 3), recovery=home)
    state = after(probing, (at("13:59"), Tick()), rules=capped(hours("10:00-14:00", None)))
    assert state.hours is not None
    state = after(state, (at("14:00"), Tick()), rules=capped(hours("10:00-14:00", None)))
    assert state.hours is None
    assert (state.recovery.home_rung, state.recovery.home_on_cpu) == (3, True)
    assert state.recovery.probation is not None
    assert state.recovery.wait == RULES.policy.recover_after


def test_none_pauses_and_the_next_cap_follows() -> None:
    state = after(running(LEFT_ALONE), (at("18:00"), Tick()), rules=LEFT_ALONE)
    found = state.paused(at("18:00"))
    assert found is not None
    assert (found.by, found.until, found.why) == (
        PausedBy.HOURS,
        at("20:00"),
        "[[hours]] leaves the GPU alone",
    )
    assert state.switch is None
    with pytest.raises(SwitchError, match=r"no pause by hand, but \[\[hours\]\]"):
        after(state, (at("19:00"), ResumeAsked()), rules=LEFT_ALONE)
    state = after(state, (at("20:00"), Tick()), rules=LEFT_ALONE)
    assert state.paused(at("20:00")) is None
    assert state.switch is not None
    assert state.switch.target == 2


def test_a_pause_by_hand_and_the_hours_add_up() -> None:
    state = after(
        running(LEFT_ALONE),
        (at("17:00"), PauseAsked(at("19:00"), "")),
        (at("18:00"), Tick()),
        rules=LEFT_ALONE,
    )
    found = state.paused(at("18:30"))
    assert found is not None
    assert found.by is PausedBy.OPERATOR
    state = after(state, (at("19:00"), Tick()), rules=LEFT_ALONE)
    found = state.paused(at("19:00"))
    assert found is not None
    assert found.by is PausedBy.HOURS


def test_rows_that_are_taken_out_of_the_configuration_end_their_cap() -> None:
    state = after(evening_fleet(), (at("23:01"), Tick()), rules=RULES)
    assert state.hours is None
    assert state.switch is not None


def test_a_machine_that_slept_through_the_end_or_wakes_within_a_cap_is_right_at_once() -> None:
    state = after(evening_fleet(), (at("23:00") + 5 * 3600, Tick()), rules=EVENING)
    assert (state.hours, state.switch is not None) == (None, True)
    state = after(running(EVENING), (at("17:00"), Tick()), (at("21:00") + 86400, Tick()), rules=EVENING)
    assert (state.hours is not None, state.switch is not None) == (True, True)


# By the card


def looks(
    state: FleetState, count: int, gigabytes: float, now: float = T, loaded: int | None = None
) -> FleetState:
    seen = CardSeen(int(gigabytes * GIGABYTE), loaded)
    return after(state, *[(now + n, seen) for n in range(count)], rules=RESERVE)


def test_two_looks_move_nothing_and_the_third_moves_to_a_rung_that_leaves_it() -> None:
    state = after(looks(running(RESERVE), 2, 1.5), (T + 3, Tick()), rules=RESERVE)
    assert (state.cap, state.switch) == (0, None)
    state = after(looks(state, 1, 1.5), (T + 4, Tick()), rules=RESERVE)
    assert state.switch is not None
    assert state.switch.target == 2
    assert state.switch.why == "no model above tinyllama:1.1b leaves the reserve of GPU memory free"
    assert fields(state, EventKind.RESERVE) == [{"model": "tinyllama:1.1b", "lower": True}]


def test_looks_count_in_a_row() -> None:
    state = running(RESERVE)
    for gigabytes in (1.5, 1.5, 4.0, 1.5, 1.5):
        state = looks(state, 1, gigabytes)
    assert state.cap == 0
    assert looks(running(RESERVE), 5, 4.0).reserve is None, "where all is well nothing stands in the state"


def a_game() -> FleetState:
    """Return a fleet that a game has moved to rung 2."""
    state = after(looks(running(RESERVE), 3, 1.5), (T + 4, Tick()), rules=RESERVE)
    return carried_out(state, T + 5, RESERVE)


def test_where_no_rung_leaves_it_the_fleet_pauses_and_comes_back() -> None:
    state = looks(a_game(), 3, 0.2)
    found = state.paused(T + 9)
    assert found is not None
    assert found.by is PausedBy.RESERVE
    assert looks(state, 2, 4.0).paused(T + 9) is not None
    state = looks(state, 3, 1.5)
    assert state.paused(T + 9) is None
    assert (state.cap, state.current_model_index) == (2, 2)


def test_when_there_is_room_again_larger_models_are_tried_at_once() -> None:
    state = after(looks(a_game(), 2, 4.0, T + 60), (T + 62, Tick()), rules=RESERVE)
    assert state.switch is None
    state = after(looks(state, 1, 4.0, T + 63), (T + 64, Tick()), rules=RESERVE)
    assert (state.reserve, state.switch is not None) == (None, True)
    assert carried_out(state, T + 70, RESERVE).current_model_index == 0


def test_a_larger_rung_needs_a_margin_so_that_the_fleet_does_not_move_to_and_fro() -> None:
    assert looks(a_game(), 9, 2.1).cap == 2
    assert looks(a_game(), 9, 2.3).cap == 1


def test_what_the_loaded_model_takes_counts_and_not_what_it_was_thought_to_need() -> None:
    assert looks(running(RESERVE), 3, 3.1, loaded=int(3.3 * GIGABYTE)).cap == 1
    assert looks(running(RESERVE), 3, 2.9, loaded=int(2.8 * GIGABYTE)).cap == 0


def test_a_ladder_that_is_not_in_order_moves_to_a_smaller_need_below() -> None:
    """phi3:mini needs more than llama3.2:3b above it: on it, the move is down."""
    rules = replace(RESERVE, needs=(2 * GIGABYTE, 3 * GIGABYTE, GIGABYTE, GIGABYTE // 2))
    seen = CardSeen(int(2.5 * GIGABYTE))
    assert after(running(rules, 1), *[(T, seen)] * 3, rules=rules).cap == 2


def test_readings_during_a_switch_and_a_model_on_the_cpu_do_not_count() -> None:
    state = after(running(RESERVE), (T, Command(SwitchKind.DOWNGRADE)), rules=RESERVE)
    assert looks(state, 5, 0.1).reserve is None
    assert looks(running(RESERVE, 3, on_cpu=True), 5, 0.1).paused(T) is None


def test_a_card_that_can_no_longer_be_read_caps_nothing_for_ever() -> None:
    state = after(a_game(), *[(T + 60, CardSeen(None))] * 2, rules=RESERVE)
    assert state.cap == 2
    state = after(state, (T + 62, CardSeen(None)), rules=RESERVE)
    assert state.reserve is None
    event = next(event for event in reversed(state.events) if event.kind is EventKind.RESERVE)
    assert sentence(event) == "the card cannot be read any more: the reserve of GPU memory is not kept"


def test_without_a_reserve_in_the_configuration_its_cap_ends() -> None:
    assert after(a_game(), (T + 60, CardSeen(None)), rules=RULES).reserve is None
    assert a_game().reserve is not None


# A year


@pytest.mark.slow
def test_a_year_of_hours_on_a_simulated_clock() -> None:
    """At every check the fleet stands where the hours allow it, and without a cap it is back on top at once."""
    rules = capped(
        hours("mon-fri 18:00-23:30", 2), hours("sat,sun 10:00-23:00", 1), hours("sun 20:00-06:00", None)
    )
    now, end = at("00:00"), at("00:00") + 366 * 86400
    chance, state, seen = Random(3), running(rules), Counter[int | None]()
    while now < end:
        # A check every three hours, and at each end of a cap; sometimes the machine sleeps.
        wait = 10800.0 if chance.random() < 0.98 else chance.uniform(3600, 2 * 86400)
        due = state.hours.until if state.hours is not None else None
        now = due if due is not None and due < now + wait else now + wait
        state = after(state, (now, Tick()), rules=rules)
        if state.paused(now) is None:
            state = carried_out(state, now, rules)
            assert state.current_model_index == state.cap
        seen[state.hours.rung if state.hours is not None else 0] += 1
        state = replace(state, events=())
    assert {rung for rung, count in seen.items() if count > 100} == {0, 1, 2, None}


def test_a_pause_frees_once_also_over_a_restart() -> None:
    rest = running(RULES)
    paused = replace(rest, pause=OperatorPause(T, T + 60, ""))
    assert not must_free(rest, T)
    assert must_free(paused, T)
    freed = decode_state(encode_state(with_freed(paused, T), T))
    assert not must_free(freed, T + 30)
    assert not must_free(freed, T + 61)
    assert must_free(replace(freed, pause=OperatorPause(T + 100, None, "")), T + 100)
    both = replace(freed, hours=HoursCap("none", None, T + 30, T + 999))
    assert not must_free(both, T + 30), "one pause goes on in the other"


def test_a_pause_that_outlasts_an_earlier_one_frees_no_second_time() -> None:
    """Another client may have loaded a model since."""
    rules = capped(hours("10:00-11:00", None))
    paused = replace(running(rules), pause=OperatorPause(at("09:30"), at("10:30"), ""))
    state = with_freed(paused, at("09:30"))
    for time in ("10:00", "10:30", "10:45"):
        state = after(decode_state(encode_state(state, T)), (at(time), Tick()), rules=rules)
        assert not must_free(state, at(time))
    assert state.pause is None
    assert must_free(replace(state, pause=OperatorPause(at("12:00"), None, ""), hours=None), at("12:00"))
