"""The grouper: observations in, incidents out. Pure; the state is all it knows.

How a failure is bounded, and why, is argued in `docs/decisions/0010-grouping.md`.
"""

from dataclasses import replace

from fleet.memory_errors.causes import Part, Signal, SignalKind
from monitor.detection.detector import Detector, classify_error
from monitor.detection.line_parser import parse_line
from monitor.detection.timestamps import resolve
from monitor.incidents.failure import Afloat, Failure, failure_verdict, joined
from monitor.incidents.line_rules import on_reading, on_stamp
from monitor.incidents.messages import (
    FailedCall,
    Flush,
    GroupingRules,
    Heard,
    Line,
    LogAway,
    LogBack,
    Observation,
    Outcome,
    TimePassed,
    Unloading,
)
from monitor.incidents.state import GroupState, Load, Unload
from monitor.incidents.step import GroupingStep, is_anothers


def advance(
    state: GroupState, observation: Observation, rules: GroupingRules, detector: Detector
) -> tuple[GroupState, tuple[Outcome, ...]]:
    """Return the state after an observation, and what it brought to light, in order."""
    work = GroupingStep(state, rules)
    match observation:
        case Line():
            _on_line(work, observation, detector)
        case Heard(at):
            _on_heard(work, at)
        case LogAway():
            work.away = True
        case LogBack(at):
            _on_back(work, at)
        case FailedCall():
            _on_api_error(work, observation)
        case Unloading(model, at):
            work.unloads = (*work.unloads, Unload(model, at))
        case TimePassed(now):
            _on_tick(work, now)
        case Flush():
            _on_flush(work)
    return work.state(), tuple(work.outcomes)


def next_deadline(state: GroupState, rules: GroupingRules) -> float | None:
    """Return the Unix time at which a Tick is due, None while nothing is waited for."""
    due = [] if state.away else [_due(failure, state.load, rules) for failure in state.failures]
    return min((at for at in due if at is not None), default=None)


def _due(failure: Failure, load: Load | None, rules: GroupingRules) -> float | None:
    """Return when a failure is to be told as it stands, by our own clock; None if it need not be."""
    if failure.told or failure_verdict(failure) is None:
        return None
    if load is None or failure.number != load.failure:
        return failure.heard + rules.incident_gap
    silent = load.heard + rules.silence
    return silent if load.ended_heard is None else min(silent, load.ended_heard + rules.retry_grace)


def _kept(failure: Failure, rules: GroupingRules) -> float:
    return rules.keep if failure.from_log else rules.keep_api


def _on_line(work: GroupingStep, line: Line, detector: Detector) -> None:
    parsed = parse_line(line.text)
    time, work.stamps = resolve(parsed.own, parsed.outer, work.stamps, arrival=line.arrival)
    if line.time is not None:
        time = line.time
        work.stamps = replace(work.stamps, last=time, last_heard=line.arrival)
    if time is None:
        time = line.arrival or line.heard or 0.0
    if line.arrival is not None:
        time = min(time, line.arrival)
    work.time, work.line = time, line.number
    work.heard = next(at for at in (line.arrival, line.heard, time) if at is not None)
    if parsed.own is not None or parsed.outer is not None or line.time is not None:
        on_stamp(work)
    else:
        work.afloat = Afloat.LATE if line.arrival is None else Afloat.LIVE
    if work.afloat is not Afloat.LATE:
        _settle_by_time(work)
    if work.load is not None and parsed.gin is None:
        work.load = replace(work.load, heard=max(work.load.heard, work.heard))
    on_reading(work, detector.read(parsed))


def _on_heard(work: GroupingStep, at: float) -> None:
    if work.load is not None:
        work.load = replace(work.load, heard=max(work.load.heard, at))


def _on_back(work: GroupingStep, at: float) -> None:
    """Wait anew for what was waited for while nobody read the log."""
    if not work.away:
        return
    work.away = False
    _on_heard(work, at)
    if work.load is not None and work.load.ended_heard is not None:
        work.load = replace(work.load, ended_heard=max(work.load.ended_heard, at))
    for failure in list(work.failures.values()):
        work.put(replace(failure, heard=max(failure.heard, at)))


def _settle_by_time(work: GroupingStep) -> None:
    """Settle what the log's own times say is over, so that reading late gives what reading live gave.

    Only these close a failure or a load. Our own clock has it told at most: a line may come at any time later.
    """
    rules, load = work.rules, work.load
    if load is not None:
        late = load.ended is not None and work.time - load.ended > rules.retry_grace
        if late or abs(work.time - load.began) > rules.load_timeout:
            work.finish_load(loaded=False)
    for failure in work.loose():
        if abs(work.time - failure.last) > _kept(failure, rules):
            work.close(failure)
        elif abs(work.time - failure.first) > rules.incident_gap:
            work.tell(failure)


def _on_tick(work: GroupingStep, now: float) -> None:
    """Tell what has waited long enough by our own clock.

    While nobody reads the log nothing has: what was not read may say that it was got round, or when it was.
    """
    for failure in [] if work.away else list(work.failures.values()):
        due = _due(failure, work.load, work.rules)
        if due is not None and now >= due:
            work.tell(failure)


def _on_flush(work: GroupingStep) -> None:
    work.finish_load(loaded=False)
    for failure in list(work.failures.values()):
        work.close(failure)


# -- API errors
# --------------------------------------------------------------------------------------------------


def _on_api_error(work: GroupingStep, error: FailedCall) -> None:
    """Join the failure that fell into the request; without one its own text decides."""
    work.time = work.heard = error.ended
    for old in work.loose():
        if not old.from_log and error.ended - old.last > work.rules.keep_api:
            work.close(old)
    said = classify_error(error.error)
    failure = _told_by_log(work, error) or _same_death(work, error)
    if failure is not None:
        failure = work.put(_with_span(failure, error))
        if said is not None:
            failure = work.put(joined(failure, _api_signal(said, error), time=failure.last, line=0))
        if work.load is not None and work.load.failure == failure.number:
            _answered_in_load(work, failure)
        elif said is not None and said.kind is SignalKind.HARD:
            work.tell(failure)
    elif said is not None:
        failure = _with_span(work.new_failure(), error)
        failure = joined(failure, _api_signal(said, error), time=error.ended, line=0)
        failure = work.put(replace(failure, foreign=is_anothers(error.model, work.rules)))
        if said.kind is SignalKind.HARD:
            work.tell(failure)


def _answered_in_load(work: GroupingStep, failure: Failure) -> None:
    """Count a load's failure whose request was answered, and keep the load open for its last lines.

    An answer may be read before the lines that end the load in the log, which then belong to it still.
    """
    work.tell(failure)
    if work.load is not None and work.load.ended is None:
        work.load = replace(work.load, ended=work.time, ended_heard=work.heard, dead=True, retrying=False)


def _api_signal(said: Signal, error: FailedCall) -> Signal:
    return replace(
        said, pattern="api-error", part=Part.ECHO, model=said.model or error.model, error=error.error
    )


def _with_span(failure: Failure, error: FailedCall) -> Failure:
    start = error.started if failure.span_start is None else min(failure.span_start, error.started)
    end = error.ended if failure.span_end is None else max(failure.span_end, error.ended)
    return replace(failure, span_start=start, span_end=end)


def _told_by_log(work: GroupingStep, error: FailedCall) -> Failure | None:
    """Return the failure whose lines fall within the request, the latest if there are several."""
    slack = work.rules.slack
    for failure in work.latest():
        during = failure.last >= error.started - slack and failure.first <= error.ended + slack
        if failure.from_log and during:
            return work.revive(failure)
    return None


def _same_death(work: GroupingStep, error: FailedCall) -> Failure | None:
    """Return the failure that another request reported which was under way at the same time."""
    for failure in work.latest():
        if failure.span_start is None or failure.span_end is None:
            continue
        if failure.span_start <= error.ended and error.started <= failure.span_end:
            return work.revive(failure)
    return None
