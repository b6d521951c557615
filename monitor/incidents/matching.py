"""The matching of signals, failed calls and unloads with failures."""

from collections.abc import Iterable, Iterator

from fleet.config.ladder import same_model
from fleet.memory_errors.causes import Part, Signal
from monitor.incidents.messages import FailedCall
from monitor.incidents.state import Failure, Timing
from monitor.incidents.step import GroupingStep, is_anothers, is_digest, same_digest

_SAME_UNLOAD = 1.0  # the three lines of one unload name the same beginning, to the second of a stamp
_UNLOAD_AFTER = 3.0  # a failed load or a dead runner is unloaded within moments
_ASKED_WITHIN = 4.0


def failure_of(step: GroupingStep, signal: Signal) -> Failure | None:
    """Return the failure outside any load that a signal belongs to, None if it begins a new one."""
    known = _dead_runner(step) if signal.part is Part.LATE else only_answered(step)
    loose = step.loose()
    if known is not None or not loose:
        return known
    latest, gap = loose[-1], step.rules.incident_gap
    if latest.foreign and _is_ours(step, signal):
        return None
    if not latest.bounded:
        return latest if abs(step.time - latest.first) <= gap else None
    again = signal.part in (Part.ECHO, Part.LATE) and abs(step.time - latest.last) <= gap
    return latest if again or _was_overtaken(step, latest, signal) else None


def _is_ours(step: GroupingStep, signal: Signal) -> bool:
    """Return True if a signal outside any load is of the rung's model, by name or as an unnamed beginning."""
    return not is_anothers(signal.model, step.rules) and bool(signal.model or signal.part is Part.FIRST)


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


def _of_calls(step: GroupingStep, start: float, end: float, *, loose: bool) -> Iterator[Failure]:
    """Yield the failures with a call that was under way in a stretch of time, the latest first."""
    for failure in step.latest(loose=loose):
        span = failure.span_start, failure.span_end
        if span[0] is not None and span[1] is not None and span[0] <= end and start <= span[1]:
            yield failure


def _first(step: GroupingStep, found: Iterable[Failure]) -> Failure | None:
    failure = next(iter(found), None)
    return None if failure is None else step.revive(failure)


def only_answered(step: GroupingStep) -> Failure | None:
    """Return the failure of a call under way at this line that only the API answer has reported so far."""
    slack = step.rules.slack
    calls = _of_calls(step, step.time - slack, step.time + slack, loose=True)
    return _first(step, (failure for failure in calls if not failure.from_log))


def answered_already(step: GroupingStep) -> Failure | None:
    """Return the failure whose call was answered after the open load began.

    The answer may be read before the log's lines of the last try.
    """
    load = step.load
    if load is None:
        return None
    calls = _of_calls(step, load.began, load.began + step.rules.slack, loose=True)
    model = load.model
    ours = (
        one for one in calls if not (one.from_log and one.model and model) or same_weights(one.model, model)
    )
    return _first(step, ours)


def same_weights(one: str, other: str) -> bool:
    """Return True if two names in a log are one model's: tags, or digests that may be cut short."""
    return same_digest(one, other) if is_digest(one) and is_digest(other) else same_model(one, other)


# -- failed calls


def failure_of_call(step: GroupingStep, call: FailedCall) -> Failure | None:
    """Return the failure that a call also reports: one with lines during it, or one of another call then."""
    slack = step.rules.slack
    lines = (
        failure
        for failure in step.latest()
        if failure.last >= call.started - slack and failure.first <= call.ended + slack
        if failure.from_log and not _names_another(step, failure, call)
    )
    return _first(step, lines) or _first(step, _of_calls(step, call.started, call.ended, loose=False))


def _names_another(step: GroupingStep, failure: Failure, call: FailedCall) -> bool:
    """Return True if the lines of a failure name another model than the call."""
    tag = step.rules.tags.get(failure.model, failure.model)
    return bool(tag and call.model) and not is_digest(tag) and not same_model(tag, call.model)


# -- unloads


def failure_of_unload(step: GroupingStep, began: float | None) -> Failure | None:
    """Return the failure whose unload `began` at that time; without a time the gap decides."""
    if began is None:
        near = [f for f in step.failures.values() if abs(step.time - f.first) <= step.rules.incident_gap]
        return near[-1] if near else None
    latest = list(reversed(step.failures.values()))
    same = (one for one in latest if one.unload is not None and abs(one.unload - began) <= _SAME_UNLOAD)
    before = (
        one
        for one in latest
        if one.first - _SAME_UNLOAD <= began <= one.last + _UNLOAD_AFTER
        if one.unload is None and (one.failed or one.host)
    )
    return next(same, None) or next(before, None)


def was_asked(step: GroupingStep, began: float) -> bool:
    """Return True if the fleet itself asked for an unload."""
    return any(abs(at - began) <= _ASKED_WITHIN + step.rules.slack for at in step.rules.unloads)
