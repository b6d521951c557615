"""Each sentence of the policy, held to cases: what counts, when it moves, where to, what it never does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import PolicySettings
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import (
    CallEnded,
    Command,
    Fact,
    IncidentSeen,
    ModelPresent,
    PrefetchDone,
    PrefetchFailed,
    PullFailed,
    Restarted,
    RestartFailed,
    SpillFound,
    Tick,
    TrialEnded,
    Unpin,
    VerifyEnded,
)
from fleet.policy.recovery import outlook
from fleet.policy.rules import Rules
from fleet.policy.state import (
    FROM_ORIGINAL,
    CountedIncident,
    FleetState,
    PastSwitch,
    Recovery,
    SwitchKind,
    SwitchPhase,
)
from fleet.policy.switch_phases import second_chance_at
from fleet.runtime.errors import SwitchError
from tests.reference.histories import running

T = 1_800_000_000.0
GB = 1024**3
RULES = Rules()


def rules(**settings: object) -> Rules:
    return Rules(policy=PolicySettings(**settings))  # type: ignore[arg-type]


def incident(time: float, name: str = "", **changes: Any) -> IncidentSeen:
    fact = IncidentSeen(name or f"at {time}", time, "allocation", "hard", counts=True)
    return replace(fact, **changes)


def after(state: FleetState, *facts: tuple[float, Fact], rules: Rules = RULES) -> FleetState:
    for now, fact in facts:
        state = decide(state, fact, now, rules).state
    return state


def seen(state: FleetState, *times: float, rules: Rules = RULES) -> FleetState:
    return after(state, *((time, incident(time)) for time in times), rules=rules)


def carried_out(
    state: FleetState, now: float, rules: Rules = RULES, *, until: SwitchPhase | None = None
) -> FleetState:
    """Take the switch under way through its phases, up to one or to its end."""
    while state.switch is not None and state.switch.phase is not until:
        number = state.switch.number
        fact: Fact
        match state.switch.phase:
            case SwitchPhase.PULL:
                fact = ModelPresent(number)
            case SwitchPhase.TRIAL:
                fact = TrialEnded(number, passed=True)
            case SwitchPhase.RESTART:
                fact = Restarted(number)
            case SwitchPhase.VERIFY:
                fact = CallEnded(now, state.switches, answered=True)
        state = decide(state, fact, now, rules).state
    return state


def target(state: FleetState) -> int | None:
    return None if state.switch is None else state.switch.target


def emitted(state: FleetState, kind: EventKind) -> list[dict[str, object]]:
    return [dict(event.fields) for event in state.events if event.kind is kind]


# 1. What counts


@pytest.mark.parametrize(
    ("times", "now", "moves"),
    [
        ((0, 100, 200), 200, True),
        ((0, 300, 600), 600, True),
        ((0, 0, 0), 0, True),
        ((0, 100), 100, False),
    ],
    ids=["within", "the window's edge is included", "all at once", "two are not three"],
)
def test_three_incidents_within_the_window_move_down(
    times: tuple[float, ...], now: float, moves: bool
) -> None:
    state = running(RULES, last_finished=T - 1)
    for number, time in enumerate(times):
        state = after(state, (T + time, incident(T + time, f"i{number}")))
    assert (target(state) == 1) is moves
    assert now == times[-1]


def test_incidents_further_apart_than_the_window_do_not_add_up_where_calls_are_answered_between() -> None:
    state = running(RULES)
    for number in range(6):
        at = T + number * 301
        state = after(state, (at, incident(at)), (at + 1, CallEnded(at + 1, 0, answered=True)))
    assert state.switch is None
    assert state.vram_error_count == 2


def test_incidents_in_a_row_count_however_far_apart() -> None:
    assert target(seen(running(RULES), T, T + 3600, T + 7200)) == 1


def test_an_answer_ends_the_row() -> None:
    answered = CallEnded(T + 4000, 0, answered=True)
    state = seen(after(seen(running(RULES), T, T + 3600), (T + 4000, answered)), T + 7200)
    assert state.switch is None
    assert state.vram_error_count == 1


def test_an_answer_that_is_told_late_does_not_reopen_the_row() -> None:
    answers = [CallEnded(T + 10, 0, answered=True), CallEnded(T + 5, 0, answered=True)]
    state = after(seen(running(RULES), T + 8), *((T + 11, fact) for fact in answers))
    assert seen(state, T + 3600, T + 7200).switch is None


def test_a_call_of_another_switch_is_no_answer() -> None:
    state = seen(running(RULES, switches=4), T, T + 3600)
    assert target(seen(after(state, (T + 4000, CallEnded(T + 4000, 3, answered=True))), T + 7200)) == 1


def test_an_originals_count_stands_until_its_window_ends() -> None:
    taken = running(RULES, vram_error_count=2, incidents=(CountedIncident(T, FROM_ORIGINAL),) * 2)
    assert target(seen(taken, T + 600)) == 1
    late = after(taken, (T + 601, Tick()))
    assert late.vram_error_count == 0
    assert seen(late, T + 602).switch is None


def test_times_later_than_now_count_as_now() -> None:
    state = after(running(RULES, last_finished=T - 9000), (T, incident(T + 5000, "next_probe")))
    assert state.vram_error_count == 1
    assert (
        after(state, (T + 601, Tick()), (T + 601, CallEnded(T + 601, 0, answered=True))).vram_error_count == 0
    )


def test_what_does_not_count_is_told_with_its_reason() -> None:
    fact = incident(T, counts=False, reason="another client's", model="other:7b")
    state = after(running(RULES), (T, fact))
    assert state.vram_error_count == 0
    assert emitted(state, EventKind.INCIDENT)[0]["reason"] == "another client's"


def test_the_same_incident_counts_once_also_after_a_switch_and_after_a_hold() -> None:
    state = after(running(RULES), (T, incident(T, "one")), (T + 1, incident(T, "one")))
    assert state.vram_error_count == 1
    alone = Rules(Ladder([Rung(0, "only:1b")]), PolicySettings(threshold=1))
    held = after(running(alone), (T, incident(T, "one")), (T + 70, incident(T, "one")), rules=alone)
    assert emitted(held, EventKind.HELD) == [emitted(held, EventKind.HELD)[0]]
    assert emitted(held, EventKind.INCIDENT)[1]["reason"] == "counted already"


def test_a_threshold_above_two_hundred_is_reached() -> None:
    high = rules(threshold=250)
    state = running(high)
    for number in range(250):
        state = after(state, (T + number / 10, incident(T + number / 10)), rules=high)
    assert target(state) == 1


# The cool-down

SWITCHED = PastSwitch(SwitchKind.DOWNGRADE, "llama3.2:3b", "phi3:mini", T, "why")


@pytest.mark.parametrize(
    ("at", "changes", "counts"),
    [
        (-1.5, {"model": "phi3:mini"}, False),
        (-0.5, {"model": "phi3:mini"}, True),
        (-0.5, {}, False),
        (5, {"model": "llama3.2:3b"}, False),
        (5, {"model": "LLAMA3.2:3B"}, False),
        (5, {"model": "phi3:mini"}, True),
        (5, {"cause": "not_recovered", "kind": "soft"}, False),
        (5, {}, False),
        (5, {"load_began": T - 1}, False),
        (5, {"load_began": T + 1}, True),
        (5, {"load_began": T + 1, "kind": "soft", "cause": "not_recovered"}, False),
        (30, {}, True),
        (30, {"model": "llama3.2:3b"}, True),
    ],
)
def test_in_the_cool_down_the_old_models_last_words_do_not_count(
    at: float, changes: dict[str, Any], counts: bool
) -> None:
    state = running(RULES, 1, switches=1, last_switch=SWITCHED)
    state = after(state, (T + max(at, 0), incident(T + at, **changes)))
    assert state.vram_error_count == counts


def test_without_a_cool_down_a_stamp_of_whole_seconds_loses_no_failure() -> None:
    """A line without a stamp goes by the last one's, which may lie up to a second back."""
    none = rules(cool_down=0.0)
    state = running(none, 1, switches=1, last_switch=SWITCHED)
    assert after(state, (T + 0.4, incident(T - 0.6)), rules=none).vram_error_count == 1
    assert after(state, (T + 0.4, incident(T - 1.6)), rules=none).vram_error_count == 0


def test_the_cool_down_goes_by_when_it_happened_and_not_by_when_it_was_read() -> None:
    state = running(RULES, 1, switches=1, last_switch=SWITCHED)
    assert after(state, (T + 500, incident(T + 5))).vram_error_count == 0


@pytest.mark.parametrize(("load_began", "counts"), [(T - 1, False), (T + 1, True), (None, True)])
def test_between_two_rungs_of_one_model_the_load_tells_whose_words_they_are(
    load_began: float | None, counts: bool
) -> None:
    shrunk = Rules(Ladder([Rung(0, "m:7b"), Rung(1, "m:7b", options={"num_ctx": 2048})]))
    state = running(shrunk, 1, switches=1, last_switch=replace(SWITCHED, source="m:7b", target="m:7b"))
    state = after(state, (T + 5, incident(T + 5, model="m:7b", load_began=load_began)), rules=shrunk)
    assert state.vram_error_count == counts


def test_failures_count_at_once_after_the_clock_was_set_back() -> None:
    state = running(RULES, 1, switches=1, last_switch=SWITCHED, last_finished=T)
    back = T - 7200
    for number in range(4):
        at = back + 40 * number
        state = after(state, (at + 0.1, incident(at, model="phi3:mini")))
    assert target(state) == 2


def test_a_hold_and_a_wait_do_not_grow_when_the_clock_is_set_back() -> None:
    alone = Rules(Ladder([Rung(0, "only:1b")]), PolicySettings(threshold=1))
    held = after(running(alone), (T, incident(T)), rules=alone)
    back = after(held, (T - 7200, Tick()), rules=alone)
    assert back.hold is not None
    assert back.hold.until == T - 7200 + 60
    waiting = after(running(RULES, 2), (T, Tick()), (T - 7200, Tick()))
    assert target(after(waiting, (T - 7200 + 661, Tick()))) == 1


def test_a_wait_beyond_the_cap_of_a_changed_configuration_is_the_cap() -> None:
    shorter = rules(recover_after=600.0, recover_cap=1800.0)
    kept = Recovery(6 * 3600.0, T + 6 * 3600.0)
    state = after(running(shorter, 2, recovery=kept), (T, Tick()), rules=shorter)
    assert (state.recovery.wait, state.recovery.next) == (1800.0, T + 1800 * 1.1)


# 2. At the threshold


def test_the_commit_sets_the_count_to_zero_and_counts_the_switch() -> None:
    state = carried_out(seen(running(RULES), T, T + 1, T + 2), T + 3, until=SwitchPhase.RESTART)
    assert (state.current_model, state.vram_error_count, state.switches) == ("phi3:mini", 0, 1)
    assert state.incidents == ()
    assert state.last_switch is not None
    assert state.last_switch.why == "3 incidents, last of them allocation"


def test_a_rung_may_have_a_threshold_of_its_own() -> None:
    own = Rules(Ladder([Rung(0, "a:1", threshold=1), Rung(1, "b:1")]))
    assert target(seen(running(own), T, rules=own)) == 1


def test_with_a_dynamic_threshold_bigger_models_get_fewer_chances() -> None:
    dynamic = rules(threshold=4, dynamic_threshold=True)
    chances = [dynamic.threshold(rung) for rung in dynamic.ladder]
    assert chances == sorted(chances)
    assert chances[-1] == 4
    assert chances[0] < 4


@pytest.mark.parametrize(("answered", "failed", "moves"), [(9, 1, False), (1, 9, True), (5, 5, False)])
def test_enough_of_the_calls_have_to_fail(answered: int, failed: int, moves: bool) -> None:
    asking = rules(min_fail_share=0.5, threshold=1)
    calls = [CallEnded(T, 0, answered=True)] * answered + [CallEnded(T, 0, answered=False)] * failed
    state = after(running(asking), *((T, call) for call in calls), rules=asking)
    assert (seen(state, T + 1, rules=asking).switch is not None) is moves


def test_a_good_past_does_not_outweigh_failures_for_ever() -> None:
    asking = rules(min_fail_share=0.5, threshold=1)
    calls = [CallEnded(T, 0, answered=True)] * 5000 + [CallEnded(T, 0, answered=False)] * 120
    state = after(running(asking), *((T, call) for call in calls), rules=asking)
    assert target(seen(state, T + 1, rules=asking)) == 1


def test_while_a_switch_is_under_way_no_other_begins() -> None:
    state = seen(running(RULES), T, T + 1, T + 2, T + 3, T + 4, T + 5)
    assert len(emitted(state, EventKind.SWITCH_PLANNED)) == 1


# 3. The bottom


def test_at_the_bottom_the_generator_is_held_longer_each_time_until_an_answer() -> None:
    state, now, waits = running(RULES, 3), T, []
    for _ in range(7):
        state = seen(state, now, now + 1, now + 2)
        assert state.hold is not None
        waits.append(state.hold.until - (now + 2))
        now = state.hold.until + 1
    assert waits == [60, 120, 240, 480, 900, 900, 900]
    assert len(emitted(state, EventKind.HELD)) == 7
    assert after(state, (now, CallEnded(now, 0, answered=True))).hold is None


def test_a_hold_is_said_once_however_many_incidents_and_ticks_it_sees() -> None:
    state = seen(running(RULES, 3), T, T + 1, T + 2, T + 3, T + 4, T + 5, T + 6)
    state = after(state, *((T + second, Tick()) for second in range(7, 60)))
    assert len(emitted(state, EventKind.HELD)) == 1


def test_a_larger_model_that_was_tried_and_failed_leaves_the_wait_of_a_hold_as_it_was() -> None:
    quick = rules(recover_after=60.0)
    state = seen(running(quick, 3), T, T + 1, T + 2, rules=quick)
    state = after(state, (T + 120, Tick()), rules=quick)
    assert target(state) == 2
    state = carried_out(state, T + 121, quick, until=SwitchPhase.TRIAL)
    assert state.switch is not None
    failed = TrialEnded(state.switch.number, passed=False, reason="no memory")
    state = seen(after(state, (T + 125, failed), rules=quick), T + 130, T + 131, T + 132, rules=quick)
    assert state.hold is not None
    assert state.hold.until == T + 132 + 120


def test_cpu_runs_the_last_rung_without_the_gpu() -> None:
    cpu = rules(on_exhausted="cpu")
    state = carried_out(seen(running(cpu, 3), T, T + 1, T + 2, rules=cpu), T + 3, cpu)
    assert state.on_cpu
    assert state.current_options["num_gpu"] == 0
    assert state.current_model_index == 3
    assert seen(state, T + 40, T + 41, T + 42, rules=cpu).hold is not None


def test_from_the_cpu_the_fleet_climbs_back_and_returns_to_it_when_that_fails() -> None:
    cpu = rules(on_exhausted="cpu")
    state = carried_out(seen(running(cpu, 3), T, T + 1, T + 2, rules=cpu), T + 3, cpu)
    state = after(state, (T + 604, Tick()), rules=cpu)
    assert target(state) == 3
    state = carried_out(state, T + 605, cpu, until=SwitchPhase.RESTART)
    assert not state.on_cpu
    assert "num_gpu" not in state.current_options
    state = carried_out(state, T + 606, cpu)
    failing = incident(T + 620, model="qwen2.5:0.5b", load_began=T + 610)
    state = carried_out(after(state, (T + 620, failing), rules=cpu), T + 621, cpu)
    assert state.on_cpu
    assert state.current_model_index == 3


def test_reset_goes_to_the_top_but_not_past_the_ceiling() -> None:
    free = rules(on_exhausted="reset")
    assert target(seen(running(free, 3), T, T + 1, T + 2, rules=free)) == 0
    assert target(seen(running(free, 3, ceiling=2), T, T + 1, T + 2, rules=free)) == 2
    held = seen(running(free, 3, ceiling=3), T, T + 1, T + 2, rules=free)
    assert held.switch is None
    assert held.hold is not None


def test_more_switches_than_an_hour_allows_hold_and_say_so() -> None:
    state = running(RULES, 1, automatic=tuple(T - number for number in range(12)))
    state = seen(state, T, T + 1, T + 2)
    assert state.switch is None
    assert state.hold is not None
    assert "12 automatic switches" in state.hold.why
    assert target(seen(state, T + 3700, T + 3701, T + 3702)) == 2


def test_a_probe_leaves_room_for_its_way_back() -> None:
    tight = rules(max_switches_per_hour=3)
    waiting = running(tight, 2, automatic=(T - 1, T - 2))
    assert after(waiting, (T, Tick()), (T + 601, Tick()), rules=tight).switch is None
    roomy = running(tight, 2, automatic=(T - 1,))
    assert target(after(roomy, (T, Tick()), (T + 601, Tick()), rules=tight)) == 1


# 4. Pin and ceiling


def by_hand(
    state: FleetState, kind: SwitchKind, index: int | None = None, *, pin: bool = False
) -> FleetState:
    return carried_out(after(state, (T, Command(kind, index, pin))), T)


def test_a_pinned_fleet_counts_and_stays() -> None:
    state = by_hand(running(RULES), SwitchKind.USE, 1, pin=True)
    assert state.pinned
    state = seen(state, T + 40, T + 41, T + 42, T + 43)
    assert (state.vram_error_count, state.switch) == (4, None)
    assert after(state, (T + 9000, Tick()), (T + 20000, Tick())).switch is None
    assert after(state, (T + 50, SpillFound(0.1))).switch is None


@pytest.mark.parametrize(
    ("kind", "index", "ceiling"),
    [(SwitchKind.DOWNGRADE, None, 3), (SwitchKind.USE, 1, 1), (SwitchKind.UPGRADE, None, None)],
)
def test_a_choice_by_hand_sets_the_ceiling_and_going_up_lifts_it(
    kind: SwitchKind, index: int | None, ceiling: int | None
) -> None:
    assert by_hand(running(RULES, 2, ceiling=2), kind, index).ceiling == ceiling


def test_failures_move_down_from_the_ceiling_and_climbing_back_stops_at_it() -> None:
    state = by_hand(running(RULES), SwitchKind.USE, 1)
    state = carried_out(seen(state, T + 40, T + 41, T + 42), T + 43)
    assert (state.current_model_index, state.ceiling) == (2, 1)
    state = carried_out(after(state, (T + 700, Tick())), T + 701)
    assert state.current_model_index == 1
    assert after(state, (T + 9000, Tick()), (T + 20000, Tick())).switch is None


def test_reset_and_unpin_lift_pin_and_ceiling() -> None:
    chosen = by_hand(running(RULES), SwitchKind.USE, 2, pin=True)
    reset = by_hand(chosen, SwitchKind.RESET)
    assert (reset.current_model_index, reset.pinned, reset.ceiling) == (0, False, None)
    free = after(chosen, (T, Unpin()))
    assert (free.current_model_index, free.pinned, free.ceiling) == (2, False, None)
    assert target(after(free, (T + 601, Tick()))) == 1


def test_unpin_also_takes_the_pin_off_a_switch_that_is_under_way() -> None:
    state = after(running(RULES), (T, Command(SwitchKind.USE, 2, pin=True)), (T, Unpin()))
    assert not carried_out(state, T).pinned


@pytest.mark.parametrize(
    ("index", "command"),
    [
        (3, Command(SwitchKind.DOWNGRADE)),
        (0, Command(SwitchKind.UPGRADE)),
        (1, Command(SwitchKind.USE, 4)),
        (1, Command(SwitchKind.USE, -1)),
        (1, Command(SwitchKind.USE)),
    ],
)
def test_a_command_off_the_ladder_is_refused_with_a_hint(index: int, command: Command) -> None:
    with pytest.raises(SwitchError) as caught:
        decide(running(RULES, index), command, T, RULES)
    assert caught.value.hint


def test_a_command_for_where_the_fleet_stands_restarts_nothing() -> None:
    state = seen(running(RULES), T, T + 1)
    for command in (Command(SwitchKind.RESET), Command(SwitchKind.USE, 0)):
        stayed = after(state, (T + 2, command))
        assert (stayed.switch, stayed.vram_error_count, stayed.switches) == (None, 0, 0)


def test_a_command_supersedes_what_is_under_way() -> None:
    state = after(seen(running(RULES), T, T + 1, T + 2), (T + 3, Command(SwitchKind.USE, 3)))
    assert target(state) == 3
    assert emitted(state, EventKind.SWITCH_SUPERSEDED)[0]["by"] == "use"


# 5. What fits


def test_fits_skips_what_needs_no_less_and_what_is_more_than_free() -> None:
    fits = replace(rules(selection="fits"), needs=(3 * GB, 3 * GB, 2 * GB, 1 * GB), free=int(1.5 * GB))
    assert target(seen(running(fits), T, T + 1, T + 2, rules=fits)) == 3
    assert target(seen(running(fits), T, T + 1, T + 2, rules=replace(fits, free=None))) == 2
    assert target(seen(running(fits), T, T + 1, T + 2, rules=replace(fits, needs=()))) == 1


def test_next_takes_the_next_whatever_is_known() -> None:
    known = replace(RULES, needs=(3 * GB, 4 * GB, 2 * GB, 1 * GB), free=1 * GB)
    assert target(seen(running(known), T, T + 1, T + 2, rules=known)) == 1


# 6. Recovery


def probed(index: int = 2, rules: Rules = RULES) -> FleetState:
    return after(running(rules, index), (T, Tick()), (T + 600, Tick()), rules=rules)


def test_without_an_incident_the_nearest_rung_above_is_probed() -> None:
    assert target(after(running(RULES, 2), (T, Tick()), (T + 599, Tick()))) is None
    state = probed()
    assert target(state) == 1
    assert state.switch is not None
    assert state.switch.kind is SwitchKind.PROBE


def test_an_incident_begins_the_wait_anew() -> None:
    state = after(running(RULES, 2), (T, Tick()), (T + 500, incident(T + 500)), (T + 600, Tick()))
    assert state.switch is None
    assert target(after(state, (T + 1100, Tick()))) == 1


def test_never_probes_where_it_is_not_to() -> None:
    never = rules(recover_after=0.0)
    assert after(running(never, 2), (T, Tick()), (T + 99999, Tick()), rules=never).switch is None


def test_a_failed_trial_leaves_the_old_model_and_doubles_the_wait_up_to_the_cap() -> None:
    state, now, waits = probed(), T + 600, []
    for _ in range(6):
        assert state.switch is not None
        number = state.switch.number
        state = after(
            state, (now, ModelPresent(number)), (now, TrialEnded(number, passed=False, reason="no memory"))
        )
        assert (state.switch, state.current_model_index, state.switches) == (None, 2, 0)
        assert state.recovery.next is not None
        waits.append(state.recovery.next - now)
        now = state.recovery.next
        state = after(state, (now, Tick()))
    assert waits == [1200, 2400, 3600, 3600, 3600, 3600]


def test_one_that_failed_is_passed_over_for_a_smaller_one_above_it() -> None:
    state = probed(2)
    assert state.switch is not None
    number = state.switch.number
    state = after(
        state,
        (T + 600, ModelPresent(number)),
        (T + 600, TrialEnded(number, passed=False, reason="no memory")),
    )
    assert target(after(state, (T + 1800, Tick()))) == 0  # phi3:mini failed, and llama3.2:3b needs less


def test_what_needs_more_than_one_that_failed_has_no_turn_before_it() -> None:
    known = replace(RULES, needs=(4 * GB, 3 * GB, 2 * GB, 1 * GB))
    state = probed(2, known)
    assert state.switch is not None
    number = state.switch.number
    failed = TrialEnded(number, passed=False, reason="no memory")
    state = after(state, (T + 600, ModelPresent(number)), (T + 600, failed), (T + 1800, Tick()), rules=known)
    assert target(state) == 1


def test_what_cannot_fit_is_not_probed_and_costs_no_longer_wait() -> None:
    full = replace(RULES, needs=(4 * GB, 3 * GB, 2 * GB, 1 * GB), free=2 * GB)
    state = probed(2, full)
    assert state.switch is None
    assert target(after(state, (T + 1200, Tick()), rules=replace(full, free=3 * GB))) == 1


def test_a_probe_that_works_is_followed_by_the_next_one_after_the_cool_down() -> None:
    state = carried_out(probed(), T + 600)
    assert state.current_model_index == 1
    assert after(state, (T + 629, Tick())).switch is None
    assert target(after(state, (T + 630, Tick()))) == 0


def test_a_probe_whose_model_has_not_answered_is_not_followed_by_the_next_at_once() -> None:
    verifying = carried_out(probed(), T + 600, until=SwitchPhase.VERIFY)
    assert verifying.switch is not None
    eof = CallEnded(T + 610, verifying.switches, answered=False, reason="unexpected EOF")
    late = VerifyEnded(verifying.switch.number, "no call was answered in time")
    for fact in (eof, late):
        state = after(verifying, (T + 610, fact))
        assert state.switch is None
        assert "unverified" in str(emitted(state, EventKind.SWITCH_DONE)[-1]["result"])
        assert after(state, (T + 640, Tick())).switch is None
        assert target(after(state, (T + 1210, Tick()))) == 0


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (Command(SwitchKind.UPGRADE), TrialEnded(0, passed=False, reason="no memory")),
        (Command(SwitchKind.UPGRADE), PullFailed(0, "no network")),
        (Tick(), TrialEnded(0, passed=False, reason="no memory")),
        (Tick(), PullFailed(0, "no network")),
        (Tick(), PullFailed(0, "not yet", deferred=True)),
    ],
    ids=["upgrade tried", "upgrade pulled", "probe tried", "probe pulled", "probe's model on its way"],
)
def test_a_threshold_reached_while_another_model_is_tried_is_acted_on_when_that_fails(
    begins: Fact, ends: TrialEnded | PullFailed
) -> None:
    state = after(running(RULES, 1, recovery=Recovery(600.0, T)), (T, begins))
    assert state.switch is not None
    assert state.switch.target == 0
    number = state.switch.number
    if isinstance(ends, TrialEnded):
        state = after(state, (T + 1, ModelPresent(number)))
    state = after(state, *((T + at, incident(T + at, model="phi3:mini")) for at in (7, 8, 9)))
    assert (state.vram_error_count, target(state)) == (3, 0)
    state = after(state, (T + 20, replace(ends, switch=number)))
    assert target(state) == 2
    assert "3 incidents" in str(emitted(state, EventKind.SWITCH_PLANNED)[-1]["why"])


def test_a_threshold_reached_long_ago_moves_nothing_when_a_trial_fails() -> None:
    """Within the window it had counted; in between a call was answered."""
    state = after(running(RULES, 1), (T, Command(SwitchKind.UPGRADE)))
    assert state.switch is not None
    number = state.switch.number
    state = after(state, (T + 1, ModelPresent(number)))
    state = after(state, *((T + at, incident(T + at, model="phi3:mini")) for at in (7, 8, 9)))
    answered = CallEnded(T + 300, state.switches, answered=True)
    failed = TrialEnded(number, passed=False, reason="no memory")
    assert after(state, (T + 300, answered), (T + 900, failed)).switch is None


def test_a_rung_on_probation_stays_on_it_when_the_next_one_fails_and_survives_as_if_none_had() -> None:
    state = after(carried_out(probed(), T + 600), (T + 630, Tick()))
    assert state.switch is not None
    number = state.switch.number
    failed = TrialEnded(number, passed=False, reason="no memory")
    state = after(state, (T + 631, ModelPresent(number)), (T + 632, failed))
    assert (state.current_model_index, state.recovery.wait) == (1, 1200)
    assert target(after(state, (T + 650, incident(T + 650)))) == 2
    survived = after(state, (T + 1200, Tick()))
    assert (survived.switch, survived.recovery.wait) == (None, 600)
    assert target(after(survived, (T + 1232, Tick()))) == 0


def test_surviving_a_window_sets_the_wait_back_and_the_next_rung_has_its_turn() -> None:
    waited = replace(running(RULES, 2).recovery, wait=7200.0, next=T)
    state = carried_out(after(running(RULES, 2, recovery=waited), (T, Tick())), T)
    assert state.current_model_index == 1
    state = after(state, (T + 600, Tick()))
    assert state.recovery.wait == 600
    assert target(state) == 0


@pytest.mark.parametrize(
    "facts",
    [
        [incident(T + 650, kind="hard", model="phi3:mini")],
        [incident(T + at, kind="soft", cause="not_recovered") for at in (650, 660, 670)],
        [SpillFound(0.4)],
    ],
    ids=["one hard failure", "soft ones up to the threshold", "a spill"],
)
def test_a_probe_that_fails_in_its_first_window_goes_back_at_once_and_waits_twice_as_long(
    facts: list[Fact],
) -> None:
    state = carried_out(probed(), T + 600)
    assert state.current_model_index == 1
    state = after(state, *((getattr(fact, "time", T + 650), fact) for fact in facts))
    assert target(state) == 2
    state = carried_out(state, T + 671)
    assert state.recovery.wait == 1200
    assert after(state, (T + 1300, Tick())).switch is None


# Spills


def test_a_spill_moves_down_at_once_unless_it_is_only_to_be_reported_or_at_the_bottom() -> None:
    assert target(after(running(RULES), (T, SpillFound(0.5)))) == 1
    report = rules(on_spill="report")
    for state in (
        after(running(report), (T, SpillFound(0.5)), rules=report),
        after(running(RULES, 3), (T, SpillFound(0.5))),
    ):
        assert (state.switch, state.hold) == (None, None)
        assert emitted(state, EventKind.SPILL)[0]["outcome"] == "reported"


# The phases of a switch


def downgrade(until: SwitchPhase) -> FleetState:
    return carried_out(seen(running(RULES), T, T + 1, T + 2), T + 3, until=until)


def test_a_first_answer_that_comes_before_the_start_is_told_of_ends_the_switch_then() -> None:
    state = downgrade(until=SwitchPhase.RESTART)
    assert state.switch is not None
    state = after(state, (T + 4, CallEnded(T + 4, state.switches, answered=True)))
    assert state.switch is not None
    state = after(state, (T + 5, Restarted(state.switch.number)))
    assert state.switch is None
    assert emitted(state, EventKind.SWITCH_DONE)[-1]["result"] == "its first call was answered"


def test_an_answer_to_the_old_generator_does_not() -> None:
    state = downgrade(until=SwitchPhase.RESTART)
    assert state.switch is not None
    old = CallEnded(T + 4, state.switches - 1, answered=True)
    state = after(state, (T + 4, old), (T + 5, Restarted(state.switch.number)))
    assert state.switch is not None
    assert state.switch.phase is SwitchPhase.VERIFY


@pytest.mark.parametrize("kind", [SwitchKind.USE, SwitchKind.UPGRADE])
def test_use_and_upgrade_are_tried_before_they_are_committed(kind: SwitchKind) -> None:
    state = after(running(RULES, 2), (T, Command(kind, 1)))
    assert state.switch is not None
    number = state.switch.number
    state = after(state, (T, ModelPresent(number)))
    assert state.switch is not None
    assert (state.switch.phase, state.current_model_index) == (SwitchPhase.TRIAL, 2)
    refused = after(state, (T, TrialEnded(number, passed=False, reason="no memory")))
    assert (refused.switch, refused.current_model_index) == (None, 2)
    assert emitted(refused, EventKind.SWITCH_FAILED)[0]["reason"] == "no memory"


def test_without_a_canary_nothing_is_tried() -> None:
    bold = rules(canary=False)
    state = after(running(bold, 2), (T, Command(SwitchKind.USE, 1)), rules=bold)
    assert state.switch is not None
    assert after(state, (T, ModelPresent(state.switch.number)), rules=bold).current_model_index == 1


def test_what_fails_while_another_model_is_on_trial_is_that_ones_failure() -> None:
    state = after(running(RULES, 2), (T, Command(SwitchKind.USE, 1)))
    assert state.switch is not None
    state = after(state, (T, ModelPresent(state.switch.number)), (T + 1, incident(T + 1)))
    assert state.vram_error_count == 0


def test_if_a_pull_fails_the_next_rung_that_is_here_is_taken() -> None:
    state = seen(running(RULES), T, T + 1, T + 2)
    assert state.switch is not None
    number = state.switch.number
    assert target(after(state, (T + 3, PullFailed(number, "no room", present=(0, 2, 3))))) == 2
    stayed = after(state, (T + 3, PullFailed(number, "no room", present=(0, 1))))
    assert (stayed.switch, stayed.current_model_index, stayed.vram_error_count) == (None, 0, 0)
    assert seen(stayed, T + 10).switch is None


def test_a_model_that_fails_when_verified_gets_a_second_chance_and_then_goes_at_once() -> None:
    state = downgrade(SwitchPhase.VERIFY)
    failed = CallEnded(T + 4, 1, answered=False, memory=True)
    state = after(state, (T + 4, failed))
    assert target(state) == 1
    assert target(after(state, (T + 5, failed))) == 1  # the same failure, reported by another source
    moved = after(state, (T + 10, replace(failed, time=T + 10)))
    assert target(moved) == 2
    assert moved.switch is not None
    assert "lack of GPU memory" in moved.switch.why
    assert emitted(moved, EventKind.SWITCH_FAILED)[0]["to"] == "phi3:mini"


def test_a_time_out_is_no_memory_failure() -> None:
    state = downgrade(SwitchPhase.VERIFY)
    done = after(state, (T + 400, CallEnded(T + 400, 1, answered=False, reason="timed out")))
    assert (done.switch, done.current_model_index) == (None, 1)
    assert emitted(done, EventKind.SWITCH_DONE)[0]["result"] == "unverified: timed out"


def test_a_rung_chosen_by_hand_is_reported_and_not_moved() -> None:
    state = after(running(RULES), (T, Command(SwitchKind.USE, 1, pin=True)))
    state = carried_out(state, T, until=SwitchPhase.VERIFY)
    failed = CallEnded(T + 1, 1, answered=False, memory=True)
    state = after(state, (T + 1, failed), (T + 8, replace(failed, time=T + 8)))
    assert (state.switch, state.current_model_index, state.pinned) == (None, 1, True)
    assert len(emitted(state, EventKind.VERIFY_FAILED)) == 2


@pytest.mark.parametrize(
    "fact",
    [
        ModelPresent(0),
        PullFailed(0, "why", (2,)),
        TrialEnded(0, passed=True),
        Restarted(0),
        RestartFailed(0, "why"),
        VerifyEnded(0, "why"),
    ],
)
@pytest.mark.parametrize("phase", [SwitchPhase.PULL, SwitchPhase.RESTART, SwitchPhase.VERIFY])
def test_word_of_another_switch_changes_nothing(fact: Fact, phase: SwitchPhase) -> None:
    state = downgrade(phase)
    decision = decide(state, fact, T + 3, RULES)
    assert decision.state == state
    assert not decision.acts


def test_a_generator_that_does_not_come_up_is_told_and_the_switch_goes_on() -> None:
    state = downgrade(SwitchPhase.RESTART)
    assert state.switch is not None
    state = after(state, (T + 5, RestartFailed(state.switch.number, "it died")))
    assert state.switch is not None
    assert (state.switch.phase, state.switch.attempts) == (SwitchPhase.RESTART, 1)


def test_a_generator_that_a_person_stopped_is_not_waited_for() -> None:
    state = downgrade(SwitchPhase.RESTART)
    assert state.switch is not None
    assert after(state, (T + 5, Restarted(state.switch.number, stopped=True))).switch is None


def test_a_decision_says_whether_there_is_something_to_do() -> None:
    state = seen(running(RULES), T, T + 1)
    assert not decide(state, Tick(), T + 2, RULES).acts
    assert decide(state, incident(T + 2), T + 2, RULES).acts


# What is to come


def failed_once() -> FleetState:
    return running(RULES, 3, recovery=Recovery(1200.0, T + 1200, (2,)))


@pytest.mark.parametrize(
    ("state", "settings", "rung", "says"),
    [
        (running(RULES, 0), {}, None, "the largest model"),
        (running(RULES, 2, ceiling=2), {}, None, "chosen by hand"),
        (running(RULES, 2, pinned=True), {}, None, "pinned"),
        (running(RULES, 2), {"recover_after": 0.0}, None, "no probes"),
        (running(RULES, 2, recovery=Recovery(600.0, T + 600)), {}, 1, "after 10m without an incident"),
        (failed_once(), {}, 2, "tinyllama:1.1b failed, and the wait is 20m"),
    ],
    ids=["top", "ceiling", "pinned", "never", "waits", "failed"],
)
def test_it_says_when_the_next_try_comes_of_what_and_why(
    state: FleetState, settings: dict[str, Any], rung: int | None, says: str
) -> None:
    next_probe = outlook(state, rules(**settings))
    assert next_probe.rung == rung
    assert says in next_probe.why
    assert (next_probe.next is None) is (rung is None)


def test_where_nothing_above_can_fit_it_says_so() -> None:
    tight = Rules(needs=(4 * GB, 3 * GB, 2 * GB, GB), free=GB)
    next_probe = outlook(running(tight, 3, recovery=Recovery(600.0, T + 600)), tight)
    assert next_probe.rung is None
    assert next_probe.next == T + 600
    assert "no larger model fits" in next_probe.why


# Pulls that fail


def test_where_no_smaller_model_can_be_had_the_generator_is_held_longer_each_time() -> None:
    state = seen(running(RULES), T, T + 1, T + 2)
    assert state.switch is not None
    state = after(state, (T + 3, PullFailed(state.switch.number, "the registry is away")))
    assert state.switch is None
    assert state.hold is not None
    assert "the registry is away" in state.hold.why
    assert state.vram_error_count == 0
    first = state.hold.until - (T + 3)
    state = seen(state, T + 100, T + 101, T + 102)
    assert state.switch is not None
    state = after(state, (T + 103, PullFailed(state.switch.number, "the registry is away")))
    assert state.hold is not None
    assert state.hold.until - (T + 103) >= first


def test_a_probe_of_a_model_that_is_only_on_its_way_has_not_failed() -> None:
    state = running(RULES, 2, recovery=Recovery(600.0, T))
    state = after(state, (T, Tick()))
    assert state.switch is not None
    state = after(state, (T + 1, PullFailed(state.switch.number, "not yet", (2, 3), deferred=True)))
    assert state.switch is None
    assert state.recovery.failed == ()
    assert state.recovery.wait == 600.0
    assert state.recovery.next == T + 1 + 600
    assert state.behind == ("phi3:mini",)


def test_a_model_that_a_switch_skipped_is_tried_as_soon_as_it_is_here() -> None:
    waiting = Recovery(1200.0, T + 5000)
    state = running(RULES, 2, recovery=waiting, behind=("phi3:mini",))
    assert target(after(state, (T, PrefetchDone("phi3:mini")), (T + 1, Tick()))) == 1
    assert after(state, (T, PrefetchDone("qwen2.5:0.5b")), (T + 1, Tick())).switch is None
    assert after(replace(state, pinned=True), (T, PrefetchDone("phi3:mini")), (T + 1, Tick())).switch is None


@pytest.mark.parametrize(
    ("pinned", "here", "goes_to"), [(False, (2, 3), 2), (False, (), None), (True, (2,), None)]
)
def test_a_fleet_whose_own_model_cannot_be_had_goes_to_the_next_that_is_here(
    pinned: bool, here: tuple[int, ...], goes_to: int | None
) -> None:
    state = after(running(RULES, pinned=pinned), (T, PrefetchFailed("llama3.2:3b", "no such model", here)))
    assert target(state) == goes_to
    assert emitted(state, EventKind.PULL_FAILED)


# Verify


def test_a_call_that_began_before_the_first_failure_is_no_second_chance() -> None:
    state = carried_out(seen(running(RULES), T, T + 1, T + 2), T + 3, until=SwitchPhase.VERIFY)
    state = after(state, (T + 4, CallEnded(T + 4, 1, answered=False, memory=True, started=T + 3.5)))
    assert state.switch is not None
    assert second_chance_at(state) == T + 4 + 6
    number = state.switch.number
    late = CallEnded(T + 20, 1, answered=False, memory=True, started=T + 3.6)
    state = after(state, (T + 20, late))
    assert state.switch is not None
    assert state.switch.number == number
    again = CallEnded(T + 21, 1, answered=False, memory=True, started=T + 10.1)
    state = after(state, (T + 21, again))
    assert state.switch is not None
    assert state.switch.number != number
    assert target(state) == 2


# Rungs of one model


def test_under_fits_a_rung_with_fewer_layers_is_a_smaller_one() -> None:
    twice = Rules(
        Ladder([Rung(0, "m:7b"), Rung(1, "m:7b", options={"num_gpu": 10}), Rung(2, "m:1b")]),
        PolicySettings(selection="fits"),
        needs=(8 * GB, 3 * GB, GB),
    )
    state = seen(running(twice), T, T + 1, T + 2, rules=twice)
    assert target(state) == 1


def test_of_one_model_on_two_rungs_the_higher_needs_more_where_nobody_says() -> None:
    twice = Rules(Ladder([Rung(0, "m:7b"), Rung(1, "m:7b", options={"num_ctx": 2048}), Rung(2, "m:1b")]))
    assert twice.needs_at_least(0, 1)
    assert not twice.needs_at_least(1, 0)


def test_sizes_of_models_that_the_file_leaves_out_come_from_ollama() -> None:
    ladder = Ladder([Rung(0, "m:7b"), Rung(1, "m:1b", size=GB)])
    known = Rules(ladder, PolicySettings(dynamic_threshold=True), sizes=(4 * GB, 2 * GB))
    assert [known.size(0), known.size(1)] == [4 * GB, GB]
    assert [known.threshold(rung) for rung in ladder] == [2, 3]


# Found by the search of all states


def test_a_threshold_reached_while_pinned_is_acted_on_after_the_pin() -> None:
    state = seen(replace(running(RULES), pinned=True), T, T + 1, T + 2)
    assert target(state) is None
    unpinned = after(state, (T + 3, Unpin()))
    assert target(unpinned) is None, "a command is not answered with a switch"
    assert target(after(unpinned, (T + 4, Tick()))) == 1


@pytest.mark.parametrize(
    "end",
    [
        lambda state: VerifyEnded(state.switch.number, "no call was answered in time"),
        lambda state: CallEnded(T + 40, state.switches, answered=True),
    ],
    ids=["no answer", "an answer"],
)
def test_a_threshold_reached_during_a_verify_is_acted_on_at_its_end(
    end: Callable[[FleetState], Fact],
) -> None:
    state = after(running(RULES), (T, Command(SwitchKind.DOWNGRADE)))
    verifying = carried_out(state, T, until=SwitchPhase.VERIFY)
    soft = [incident(T + 31 + number, kind="soft", cause="not_recovered") for number in range(3)]
    counted = after(verifying, *((one.time, one) for one in soft))
    assert counted.switch == verifying.switch
    assert target(after(counted, (T + 41, end(counted)))) == 2


def test_a_probe_that_is_verified_for_longer_than_the_window_still_goes_home() -> None:
    settings = rules(window=30.0, canary=False)
    home = running(settings, 2, recovery=Recovery(600.0, T))
    verifying = carried_out(after(home, (T, Tick()), rules=settings), T, settings, until=SwitchPhase.VERIFY)
    assert verifying.current_model_index == 1
    state = after(verifying, (T + 60, Tick()), rules=settings)
    failed = CallEnded(T + 61, state.switches, answered=False, memory=True, started=T + 60.5)
    again = replace(failed, time=T + 70, started=T + 69)
    state = after(state, (T + 61, failed), (T + 70, again), rules=settings)
    assert target(state) == 2
    assert state.recovery.failed == (1,)


def test_a_restart_that_is_superseded_is_remembered_until_the_generator_runs() -> None:
    state = after(running(RULES), (T, Command(SwitchKind.DOWNGRADE)))
    restarting = carried_out(state, T, until=SwitchPhase.RESTART)
    assert restarting.restarting
    superseded = after(restarting, (T + 1, Command(SwitchKind.RESET)))
    assert superseded.restarting
    assert superseded.switch is not None
    failed = after(superseded, (T + 2, PullFailed(superseded.switch.number, "no such model")))
    assert failed.switch is None
    assert failed.restarting
    assert not carried_out(restarting, T, until=SwitchPhase.VERIFY).restarting
