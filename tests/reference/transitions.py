"""The policy's transitions as a table: places, and the facts that lead from one to another.

The policy's functions decide whether a transition happens. A test compares them with the table in both directions, and
`docs/architecture.md` draws it. A fact without a row for a place changes only counts and waits there.
"""

from dataclasses import dataclass
from enum import StrEnum

from fleet.policy.state import FleetState


class Place(StrEnum):
    """The place of a fleet: at rest, paused, held where no switch helps, or in a phase of a switch."""

    REST = "rest"
    PAUSED = "paused"
    HELD = "held"
    PULL = "pull"
    TRIAL = "trial"
    RESTART = "restart"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: the fact of class `fact` leads from one place to another under the condition `when`."""

    before: Place
    fact: str
    after: Place
    when: str


def place_of(state: FleetState, now: float) -> Place:
    """Return the place of a fleet."""
    if state.switch is not None:
        return Place(state.switch.phase.value)
    if state.paused(now) is not None:
        return Place.PAUSED
    return Place.HELD if state.hold is not None and state.hold.active(now) else Place.REST


TRANSITIONS = tuple(
    Transition(Place(before), fact, Place(after), when)
    for before, fact, after, when in (
        (
            "rest",
            "IncidentSeen",
            "pull",
            "the count reaches the rung's threshold, or a rung on probation fails",
        ),
        (
            "rest",
            "IncidentSeen",
            "held",
            "the same on the last rung, or when the hour's switches are used up",
        ),
        ("rest", "SpillFound", "pull", "`on_spill` is downgrade and there is a smaller model"),
        ("rest", "SpillFound", "held", "the same when the hour's switches are used up"),
        (
            "rest",
            "Tick",
            "pull",
            "a rung above can be probed; the fleet is above a cap; or the threshold was reached while pinned or held",
        ),
        ("rest", "Tick", "held", "the threshold was reached while pinned or held, and no switch helps"),
        (
            "rest",
            "PrefetchFailed",
            "pull",
            "the current model cannot be pulled, and a smaller one is present",
        ),
        ("rest", "Command", "pull", "an operator asks for another rung"),
        ("held", "Command", "pull", "an operator asks for another rung"),
        ("held", "Command", "rest", "an operator asks for the current rung"),
        ("held", "CallEnded", "rest", "a call was answered"),
        (
            "held",
            "PrefetchFailed",
            "pull",
            "the current model cannot be pulled, and a smaller one is present",
        ),
        ("pull", "ModelPresent", "trial", "a probe, `use` or `upgrade` to another rung, with `canary`"),
        ("pull", "ModelPresent", "restart", "anything else; this is the commit"),
        ("pull", "PullFailed", "rest", "no smaller model is present, or it was no downgrade"),
        ("pull", "PullFailed", "held", "no smaller model is present, and the threshold is reached"),
        ("trial", "TrialEnded", "restart", "the model answered; this is the commit"),
        ("trial", "TrialEnded", "rest", "the model did not answer; the old model stays"),
        ("trial", "TrialEnded", "pull", "the same, and the threshold was reached meanwhile"),
        ("trial", "TrialEnded", "held", "the same where no rung is left"),
        ("trial", "Command", "pull", "superseded"),
        ("restart", "Restarted", "verify", "the generator runs"),
        (
            "restart",
            "Restarted",
            "rest",
            "an operator keeps the generator stopped, or a call was answered already",
        ),
        ("restart", "Restarted", "pull", "the same, and the threshold was reached meanwhile"),
        ("restart", "Restarted", "held", "the same where no rung is left"),
        ("restart", "Command", "pull", "superseded"),
        ("verify", "CallEnded", "rest", "answered; failed for another reason than memory; or chosen by hand"),
        ("verify", "CallEnded", "pull", "a second memory failure: downgrade, or back from a probe"),
        ("verify", "CallEnded", "held", "the same where no rung is left"),
        ("verify", "IncidentSeen", "pull", "a second memory failure: downgrade, or back from a probe"),
        ("verify", "IncidentSeen", "held", "the same where no rung is left"),
        ("verify", "IncidentSeen", "rest", "a second memory failure of a rung chosen by hand: reported"),
        ("verify", "VerifyEnded", "rest", "no call was answered in time; the model stays, unverified"),
        ("verify", "VerifyEnded", "pull", "the same, and the threshold was reached meanwhile"),
        ("verify", "VerifyEnded", "held", "the same where no rung is left"),
        ("verify", "Command", "pull", "superseded"),
        ("rest", "PauseAsked", "paused", "an operator pauses the fleet"),
        ("held", "PauseAsked", "paused", "the same"),
        ("pull", "PauseAsked", "paused", "the same; a switch that began by itself is dropped"),
        ("trial", "PauseAsked", "paused", "the same; a switch that began by itself is dropped"),
        ("trial", "PauseAsked", "restart", "the same; a switch by hand is committed without its trial"),
        ("verify", "PauseAsked", "paused", "the same; the model stays, unverified"),
        ("paused", "ResumeAsked", "rest", "an operator ends the pause"),
        ("paused", "ResumeAsked", "held", "the same, and a hold is not over"),
        ("paused", "Command", "pull", "an operator asks for another rung, which loads nothing"),
        ("pull", "PullFailed", "paused", "a switch by hand fails during a pause"),
        ("restart", "Restarted", "paused", "the generator runs, and makes no call"),
        ("rest", "Tick", "paused", "an hour of `[[hours]]` leaves the GPU alone"),
        ("held", "Tick", "paused", "the same"),
        ("pull", "Tick", "paused", "the same; a switch that began by itself is dropped"),
        ("trial", "Tick", "paused", "the same; a switch that began by itself is dropped"),
        ("trial", "Tick", "restart", "the same; a switch by hand is committed without its trial"),
        ("verify", "Tick", "paused", "the same; the model stays, unverified"),
        ("paused", "Tick", "rest", "the pause is over"),
        ("paused", "Tick", "pull", "the same, and the fleet is above a cap or tries a larger model"),
        ("paused", "Tick", "held", "the same, and the count reached the threshold on the last rung"),
        ("held", "Tick", "rest", "a cap changes; it ends a hold"),
        ("held", "Tick", "pull", "the same, and the fleet is above the cap"),
        ("pull", "Tick", "rest", "a cap is below the target; the switch is dropped"),
        ("pull", "Tick", "held", "the same, and the count reached the threshold on the last rung"),
        ("trial", "Tick", "rest", "the same as from pull"),
        ("trial", "Tick", "held", "the same"),
        ("trial", "Tick", "pull", "the fleet is above a cap"),
        ("restart", "Tick", "pull", "the same"),
        ("verify", "Tick", "pull", "the same"),
        ("rest", "CardSeen", "paused", "others leave no room for any model, three looks in a row"),
        ("held", "CardSeen", "paused", "the same"),
        ("paused", "CardSeen", "rest", "there is room again"),
        ("held", "CardSeen", "rest", "the cap of the reserve changes; it ends a hold"),
    )
)
