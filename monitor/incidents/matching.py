"""Which failure a signal belongs to: one that is being collected, one that only an answer told of, or a past one."""

from fleet.config.ladder import same_model
from fleet.memory_errors.causes import Part, Signal
from monitor.incidents.failure import Afloat, Failure
from monitor.incidents.step import GroupingStep, same_digest


def home_of(work: GroupingStep, signal: Signal) -> Failure | None:
    """Return the failure outside any load that a signal belongs to, None if it begins a new one."""
    known = _late_home(work) if signal.part is Part.LATE else reported(work)
    if known is not None:
        return known
    loose = work.loose()
    if not loose:
        return None
    latest, gap = loose[-1], work.rules.incident_gap
    if not latest.bounded:
        return latest if abs(work.time - latest.first) <= gap else None
    again = signal.part in (Part.ECHO, Part.LATE) and abs(work.time - latest.last) <= gap
    return latest if again or _overtaken(work, latest, signal) else None


def _overtaken(work: GroupingStep, failure: Failure, signal: Signal) -> bool:
    """Tell whether the line that bounded a failure was only faster than this one.

    The access log goes to standard output and all else to standard error, which Docker reads one beside the
    other: a line may come after an access-log line that it was printed before.
    """
    until = max(failure.last, failure.answered or failure.last)
    if work.afloat is Afloat.STAMPED and failure.first <= work.time < until:
        return True
    late = abs(work.time - failure.last) <= work.rules.slack
    return signal.part is Part.ENDING and not failure.ended and late


def reported(work: GroupingStep) -> Failure | None:
    """Return the failure that only an API answer told of so far, of a request under way just now."""
    slack = work.rules.slack
    for failure in _loose_or_past(work):
        if failure.span_start is None or failure.span_end is None or failure.from_log:
            continue
        if failure.span_start - slack <= work.time <= failure.span_end + slack:
            return work.revive(failure)
    return None


def _loose_or_past(work: GroupingStep) -> list[Failure]:
    held = work.load.failure if work.load else None
    return [failure for failure in work.latest() if failure.number != held]


def answered_already(work: GroupingStep) -> Failure | None:
    """Return the failure whose request is known to have been answered after the open load began.

    An answer may be read before the log's lines of its last try.
    """
    load = work.load
    for failure in _loose_or_past(work):
        if load is None or failure.span_start is None or failure.span_end is None:
            continue
        same = not (failure.model and load.model) or same_weights(failure.model, load.model)
        during = failure.span_start - work.rules.slack <= load.began < failure.span_end
        if during and (same or not failure.from_log):
            return work.revive(failure)
    return None


def _late_home(work: GroupingStep) -> Failure | None:
    """Return the last failure that a runner's death, told at the next request, may be."""
    candidates = [f for f in work.loose() if f.span_start is not None or f.died]
    return candidates[-1] if candidates else None


def same_weights(one: str, other: str) -> bool:
    """Return True if two names in a log are one model's: digests, of which either may be cut short, or tags."""
    digests = one.startswith("sha256-") and other.startswith("sha256-")
    return same_digest(one, other) if digests else same_model(one, other)
