"""Where a fleet can be, and which facts lead from where to where: the policy as a table.

The policy's functions decide *whether* a row is taken; a test holds them to the table, in both directions, and
`docs/architecture.md` draws it. What is not in it does not happen: a fact that has no row for a place may
change counts and waits there, and nothing else.
"""

from dataclasses import dataclass
from enum import StrEnum

from fleet.policy.state import FleetState


class Place(StrEnum):
    """What a fleet is doing: nothing, pausing where no switch helps, or a phase of a switch."""

    REST = "rest"
    HELD = "held"
    PULL = "pull"
    TRIAL = "trial"
    RESTART = "restart"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: told `fact` (the name of its class) a fleet goes from one place to another, when that is so."""

    before: Place
    fact: str
    after: Place
    when: str


def place_of(state: FleetState, now: float) -> Place:
    """Return where a fleet is."""
    if state.switch is not None:
        return Place(state.switch.phase.value)
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
        ("rest", "IncidentSeen", "held", "the same at the bottom, or when the hour's switches are used up"),
        ("rest", "SpillFound", "pull", "`on_spill` is downgrade and there is a smaller model"),
        ("rest", "SpillFound", "held", "the same when the hour's switches are used up"),
        ("rest", "Tick", "pull", "a probe is due, and a rung above can fit"),
        ("rest", "FetchFailed", "pull", "the fleet's own model cannot be had, and a smaller one is here"),
        ("rest", "Command", "pull", "an operator asks for another rung"),
        ("held", "Command", "pull", "an operator asks for another rung"),
        ("held", "Command", "rest", "an operator asks for the rung it stands on"),
        ("held", "CallEnded", "rest", "a call was answered"),
        ("held", "FetchFailed", "pull", "the fleet's own model cannot be had, and a smaller one is here"),
        ("pull", "ModelHere", "trial", "a probe, `use` or `upgrade` to another rung, with `canary`"),
        ("pull", "ModelHere", "restart", "anything else; this is the commit"),
        ("pull", "PullFailed", "rest", "no smaller model is here, or it was no downgrade"),
        ("pull", "PullFailed", "held", "no smaller model is here, and the threshold is reached"),
        ("trial", "TrialEnded", "restart", "the model answered; this is the commit"),
        ("trial", "TrialEnded", "rest", "it did not; the old model goes on"),
        ("trial", "Command", "pull", "superseded"),
        ("restart", "Restarted", "verify", "the generator is up"),
        ("restart", "Restarted", "rest", "a person keeps it stopped, or its first call was answered already"),
        ("restart", "Command", "pull", "superseded"),
        ("verify", "CallEnded", "rest", "answered; failed otherwise than for memory; or chosen by hand"),
        ("verify", "CallEnded", "pull", "out of memory once more: down, or back from a probe"),
        ("verify", "CallEnded", "held", "the same where there is nowhere to go"),
        ("verify", "IncidentSeen", "pull", "out of memory once more: down, or back from a probe"),
        ("verify", "IncidentSeen", "held", "the same where there is nowhere to go"),
        ("verify", "IncidentSeen", "rest", "out of memory once more, and chosen by hand: reported"),
        ("verify", "VerifyEnded", "rest", "no call was answered in time; it stays, unverified"),
        ("verify", "Command", "pull", "superseded"),
    )
)
