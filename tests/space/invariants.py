"""The invariants of the policy, each a predicate over one step; their first lines stand in docs/architecture.md."""

from collections.abc import Callable
from dataclasses import replace

from fleet.config.ladder import same_model
from fleet.policy.decide import _held
from fleet.policy.events import _SENTENCES
from fleet.policy.facts import (
    CallEnded,
    Command,
    IncidentSeen,
    ModelPresent,
    PrefetchFailed,
    PullFailed,
    Restarted,
    ResumeAsked,
    SpillFound,
    Tick,
    TrialEnded,
    Unpin,
    VerifyEnded,
)
from fleet.policy.incident_count import recount
from fleet.policy.recovery import can_climb
from fleet.policy.rules import VERIFY_RETRY
from fleet.policy.state import FleetState, SwitchKind, SwitchPhase
from fleet.policy.switch_phases import HOUR
from tests.reference.transitions import TRANSITIONS, place_of
from tests.space.step import Step, count_of, is_enough, is_held, is_idle, models_of
from tests.space.world import Runs

_ROWS = {(row.before, row.fact, row.after) for row in TRANSITIONS}
_STEP_FACTS = (ModelPresent, PullFailed, TrialEnded, Restarted, VerifyEnded)


def on_the_ladder(step: Step) -> bool:
    """Every rung that the state names is on the ladder, and the current model is its rung's."""
    state, last = step.new, step.rules.ladder.last
    named = [state.current_model_index, state.ceiling, state.recovery.home_rung, *state.recovery.failed]
    if state.switch is not None:
        named += [state.switch.source, state.switch.target]
    on_it = all(index is None or 0 <= index <= last for index in named)
    return on_it and state.current_model == step.rules.ladder[state.current_model_index].model


def only_the_tables_transitions(step: Step) -> bool:
    """A fleet moves from place to place only as the table of transitions says."""
    before, after = place_of(step.old, step.move.now), place_of(step.new, step.move.now)
    return before is after or (before, type(step.move.fact).__name__, after) in _ROWS


def one_switch_a_commit(step: Step) -> bool:
    """A commit leads from pull or trial to restart, raises `switches` by one and sets the count to 0."""
    old, new = step.old, step.new
    if not step.committed:
        same = (new.current_model_index, new.on_cpu) == (old.current_model_index, old.on_cpu)
        return same and models_of(new) == models_of(old)
    switch = new.switch
    ready = old.switch is not None and old.switch.phase in {SwitchPhase.PULL, SwitchPhase.TRIAL}
    restarts = switch is not None and switch.phase is SwitchPhase.RESTART
    clean = not (new.vram_error_count or new.incidents or new.finished or new.failed or new.last_finished)
    moved = switch is not None and (switch.target, switch.on_cpu) == (new.current_model_index, new.on_cpu)
    return ready and restarts and clean and moved and new.switches == old.switches + 1


def tried_before_a_commit(step: Step) -> bool:
    """With `canary`, a probe, `use` and `upgrade` pass their trial before their commit, unless the fleet is paused."""
    switch = step.old.switch
    loads_nothing = step.new.paused(step.move.now) is not None
    if not step.committed or switch is None or not step.rules.policy.canary or loads_nothing:
        return True
    other = (switch.target, switch.on_cpu) != (step.old.current_model_index, step.old.on_cpu)
    with_trial = switch.kind in {SwitchKind.PROBE, SwitchKind.USE, SwitchKind.UPGRADE}
    passed = isinstance(step.move.fact, TrialEnded) and step.move.fact.passed
    return not (with_trial and other) or (switch.phase is SwitchPhase.TRIAL and passed)


def pinned_moves_by_hand_alone(step: Step) -> bool:
    """No automatic switch begins or commits while the fleet is pinned, but for a cap, and only a command ends the pin."""
    if step.old.pinned and not step.new.pinned:
        by_command = isinstance(step.move.fact, (Command, Unpin))
        by_commit = step.committed and step.old.switch is not None and step.old.switch.by_hand
        if not (by_command or by_commit):
            return False
    automatic = step.new.switch is not None and not step.new.switch.by_hand
    for_a_cap = step.follows_a_cap if step.begun is not None else step.old.displaced is not None
    begun = step.begun is not None or step.committed
    return not (step.old.pinned and begun and automatic) or for_a_cap


def paused_moves_by_hand_alone(step: Step) -> bool:
    """No automatic switch begins while the fleet is paused, and only `resume` or its time ends a pause by hand."""
    old, now = step.old, step.move.now
    if old.pause is not None and old.pause.active(now) and step.new.pause is None:
        return isinstance(step.move.fact, ResumeAsked)
    automatic = step.begun is not None and not step.begun.by_hand
    return not (automatic and step.new.paused(now) is not None and old.paused(now) is not None)


def ceiling_holds(step: Step) -> bool:
    """No automatic switch leads above the ceiling, and the ceiling changes only by hand."""
    old, new = step.old, step.new
    by_hand = isinstance(step.move.fact, (Command, Unpin))
    by_hand |= step.committed and old.switch is not None and old.switch.by_hand
    if new.ceiling != old.ceiling and not by_hand:
        return False
    switch = step.begun
    if switch is None or switch.by_hand or switch.target >= old.current_model_index:
        return True
    return switch.target >= (old.ceiling or 0)


def caps_hold(step: Step) -> bool:
    """No switch climbs above a cap, and the next tick moves a fleet that is above it down."""
    new, switch = step.new, step.begun
    if switch is not None and switch.target < step.old.current_model_index and switch.target < new.cap:
        return False
    moves = new.switch is not None and new.switch.target >= new.cap
    below = new.current_model_index >= new.cap
    return below or moves or not isinstance(step.move.fact, Tick) or _held(new, step.move.now)


def a_way_back_leads_up(step: Step) -> bool:
    """The rung that a cap moved the fleet from is remembered only during that move and while the fleet is below it."""
    home = step.new.displaced
    return home is None or step.new.switch is not None or home < step.new.current_model_index


def switches_an_hour(step: Step) -> bool:
    """No automatic switch is committed beyond `max_switches_per_hour`, except down to a cap, which is never late."""
    if not step.committed or step.new.switch is None or step.new.switch.by_hand:
        return True
    before, after = (
        sum(time > step.move.now - HOUR for time in state.automatic) for state in (step.old, step.new)
    )
    to_cap = step.old.current_model_index < step.new.cap <= step.new.current_model_index
    return after == before + 1 and (to_cap or after <= step.rules.policy.max_switches_per_hour)


def a_reason_for_each_downgrade(step: Step) -> bool:
    """An automatic switch down begins at a cap, the threshold, on probation, or after a failed verify, spill or pull."""
    switch, fact, old = step.begun, step.move.fact, step.old
    if switch is None or switch.by_hand or switch.kind not in {SwitchKind.DOWNGRADE, SwitchKind.RESET}:
        return True
    if step.follows_a_cap:
        return True
    phase = None if old.switch is None else old.switch.phase
    if phase is SwitchPhase.VERIFY and isinstance(fact, (CallEnded, IncidentSeen)):
        failed = fact.memory if isinstance(fact, CallEnded) else fact.kind == "hard"
        if failed and old.switch is not None and old.switch.failed_at is not None:
            return True
    if isinstance(fact, SpillFound):
        return step.rules.policy.on_spill == "downgrade"
    if isinstance(fact, PrefetchFailed):
        return same_model(fact.model, old.current_model) and switch.target in fact.present
    probation = old.recovery.probation is not None and step.move.now < old.recovery.probation
    hard = isinstance(fact, IncidentSeen) and fact.kind == "hard" and fact.counts
    return (probation and hard) or is_enough(step.new, step)


def a_downgrade_goes_down(step: Step) -> bool:
    """A downgrade leads to a lower rung, home from a probe, or off the GPU."""
    switch = step.begun
    if switch is None or switch.kind is not SwitchKind.DOWNGRADE:
        return True
    return switch.target > switch.source or (switch.on_cpu and not step.old.on_cpu)


def a_threshold_is_acted_on(step: Step) -> bool:
    """A threshold that is reached is acted on at once, or as soon as a switch, a pin or a hold that forbids it has ended."""
    ended = step.old.switch is not None and step.new.switch is None
    acts = ended or isinstance(step.move.fact, (IncidentSeen, Tick))
    if not acts or not is_idle(step.new, step.move.now):
        return True
    return not is_enough(step.new, step)


def idle_facts_change_nothing(step: Step) -> bool:
    """A duplicate, a late step and a failure of another model change nothing but events."""
    if not step.move.idle:
        return True
    old = step.old
    if isinstance(step.move.fact, IncidentSeen):
        old = recount(old, step.move.now, step.rules)
        if is_idle(old, step.move.now) and is_enough(old, step):
            return True  # reached while the fleet was pinned: the next incident makes the policy act on it
    told = {"events": old.events, "last_event_number": old.last_event_number, "totals": old.totals}
    return replace(step.new, **told) == old


def an_incident_counts(step: Step) -> bool:
    """An incident that counts raises the count by one, or is acted on at once; a duplicate never does."""
    fact = step.move.fact
    if not isinstance(fact, IncidentSeen) or not fact.counts or step.move.idle:
        return True
    told = [event for event in step.new.events[len(step.old.events) :] if event.kind == "incident"]
    if len(told) != 1:
        return False
    if not told[0].fields["counted"]:
        return bool(told[0].fields["reason"])
    before = recount(step.old, step.move.now, step.rules)
    return fact.id in step.new.counted_ids and told[0].fields["errors"] > before.vram_error_count - 1


def the_count_shown_is_the_count(step: Step) -> bool:
    """The count of a tick is the number of incidents within the window or in a row."""
    if not isinstance(step.move.fact, Tick):
        return True
    return step.new.vram_error_count == count_of(step.new, step)


def a_command_takes_effect(step: Step) -> bool:
    """A command leads to its rung whatever is under way, or is refused and changes nothing."""
    fact, new = step.move.fact, step.new
    if step.refused:
        return isinstance(fact, Command) and step.new == step.old
    if not isinstance(fact, Command):
        return True
    index = step.old.current_model_index
    goal = {
        SwitchKind.RESET: step.old.cap,
        SwitchKind.DOWNGRADE: index + 1,
        SwitchKind.UPGRADE: index - 1,
        SwitchKind.USE: fact.target,
    }[fact.kind]
    if new.switch is None:
        stands = new.current_model_index == goal and not new.on_cpu and not new.vram_error_count
        return (
            stands
            and not is_held(new, step.move.now)
            and (fact.kind is not SwitchKind.USE or new.pinned is fact.pin)
        )
    switch = new.switch
    asked = switch.by_hand and switch.target == goal and switch.kind is fact.kind and not switch.on_cpu
    return asked and switch.pin is fact.pin and switch.phase is SwitchPhase.PULL and new.hold is None


def reset_lifts_the_limits(step: Step) -> bool:
    """`reset` and `unpin` lift pin and ceiling; a committed `use` or downgrade by hand sets the ceiling."""
    fact, new = step.move.fact, step.new
    if isinstance(fact, Unpin) or (isinstance(fact, Command) and fact.kind is SwitchKind.RESET):
        return new.ceiling is None and not new.pinned
    switch = step.old.switch
    if not step.committed or switch is None or not switch.by_hand:
        return True
    chosen = switch.kind in {SwitchKind.USE, SwitchKind.DOWNGRADE}
    return new.ceiling == (switch.target if chosen else None) and new.pinned is switch.pin


def chosen_by_hand_stays(step: Step) -> bool:
    """A rung chosen by hand is not left while it is verified: its failure is reported."""
    old, fact = step.old.switch, step.move.fact
    if old is None or not old.by_hand or old.kind is SwitchKind.RESET or old.phase is not SwitchPhase.VERIFY:
        return True
    moved = step.begun is not None or is_held(step.new, step.move.now)
    incidents = count_of(step.old, step) + isinstance(fact, IncidentSeen)
    threshold = step.rules.threshold(step.rules.ladder[step.old.current_model_index])
    return not moved or isinstance(fact, Command) or incidents >= threshold or step.follows_a_cap


def two_failures_end_a_verify(step: Step) -> bool:
    """A new model's first memory failure gets a second chance; the second one ends its verify."""
    old, fact = step.old.switch, step.move.fact
    if step.move.idle or old is None or old.phase is not SwitchPhase.VERIFY:
        return True
    same = step.new.switch is not None and step.new.switch.number == old.number
    memory = isinstance(fact, CallEnded) and fact.memory and not fact.answered
    seen = isinstance(fact, IncidentSeen) and fact.kind == "hard" and step.new.counted_ids[-1:] == (fact.id,)
    if seen and old.failed_at is not None and step.move.now - old.failed_at >= VERIFY_RETRY:
        return not same
    memory |= seen
    late = old.failed_at is not None and isinstance(fact, CallEnded) and fact.started is not None
    if memory and old.failed_at is None:
        return same and step.new.switch is not None and step.new.switch.failed_at is not None
    if memory and late and old.failed_at is not None and isinstance(fact, CallEnded):
        due = step.move.now - old.failed_at >= VERIFY_RETRY and (fact.started or 0.0) >= old.failed_at
        return same != due
    if isinstance(fact, (VerifyEnded,)) or (isinstance(fact, CallEnded) and not step.move.idle):
        return not same
    return True


def a_hold_is_the_last_resort(step: Step) -> bool:
    """A hold begins only on the last rung, without a present smaller model, or at the hour's limit."""
    old, new, now = step.old.hold, step.new.hold, step.move.now
    if new is None or new == old or not new.active(now) or (old is not None and old.active(now)):
        return True
    rules, state = step.rules, step.old
    bottom = state.current_model_index == rules.ladder.last
    limit = sum(time > now - HOUR for time in state.automatic) >= rules.policy.max_switches_per_hour
    missing = isinstance(step.move.fact, PullFailed)
    # The top as of now: the tick that begins the hold may have brought a cap.
    resort = {"hold": True, "cpu": state.on_cpu, "reset": rules.ladder.last <= step.new.top}
    grows = new.step == (0 if old is None else old.step + 1)
    return grows and (limit or missing or (bottom and resort[rules.policy.on_exhausted]))


def an_answer_ends_the_hold(step: Step) -> bool:
    """An answered call ends the hold and the verify."""
    fact = step.move.fact
    if not isinstance(fact, CallEnded) or not fact.answered or fact.switches != step.old.switches:
        return True
    old = step.old.switch
    verified = old is None or old.phase is not SwitchPhase.VERIFY
    ended = step.new.switch is None or step.begun is not None
    held = step.new.hold is not None and step.new.hold == step.old.hold
    return not held and step.new.last_finished is not None and (verified or ended)


def a_failed_probe_waits_longer(step: Step) -> bool:
    """A failed probe doubles the wait up to `recover_cap`, remembers the rung and goes home."""
    old, new, fact, policy = step.old, step.new.recovery, step.move.fact, step.rules.policy
    switch = old.switch
    probing = switch is not None and switch.kind is SwitchKind.PROBE
    failed = isinstance(fact, TrialEnded) and not fact.passed
    failed |= isinstance(fact, PullFailed) and not fact.deferred
    lost = [switch.target] if switch is not None and probing and failed and not step.move.idle else []
    undone = step.begun is not None and step.begun.why == "the larger model failed"
    if undone:
        lost.append(old.current_model_index)
        below = old.current_model_index + 1
        home = below if old.recovery.home_rung is None else old.recovery.home_rung
        on_probation = old.recovery.probation is not None and step.move.now < old.recovery.probation
        reason = on_probation or probing or old.recovery.home_rung is not None
        if not reason or step.begun is None or step.begun.target != home or new.probation is not None:
            return False
    longest = max(policy.recover_cap, policy.recover_after)
    waits = {old.recovery.wait or policy.recover_after}
    if step.clocked.hours != old.hours:
        waits.add(policy.recover_after)  # the end of a cap begins anew
    doubled = new.wait in {min(longest, wait * 2 ** len(lost)) for wait in waits}
    return not lost or (doubled and set(lost) <= set(new.failed))


def probes_only_when_due(step: Step) -> bool:
    """A probe begins only when its wait or a cap is over, to a rung that can fit, with a switch left for the way back."""
    switch, now, rules = step.begun, step.move.now, step.rules
    if switch is None or switch.kind is not SwitchKind.PROBE:
        return True
    old, clocked = step.old, step.clocked
    due = old.recovery.next is not None and (old.recovery.next <= now or old.recovery.probation is not None)
    due |= clocked.hours != old.hours
    climbs = can_climb(clocked) and rules.can_fit(switch.target) and not _held(clocked, now)
    wanted = bool(rules.policy.recover_after) or step.follows_a_cap
    up = switch.target < old.current_model_index or (old.on_cpu and switch.target == old.current_model_index)
    most = rules.policy.max_switches_per_hour
    left = most - sum(time > now - HOUR for time in old.automatic)
    return due and climbs and wanted and up and left >= min(2, most)


def on_the_cpu_by_exhaustion_alone(step: Step) -> bool:
    """A model runs without the GPU only on the last rung, with `on_exhausted = "cpu"`."""
    state = step.new
    wanted = step.rules.policy.on_exhausted == "cpu"
    last = state.current_model_index == step.rules.ladder.last
    options = state.current_options.get("num_gpu") == 0 if state.on_cpu else True
    return not state.on_cpu or (wanted and last and options)


def stopped_stays_stopped(step: Step) -> bool:
    """A generator that a person stopped stays stopped, and one that no person stopped is started again."""
    started = step.before.runs is Runs.STOPPED and step.after.runs is Runs.CURRENT
    cut = step.after.runs is Runs.DOWN and not _restarts(step.new)
    return not cut and not started


def _restarts(state: FleetState) -> bool:
    """Return True if the fleet will start the generator, although supervisord shows it as stopped."""
    return state.restarting


def events_are_numbered(step: Step) -> bool:
    """Events are numbered without a gap, each has a sentence of its fields, and a switch never ends without one."""
    new, old = step.new, step.old
    first = old.last_event_number - len(old.events) + 1
    numbered = [event.number for event in new.events] == list(range(first, new.last_event_number + 1))
    said = all(_SENTENCES[event.kind](event.fields) for event in new.events[len(old.events) :])
    ended = old.switch is not None and (new.switch is None or new.switch.number != old.switch.number)
    return numbered and said and (not ended or new.last_event_number > old.last_event_number)


INVARIANTS: tuple[Callable[[Step], bool], ...] = (
    on_the_ladder,
    only_the_tables_transitions,
    one_switch_a_commit,
    tried_before_a_commit,
    pinned_moves_by_hand_alone,
    paused_moves_by_hand_alone,
    ceiling_holds,
    caps_hold,
    a_way_back_leads_up,
    switches_an_hour,
    a_reason_for_each_downgrade,
    a_downgrade_goes_down,
    a_threshold_is_acted_on,
    idle_facts_change_nothing,
    an_incident_counts,
    the_count_shown_is_the_count,
    a_command_takes_effect,
    reset_lifts_the_limits,
    chosen_by_hand_stays,
    two_failures_end_a_verify,
    a_hold_is_the_last_resort,
    an_answer_ends_the_hold,
    a_failed_probe_waits_longer,
    probes_only_when_due,
    on_the_cpu_by_exhaustion_alone,
    stopped_stays_stopped,
    events_are_numbered,
)
