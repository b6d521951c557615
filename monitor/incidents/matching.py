"""Which failure a signal, a failed call or an unload belongs to."""

from fleet.config.ladder import same_model
from fleet.memory_errors.causes import Part, Signal
from monitor.incidents.failure import Failure, Timing
from monitor.incidents.messages import FailedCall
from monitor.incidents.step import GroupingStep, is_digest, same_digest

_SAME_UNLOAD = 1.0  # the three lines of one unload name the same beginning, to the second of a stamp
_UNLOAD_AFTER = 3.0  # a failed load or a dead runner is unloaded within moments
_ASKED_WITHIN = 4.0


def failure_of(step: GroupingStep, signal: Signal) -> Failure | None:
    """Return the failure outside any load that a signal belongs to, None if it begins a new one."""
    known = _dead_runner(step) if signal.part is Part.LATE else only_answered(step)
    if known is not None:
        return known
    loose = step.loose()
    if not loose:
        return None
    latest, gap = loose[-1], step.rules.incident_gap
    if not latest.bounded:
        return latest if abs(step.time - latest.first) <= gap else None
    again = signal.part in (Part.ECHO, Part.LATE) and abs(step.time - latest.last) <= gap
    return latest if again or _was_overtaken(step, latest, signal) else None


def _was_overtaken(step: GroupingStep, failure: Failure, signal: Signal) -> bool:
    """Return True if the access-log line that bounded a failure only arrived before this line.

    The access log goes to standard output and all else to standard error. Docker reads both side by side, so a line
    may come after an access-log line that was printed later.
    """
    until = max(failure.last, failure.answered or failure.last)
    if step.timing is Timing.STAMPED and failure.first <= step.time < until:
        return True
    late = abs(step.time - failure.last) <= step.rules.slack
    return signal.part is Part.ENDING and not failure.ended and late


def _dead_runner(step: GroupingStep) -> Failure | None:
    """Return the last failure that may be a runner's death: its log line comes at the next request."""
    dead = [one for one in step.loose() if one.span_start is not None or one.died]
    return dead[-1] if dead else None


def only_answered(step: GroupingStep) -> Failure | None:
    """Return the failure of a call under way at this line that only the API answer has reported so far."""
    slack = step.rules.slack
    for failure in step.latest(loose=True):
        if failure.span_start is None or failure.span_end is None or failure.from_log:
            continue
        if failure.span_start - slack <= step.time <= failure.span_end + slack:
            return step.revive(failure)
    return None


def answered_already(step: GroupingStep) -> Failure | None:
    """Return the failure whose call was answered after the open load began.

    The answer may be read before the log's lines of the last try.
    """
    load = step.load
    for failure in step.latest(loose=True):
        if load is None or failure.span_start is None or failure.span_end is None:
            continue
        same = not (failure.model and load.model) or same_weights(failure.model, load.model)
        during = failure.span_start - step.rules.slack <= load.began < failure.span_end
        if during and (same or not failure.from_log):
            return step.revive(failure)
    return None


def same_weights(one: str, other: str) -> bool:
    """Return True if two names in a log are one model's: digests, of which either may be cut short, or tags."""
    return same_digest(one, other) if is_digest(one) and is_digest(other) else same_model(one, other)


# -- failed calls


def failure_of_call(step: GroupingStep, call: FailedCall) -> Failure | None:
    """Return the failure that a call reports too, the latest if there are several."""
    return _within_call(step, call) or _same_death(step, call)


def _within_call(step: GroupingStep, call: FailedCall) -> Failure | None:
    """Return the failure whose lines fall within a call to its model."""
    slack = step.rules.slack
    for failure in step.latest():
        during = failure.last >= call.started - slack and failure.first <= call.ended + slack
        tag = step.rules.tags.get(failure.model, failure.model)
        another = tag and call.model and not is_digest(tag) and not same_model(tag, call.model)
        if failure.from_log and during and not another:
            return step.revive(failure)
    return None


def _same_death(step: GroupingStep, call: FailedCall) -> Failure | None:
    """Return the failure that another call reported which was under way at the same time."""
    for failure in step.latest():
        if failure.span_start is None or failure.span_end is None:
            continue
        if failure.span_start <= call.ended and call.started <= failure.span_end:
            return step.revive(failure)
    return None


# -- unloads


def failure_of_unload(step: GroupingStep, began: float | None) -> Failure | None:
    """Return the failure whose unload began then; where the line has no time, the gap decides."""
    if began is None:
        near = [f for f in step.failures.values() if abs(step.time - f.first) <= step.rules.incident_gap]
        return near[-1] if near else None
    latest = list(reversed(step.failures.values()))
    for failure in latest:
        if failure.unload is not None and abs(failure.unload - began) <= _SAME_UNLOAD:
            return failure
    for failure in latest:
        fits = failure.first - _SAME_UNLOAD <= began <= failure.last + _UNLOAD_AFTER
        if fits and failure.unload is None and (failure.failed or failure.host):
            return failure
    return None


def was_asked(step: GroupingStep, began: float, model: str) -> bool:
    """Return True if the fleet itself asked for an unload."""
    for unload in step.base.unloads:
        if abs(unload.at - began) <= _ASKED_WITHIN + step.rules.slack:
            digests = is_digest(model) and is_digest(unload.model)
            if not digests or same_digest(model, unload.model):
                return True
    return False
