"""The grouper's whole state: the open load, the failures that can be joined, and learned time zones.

A failure holds the sum of its signals as flags and times. The state goes to JSON and back.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from fleet.config.ladder import same_model
from fleet.memory_errors.causes import KIND_OF, Cause, Part, Signal, SignalKind
from monitor.detection.timestamps import StampMemory
from monitor.incidents.messages import GroupingRules, Incident

_SHORT_DIGEST = len("sha256-") + 12
_SHARED = ("id", "first", "last", "first_line", "last_line", "load_began", "lines")
_MERGED = "named vague host refuted harmless spill died loading model from_log lines".split()  # noqa: SIM905


class Timing(StrEnum):
    """How exact the time of a line is until the next stamp comes.

    stamped  exact: the line's own stamp
    late     a lower bound: the last stamp before a line that is read later
    live     an upper bound: the arrival of a line that may have been held up
    """

    STAMPED = ""
    LATE = "late"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Failure:
    """Signals that belong together.

    `named`, `vague`: failures of GPU memory, and of memory that no line names. `host`, `harmless`: fatal failures of
    host memory, and complaints that a program survives. `refuted`: the call that failed asked for host memory,
    or failed for no lack of memory. `estimate`: a plan that leaves layers on the CPU. `other`: a
    cause that is no memory's. `bounded`: the load or request is over; a new failure is not part of this one.
    `answered`: time of the access-log line that bounded it. `ended`: the server reported the end of the load.
    `asked`: the fleet asked for the unload. `unload`: the time when that unload began. `healed`: a later try succeeded.
    `reported`: the incident was emitted. `closed`: its final form was emitted. `counted`: it counts as emitted.
    `span_*`: start and end of the failed calls. `born`: the first estimate of `first`, which the id keeps.
    `heard`: arrival of the first line by the monitor's clock. Waiting goes by `heard`, all else by the log's times.
    `lines`: the first lines that were its signals, for people.
    """

    number: int
    first: float
    last: float
    born: float = 0.0
    first_line: int = 0
    last_line: int = 0
    named: bool = False
    vague: bool = False
    host: bool = False
    refuted: bool = field(default=False, metadata={"former": "pinned"})
    harmless: bool = False
    not_recovered: bool = False
    retry: bool = False
    spill: bool = False
    estimate: bool = False
    other: str = ""
    died: bool = False
    loading: bool = False
    model: str = ""
    foreign: bool = False
    asked: bool = False
    bounded: bool = False
    answered: float | None = None
    ended: bool = False
    reported: bool = field(default=False, metadata={"former": "told"})
    closed: bool = False
    counted: bool = False
    healed: bool = False
    unload: float | None = None
    load_began: float | None = None
    span_start: float | None = None
    span_end: float | None = None
    from_log: bool = False
    heard: float = 0.0
    first_timing: str = ""
    last_timing: str = ""
    lines: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Return the incident's id: the same for the same log, whenever it is read."""
        return f"{self.number}-{self.born * 1000:.0f}"  # a state of another hand may hold any number

    @property
    def failed(self) -> bool:
        """Return True if an allocation failed; False if layers only spilled or a model was swapped."""
        return self.named or self.vague or self.retry

    @property
    def certain(self) -> bool:
        """Return True if the signals prove a failure of GPU memory."""
        return (self.named or (self.vague and not (self.host or self.other))) and not self.refuted

    @property
    def minor(self) -> bool:
        """Return True if the failure holds only a spill or a harmless complaint."""
        return not (self.failed or self.host or self.not_recovered or self.other)


def joined(failure: Failure, signal: Signal, *, time: float, line: int) -> Failure:
    """Return the failure with one more signal; the first named model stays."""
    hard = signal.kind is SignalKind.HARD
    flags: dict[str, Any] = {flag: True} if (flag := _flag(signal)) else {}
    # Only a load prints its end; a line that names no memory mostly stands in a load.
    of_a_load = signal.part in (Part.ENDING, Part.RETRYING) or (
        signal.vague and signal.cause is not Cause.RUNNER_DIED
    )
    return replace(
        failure,
        last=max(failure.last, time),
        first_line=failure.first_line or line,
        last_line=line or failure.last_line,
        model=failure.model or signal.model,
        ended=failure.ended or signal.part is Part.ENDING,
        loading=failure.loading or of_a_load,
        died=failure.died or (signal.cause is Cause.RUNNER_DIED and hard),
        refuted=failure.refuted or signal.part is Part.CALL,
        healed=signal.part is Part.HEALED or (failure.healed and not hard),
        other=signal.cause.value if signal.kind is SignalKind.OTHER else failure.other,
        **flags,
    )


def _flag(signal: Signal) -> str:
    """Return the name of the flag that a signal sets, if any."""
    if signal.kind is SignalKind.HARD:
        return "vague" if signal.vague else "named"
    if signal.kind is SignalKind.SYSMEM:
        return "harmless" if signal.part is Part.HARMLESS else "host"
    if signal.cause is Cause.SPILL:
        return "estimate" if signal.part is Part.ESTIMATE else "spill"
    return signal.cause.value if signal.cause in (Cause.NOT_RECOVERED, Cause.RETRY) else ""


def merged(into: Failure, other: Failure) -> Failure:
    """Return a failure merged with another."""
    return replace(
        into,
        first=min(into.first, other.first),
        last=max(into.last, other.last),
        first_line=into.first_line or other.first_line,
        last_line=max(into.last_line, other.last_line),
        **{name: getattr(into, name) or getattr(other, name) for name in _MERGED},
    )


def settled(failure: Failure, stamp: float) -> Failure:
    """Return the failure with exact times, by the first stamp after its lines without one.

    Such a line stands right before that stamp. The time of a failure that was reported already never moves later.
    """

    def exact(time: float, timing: str) -> float:
        if timing == Timing.STAMPED:
            return time
        return stamp if timing == Timing.LATE and not failure.reported else min(time, stamp)

    first = exact(failure.first, failure.first_timing)
    last = max(first, exact(failure.last, failure.last_timing))
    return replace(failure, first=first, last=last, first_timing="", last_timing="")


def _cause_of(failure: Failure) -> Cause | None:
    """Return the cause that the signals amount to, None if to no incident.

    GPU memory by name outweighs host memory, which outweighs a line that names no memory. A failure whose later
    try succeeded is a retry. Spills and harmless complaints weigh least.
    """
    if failure.healed and failure.failed:
        return Cause.RETRY
    if failure.certain:
        died = failure.died and not failure.loading and failure.load_began is None
        return Cause.RUNNER_DIED if died else Cause.ALLOCATION
    ranked = (
        (failure.host, Cause.HOST),
        (failure.not_recovered, Cause.NOT_RECOVERED),
        (failure.retry, Cause.RETRY),
        (failure.other, failure.other),
        (failure.spill or failure.estimate, Cause.SPILL),
        (failure.harmless, Cause.HOST),
    )
    return next((Cause(cause) for holds, cause in ranked if holds), None)


def incident_of(failure: Failure, rules: GroupingRules) -> Incident | None:
    """Return the failure as an incident, None if it is none."""
    cause = _cause_of(failure)
    if cause is None:
        return None
    counts = failure.counted if failure.reported else would_count(failure, rules)
    return Incident(
        kind=KIND_OF[cause],
        cause=cause,
        counts=counts and not failure.healed,
        model=_name_of(failure.model, rules),
        reason=_reason(failure, cause, rules, counts=counts),
        **{name: getattr(failure, name) for name in _SHARED},
    )


def would_count(failure: Failure, rules: GroupingRules) -> bool:
    """Return True if the failure, as it stands, counts towards the threshold."""
    cause = _cause_of(failure)
    if failure.foreign or failure.healed or (cause is Cause.NOT_RECOVERED and failure.asked):
        return False
    return cause in rules.causes


def _reason(failure: Failure, cause: Cause, rules: GroupingRules, *, counts: bool) -> str:
    """Return why the incident does not count, empty if it does."""
    if failure.foreign:
        model = _name_of(failure.model, rules)
        if rules.trial and same_model(model, rules.trial):
            return "the fleet's own trial of this model"
        on_ladder = any(same_model(model, one) for one in rules.ladder)
        return "not the current rung's model" if on_ladder else "another client's model"
    if cause is Cause.NOT_RECOVERED and failure.asked:
        return "the unload was ours"
    if failure.healed:
        return "a later try succeeded"
    return "" if counts else f"{cause} is not among the causes that count"


def _name_of(model: str, rules: GroupingRules) -> str:
    """Return a model's tag if known, else the beginning of its digest."""
    return rules.tags.get(model, model[:_SHORT_DIGEST] if model.startswith("sha256-") else model)


@dataclass(frozen=True, slots=True)
class Load:
    """A load that is being tried.

    `failing`: this try ran out of memory. `dead`: its runner is gone. `retrying`: Ollama announced another try.
    `ended`: when the server reported a failure; another try may follow. `failure`: the number of the failure that
    collects its signals. `heard`: arrival of the load's last line, by the monitor's clock.
    """

    began: float
    heard: float
    model: str = ""
    tries: int = 1
    failing: bool = False
    dead: bool = False
    retrying: bool = False
    ended: float | None = None
    failure: int | None = None


@dataclass(frozen=True, slots=True)
class GroupState:
    """The grouper's state between two observations; `number` is the next failure's.

    `past`: the last closed failures. The log and the calls are two files; one may report a failure long after
    the other. `away`: the log is not being read. `layers_asked`: how many layers the client wants on
    the GPU, -1 if Ollama decides. `gpu_failed`: the runner could not initialise its GPU. `no_gpu`: the server has none.
    """

    number: int = 1
    load: Load | None = None
    failures: tuple[Failure, ...] = ()
    past: tuple[Failure, ...] = ()
    stamps: StampMemory = field(default_factory=StampMemory)
    away: bool = False
    layers_asked: int = -1
    gpu_failed: bool = False
    no_gpu: bool = False
