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
class ModelHere:
    """The target's model is in Ollama (or Ollama is away and an operator's switch goes on without)."""

    switch: int
    was_stopped: bool = False


@dataclass(frozen=True, slots=True)
class PullFailed:
    """The target's model cannot be had; `here` are the rungs whose models Ollama has.

    `behind` says that it did not fail but can wait: a smaller rung that is here is taken first.
    """

    switch: int
    reason: str
    here: tuple[int, ...] = ()
    behind: bool = False


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
class Fetching:
    """A pull in the background begins, and why."""

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A pull in the background has brought a model."""

    model: str


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A pull in the background failed; `here` are the rungs whose models Ollama has."""

    model: str
    reason: str
    here: tuple[int, ...] = ()


Fact = (
    IncidentSeen
    | CallEnded
    | SpillFound
    | Tick
    | Command
    | Unpin
    | ModelHere
    | PullFailed
    | TrialEnded
    | Restarted
    | RestartFailed
    | VerifyEnded
    | Fetching
    | Fetched
    | FetchFailed
)
