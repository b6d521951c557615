"""What holds whatever happens: incidents, calls, commands, steps of switches and steps of the clock."""

import os
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings

from fleet.config.values import Reserve
from fleet.policy.decide import decide
from fleet.policy.events import _SENTENCES, EventKind, sentence
from fleet.policy.facts import (
    CallEnded,
    Command,
    IncidentSeen,
    PrefetchFailed,
    PullFailed,
    Restarted,
    ResumeAsked,
    SpillFound,
    Tick,
    TrialEnded,
)
from fleet.policy.incident_count import count
from fleet.policy.rules import Rules
from fleet.policy.state import SwitchKind, SwitchPhase
from state.codec import decode_state, encode_state
from tests.reference.histories import Move, Step, play, running, some_moves, some_rules

HISTORIES = int(os.environ.get("FLEET_FUZZ", "60"))
random_history = given(rules=some_rules(), moves=some_moves)
often = settings(max_examples=HISTORIES, deadline=None)


@often
@random_history
def test_the_fleet_never_leaves_the_ladder_nor_lies_about_where_it_stands(
    rules: Rules, moves: list[Move]
) -> None:
    for step in play(rules, moves):
        state = step.after
        assert 0 <= state.current_model_index <= rules.ladder.last
        assert state.current_model == rules.ladder[state.current_model_index].model
        assert not state.on_cpu or state.current_model_index == rules.ladder.last
        if state.switch is not None:
            assert 0 <= state.switch.target <= rules.ladder.last
            assert 0 <= state.switch.source <= rules.ladder.last


@often
@random_history
def test_it_never_climbs_past_the_ceiling_by_itself(rules: Rules, moves: list[Move]) -> None:
    for step in play(rules, moves):
        moved_up = step.after.current_model_index < step.before.current_model_index
        last = step.after.last_switch
        if moved_up and last is not None and not last.by_hand:
            assert step.after.current_model_index >= step.before.top


@often
@random_history
def test_it_never_switches_by_itself_more_often_than_allowed_in_an_hour(
    rules: Rules, moves: list[Move]
) -> None:
    """A move to a cap is not refused; it counts like the others."""
    rules = replace(rules, hours=(), policy=replace(rules.policy, reserve=Reserve()))
    committed: list[float] = []
    for step in play(rules, moves):
        last = step.after.last_switch
        if step.after.switches != step.before.switches and last is not None and not last.by_hand:
            committed.append(step.real)
            in_hour = [time for time in committed if time > step.real - 3600]
            assert len(in_hour) <= rules.policy.max_switches_per_hour


def _planned(step: Step) -> bool:
    """Return True if this step began an automatic downgrade."""
    old, new = step.before.switch, step.after.switch
    begun = new is not None and (old is None or old.number != new.number)
    return begun and new is not None and new.kind is SwitchKind.DOWNGRADE and not new.by_hand


@often
@random_history
def test_it_never_moves_down_by_itself_without_its_reason(rules: Rules, moves: list[Move]) -> None:
    for step in play(rules, moves):
        if not _planned(step):
            continue
        assert step.after.switch is not None
        assert step.after.switch.why
        verifying = step.before.switch is not None and step.before.switch.phase is SwitchPhase.VERIFY
        fact = step.fact
        threshold = rules.threshold(rules.ladder[step.before.current_model_index])
        if isinstance(fact, CallEnded) and fact.memory:
            assert verifying
        elif isinstance(fact, Tick):
            # A threshold reached while pinned or held is acted on at the next check.
            capped = step.before.current_model_index < step.after.cap == step.after.switch.target
            assert capped or step.after.vram_error_count >= threshold
        elif isinstance(fact, SpillFound):
            assert rules.policy.on_spill == "downgrade"
        elif isinstance(fact, PrefetchFailed):
            assert fact.model == step.before.current_model
            assert step.after.switch.target in fact.present
        elif isinstance(fact, (PullFailed, TrialEnded, Restarted, CallEnded)):
            # A threshold reached during a switch is acted on when that switch ends.
            assert step.before.switch is not None
            assert step.before.vram_error_count >= threshold
        else:
            assert isinstance(fact, IncidentSeen)
            assert fact.counts
            reached = step.after.vram_error_count >= threshold
            on_probation = step.before.recovery.probation is not None
            assert reached or on_probation or verifying


@often
@random_history
def test_an_incident_counts_at_most_once(rules: Rules, moves: list[Move]) -> None:
    counted: Counter[str] = Counter()
    for step in play(rules, moves):
        for event in step.after.events[len(step.before.events) :]:
            if event.kind is EventKind.INCIDENT and event.fields["counted"]:
                counted[event.fields["id"]] += 1
    assert all(times == 1 for times in counted.values())


@often
@random_history
def test_a_pinned_fleet_moves_by_hand_or_for_a_cap(rules: Rules, moves: list[Move]) -> None:
    for step in play(rules, moves):
        if step.before.pinned and step.after.switches != step.before.switches:
            assert step.after.last_switch is not None
            assert step.after.last_switch.by_hand or step.before.displaced is not None
        if step.after.pinned and step.after.switch is not None:
            assert step.after.switch.by_hand or step.after.displaced is not None
        if step.before.pinned and not step.after.pinned:
            assert not isinstance(step.fact, (Tick, IncidentSeen, CallEnded, SpillFound))


@often
@random_history
def test_a_replay_gives_the_same_state_also_through_the_file(rules: Rules, moves: list[Move]) -> None:
    for step in play(rules, moves):
        stored = decode_state(encode_state(step.before, step.now))
        assert stored == replace(step.before, timestamp=step.now)
        if not step.refused:
            again = decide(stored, step.fact, step.now, rules).state
            assert again == replace(step.after, timestamp=step.now)


@often
@random_history
def test_the_count_that_is_shown_is_the_count(rules: Rules, moves: list[Move]) -> None:
    for step in play(rules, moves):
        if step.after.switches != step.before.switches:
            assert step.after.vram_error_count == 0
        if isinstance(step.fact, Tick):
            assert step.after.vram_error_count == count(step.after, step.now, rules)


@often
@random_history
def test_a_refusal_is_for_commands_alone(rules: Rules, moves: list[Move]) -> None:
    for step in play(rules, moves):
        assert not step.refused or isinstance(step.fact, (Command, ResumeAsked))


@often
@random_history
def test_while_it_is_paused_no_switch_begins_by_itself_and_none_tries_a_model(
    rules: Rules, moves: list[Move]
) -> None:
    for step in play(rules, moves):
        switch = step.after.switch
        # A refused command leaves the state as it is, also where a clock that was set back revives an ended pause.
        if step.refused or step.after.paused(step.now) is None or switch is None:
            continue
        assert switch.phase in {SwitchPhase.PULL, SwitchPhase.RESTART}
        new = step.before.switch is None or step.before.switch.number != switch.number
        assert switch.by_hand or (switch.phase is SwitchPhase.RESTART and not new)


@often
@random_history
def test_a_check_leaves_no_fleet_above_a_cap(rules: Rules, moves: list[Move]) -> None:
    for step in play(rules, moves):
        state = step.after
        if isinstance(step.fact, Tick) and state.current_model_index < state.cap:
            moving = state.switch is not None and state.switch.target >= state.cap
            held = state.hold is not None and state.hold.active(step.now)
            assert moving or held or state.paused(step.now)


@often
@random_history
def test_every_event_is_numbered_and_has_a_sentence_of_its_fields(rules: Rules, moves: list[Move]) -> None:
    state = running(rules)
    for step in play(rules, moves):
        state = step.after
        assert [event.number for event in state.events] == list(range(1, state.last_event_number + 1))
    for event in state.events:
        assert not {"number", "time", "kind", "sentence"} & set(event.fields)
        assert _SENTENCES[event.kind](event.fields) == sentence(event)
