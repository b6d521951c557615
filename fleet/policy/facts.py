"""What the policy is told: facts go in, a new state and requests come out."""

from dataclasses import dataclass

from fleet.policy.state import SwitchKind


@dataclass(frozen=True, slots=True)
class IncidentSeen:
    """An incident whose outcome is known.

    `counts` is whether its cause counts and it is not another client's; `reason` says why not. `model` is the
    tag it names, None if it names none; `load_began` is when the load began in which it happened, if it did.
    """

    id: str
    time: float
    cause: str
    kind: str
    counts: bool
    reason: str = ""
    model: str | None = None
    load_began: float | None = None


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call of the generator to Ollama ended: answered, or failed, for lack of memory or otherwise.

    `started` is when it began, None if that is not told.
    """

    time: float
    switches: int
    answered: bool
    memory: bool = False
    reason: str = ""
    started: float | None = None


@dataclass(frozen=True, slots=True)
class SpillFound:
    """The current model lies partly outside GPU memory, lastingly; `share` of it is inside."""

    share: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Command:
    """An operator wants a switch; `target` is for `use`."""

    kind: SwitchKind
    target: int | None = None
    pin: bool = False


@dataclass(frozen=True, slots=True)
class Unpin:
    """An operator lifts pin and ceiling."""


@dataclass(frozen=True, slots=True)
class ModelPresent:
    """The target's model is in Ollama (or Ollama is away and an operator's switch goes on without)."""

    switch: int
    was_stopped: bool = False


@dataclass(frozen=True, slots=True)
class PullFailed:
    """The target's model cannot be had; `present` are the rungs whose models Ollama has.

    `deferred`: the pull did not fail but can wait, since a smaller rung's model is present.
    """

    switch: int
    reason: str
    present: tuple[int, ...] = ()
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """The canary ran on the target: `passed`, or failed for `reason`."""

    switch: int
    passed: bool
    reason: str = ""
    was_stopped: bool = False


@dataclass(frozen=True, slots=True)
class Restarted:
    """The generator was restarted on the target; `stopped` if a person keeps it stopped."""

    switch: int
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class RestartFailed:
    """The generator did not come up on the target."""

    switch: int
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyEnded:
    """Waiting for the first answer ended without one, and not for lack of memory."""

    switch: int
    reason: str


@dataclass(frozen=True, slots=True)
class PrefetchStarted:
    """A pull in the background begins, and why."""

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class PrefetchDone:
    """A pull in the background has brought a model."""

    model: str


@dataclass(frozen=True, slots=True)
class PrefetchFailed:
    """A pull in the background failed; `present` are the rungs whose models Ollama has."""

    model: str
    reason: str
    present: tuple[int, ...] = ()


Fact = (
    IncidentSeen
    | CallEnded
    | SpillFound
    | Tick
    | Command
    | Unpin
    | ModelPresent
    | PullFailed
    | TrialEnded
    | Restarted
    | RestartFailed
    | VerifyEnded
    | PrefetchStarted
    | PrefetchDone
    | PrefetchFailed
)
