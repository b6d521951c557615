"""One failure in the making: the signals it has collected, and what they amount to together."""

from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.memory_errors.causes import Cause, Part, Signal, SignalKind
from monitor.incidents.messages import GroupingRules, Incident

_MOST_PATTERNS = 32


class Afloat(StrEnum):
    """How far the time of a line without a stamp can be believed until the next stamp comes.

    stamped  it is the line's own
    late     the last stamp before it, possibly long before: the next one is nearer
    live     when it came, possibly held up: the next stamp bounds it
    """

    STAMPED = ""
    LATE = "late"
    LIVE = "live"

    def landed(self, guess: float, stamp: float) -> float:
        """Return the time, now that the next stamp is known."""
        if self is Afloat.STAMPED:
            return guess
        return stamp if self is Afloat.LATE else min(guess, stamp)


@dataclass(frozen=True, slots=True)
class Failure:
    """Signals that belong together.

    `born` is what its first time was taken for at first; the id keeps it. The flags say which sorts of signal
    it has: `named` and `vague` failures of the GPU's memory, `host` (fatal) and `harmless` ones of the host's,
    and the soft causes. `bounded`: its load or request is over, so that a new failure cannot be part of it.
    `answered`: when the access-log line came that said so. `ended`: the server has reported its load's end.
    `told`: its incident was found; `closed`: it has had its final form. `unload`: when the unload began whose
    memory did not come back. `span_*`: a failed request's start and end. `heard`: when we got its first line,
    by our own clock; telling waits by this, everything else goes by the log's times. `first_afloat`,
    `last_afloat`: that time is a line's without a stamp, and the next stamp settles it (`Afloat`).
    """

    number: int
    first: float
    last: float
    born: float = 0.0
    first_line: int = 0
    last_line: int = 0
    patterns: tuple[str, ...] = ()
    count: int = 0
    named: bool = False
    vague: bool = False
    host: bool = False
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
    told: bool = False
    closed: bool = False
    counted: bool = False
    healed: bool = False
    unload: float | None = None
    load_began: float | None = None
    span_start: float | None = None
    span_end: float | None = None
    from_log: bool = False
    heard: float = 0.0
    first_afloat: str = ""
    last_afloat: str = ""

    @property
    def id(self) -> str:
        """Return the incident's id: the same for the same log, whenever it is read."""
        return f"{self.number}-{round(self.born * 1000)}"

    @property
    def failed(self) -> bool:
        """Return whether something failed, or was tried and given up, rather than only spilled or swapped."""
        return self.named or self.vague or self.retry

    @property
    def certain(self) -> bool:
        """Return whether it is known to be a failure of the GPU's memory."""
        return self.named or (self.vague and not self.host)

    @property
    def minor(self) -> bool:
        """Return whether all of it is a spill or a harmless complaint of the host's."""
        return not (self.failed or self.host or self.not_recovered or self.other)


def joined(failure: Failure, signal: Signal, *, time: float, line: int) -> Failure:
    """Add a signal; the first named model stays."""
    patterns = failure.patterns
    if signal.pattern not in patterns and len(patterns) < _MOST_PATTERNS:
        patterns = (*patterns, signal.pattern)
    failure = replace(
        failure,
        last=max(failure.last, time),
        first_line=failure.first_line or line,
        last_line=line or failure.last_line,
        patterns=patterns,
        count=failure.count + 1,
        model=failure.model or signal.model,
        ended=failure.ended or signal.part is Part.ENDING,
        loading=failure.loading or _of_loading(signal),
        died=failure.died or (signal.cause is Cause.RUNNER_DIED and signal.kind is SignalKind.HARD),
    )
    return _flagged(failure, signal)


def _of_loading(signal: Signal) -> bool:
    """Return whether only a load says so; what does not say whose memory it was is mostly said in one."""
    if signal.part in (Part.ENDING, Part.RETRYING):
        return True
    return signal.vague and signal.cause is not Cause.RUNNER_DIED


def _flagged(failure: Failure, signal: Signal) -> Failure:
    if signal.part is Part.HEALED:
        return replace(failure, retry=True, healed=True)
    if signal.kind is SignalKind.HARD:
        failure = replace(failure, healed=False)
        return replace(failure, vague=True) if signal.vague else replace(failure, named=True)
    if signal.kind is SignalKind.SYSMEM:
        return (
            replace(failure, harmless=True) if signal.part is Part.HARMLESS else replace(failure, host=True)
        )
    if signal.cause is Cause.NOT_RECOVERED:
        return replace(failure, not_recovered=True)
    if signal.cause is Cause.SPILL:
        return (
            replace(failure, estimate=True) if signal.part is Part.ESTIMATE else replace(failure, spill=True)
        )
    if signal.cause is Cause.RETRY:
        return replace(failure, retry=True)
    return failure if signal.cause is Cause.SWAP else replace(failure, other=signal.cause.value)


def failure_verdict(failure: Failure) -> tuple[SignalKind, Cause] | None:
    """Return what the signals amount to, None if to no incident.

    The GPU's memory by name outweighs the host's, which outweighs what does not say whose it is; failures
    that were got round are one retry; spills and harmless complaints count least.
    """
    if failure.healed and failure.failed:
        return SignalKind.SOFT, Cause.RETRY
    if failure.certain:
        died = failure.died and not failure.loading and failure.load_began is None
        return SignalKind.HARD, Cause.RUNNER_DIED if died else Cause.ALLOCATION
    if failure.host:
        return SignalKind.SYSMEM, Cause.HOST
    return _lesser(failure)


def _lesser(failure: Failure) -> tuple[SignalKind, Cause] | None:
    if failure.not_recovered:
        return SignalKind.SOFT, Cause.NOT_RECOVERED
    if failure.retry:
        return SignalKind.SOFT, Cause.RETRY
    if failure.spill or failure.estimate:
        return SignalKind.SOFT, Cause.SPILL
    if failure.other:
        return SignalKind.OTHER, Cause(failure.other)
    return (SignalKind.SYSMEM, Cause.HOST) if failure.harmless else None


def incident_of(failure: Failure, rules: GroupingRules, reason: str = "") -> Incident | None:
    """Return the failure as an incident, None if it is none."""
    judged = failure_verdict(failure)
    if judged is None:
        return None
    kind, cause = judged
    counts = failure.counted if failure.told else would_count(failure, rules)
    return Incident(
        id=failure.id,
        kind=kind,
        cause=cause,
        counts=counts and not failure.healed,
        first=failure.first,
        last=failure.last,
        signals=failure.patterns,
        signal_count=failure.count,
        model=rules.tags.get(failure.model, failure.model),
        reason=reason or _reason(failure, cause, counts=counts),
        first_line=failure.first_line,
        last_line=failure.last_line,
        load_began=failure.load_began,
        api=failure.span_start is not None,
    )


def would_count(failure: Failure, rules: GroupingRules) -> bool:
    """Return whether the failure, as it stands, counts towards the threshold."""
    judged = failure_verdict(failure)
    if judged is None or failure.foreign or failure.healed:
        return False
    if judged[1] is Cause.NOT_RECOVERED and failure.asked:
        return False
    return judged[1] in rules.causes


def _reason(failure: Failure, cause: Cause, *, counts: bool) -> str:
    if failure.foreign:
        return "another client's model"
    if cause is Cause.NOT_RECOVERED and failure.asked:
        return "the unload was ours"
    if failure.healed:
        return "a later try succeeded"
    return "" if counts else f"{cause} is not among the causes that count"
