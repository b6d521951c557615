"""Facts: the inputs of the policy, each an observation, an outcome or a command."""

from dataclasses import dataclass

from fleet.policy.state import SwitchKind
from fleet.runtime.units import Bytes


@dataclass(frozen=True, slots=True)
class IncidentSeen:
    """An incident with its outcome.

    `counts`: its cause counts and the model is ours; `reason` says why not. `model` is the tag that it names, None if
    it names none. `load_began` is the start of the model load in which it happened, None outside a load. `lines` are
    the first log lines that were its signals.
    """

    id: str
    time: float
    cause: str
    kind: str
    counts: bool
    reason: str = ""
    model: str | None = None
    load_began: float | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call of the generator to Ollama was answered or failed; `memory`: the call failed for lack of GPU memory.

    `switches` is the number of the switch that the generator ran on. `started` is None if unknown.
    """

    time: float
    switches: int
    answered: bool
    memory: bool = False
    reason: str = ""
    started: float | None = None


@dataclass(frozen=True, slots=True)
class SpillFound:
    """The current model stays partly outside GPU memory; `share` of it is inside."""

    share: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A check interval or a deadline has passed."""


@dataclass(frozen=True, slots=True)
class Command:
    """An operator asks for a switch; `target` is the rung of `use`."""

    kind: SwitchKind
    target: int | None = None
    pin: bool = False


@dataclass(frozen=True, slots=True)
class Unpin:
    """An operator removes pin and ceiling."""


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """An operator pauses the fleet until a time (Unix seconds), or until `resume` if that is None."""

    until: float | None
    why: str


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """An operator ends a pause by hand."""


@dataclass(frozen=True, slots=True)
class CardSeen:
    """A reading of the card: the GPU memory that others have not taken, without the reserve; it may be negative.

    `available` is None where the card cannot be read. `loaded` are the bytes that the current model has there now, None
    if it is not loaded.
    """

    available: Bytes | None
    loaded: Bytes | None = None


@dataclass(frozen=True, slots=True)
class ModelPresent:
    """Ollama has the target's model, or Ollama is away and an operator's switch proceeds without the check."""

    switch: int
    was_stopped: bool = False


@dataclass(frozen=True, slots=True)
class PullFailed:
    """The target's model cannot be pulled; `present` are the rungs whose models Ollama has.

    `deferred`: the pull did not fail but can wait, since a smaller rung's model is present.
    """

    switch: int
    reason: str
    present: tuple[int, ...] = ()
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """The canary on the target `passed`, or failed for `reason`."""

    switch: int
    passed: bool
    reason: str = ""
    was_stopped: bool = False


@dataclass(frozen=True, slots=True)
class Restarted:
    """The generator was restarted on the target; `stopped`: an operator keeps it stopped."""

    switch: int
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class RestartFailed:
    """The generator did not start on the target."""

    switch: int
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyEnded:
    """The wait for the target's first answer ended without an answer and without a memory failure."""

    switch: int
    reason: str


@dataclass(frozen=True, slots=True)
class UnloadBegins:
    """The fleet itself is about to unload a model; the slow return of its memory is then no failure."""


@dataclass(frozen=True, slots=True)
class PrefetchStarted:
    """A background pull begins; `why` is its reason."""

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class PrefetchDone:
    """A background pull has finished."""

    model: str


@dataclass(frozen=True, slots=True)
class PrefetchFailed:
    """A background pull failed; `present` are the rungs whose models Ollama has."""

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
    | PauseAsked
    | ResumeAsked
    | CardSeen
    | ModelPresent
    | PullFailed
    | TrialEnded
    | Restarted
    | RestartFailed
    | VerifyEnded
    | UnloadBegins
    | PrefetchStarted
    | PrefetchDone
    | PrefetchFailed
)
