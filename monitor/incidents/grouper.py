"""The grouper: observations in, incidents out. Pure; all its knowledge is in the state.

`docs/decisions/0010-grouping.md` gives the reasons for the bounds of a failure.
"""

from dataclasses import replace

from fleet.memory_errors.causes import Part, SignalKind
from fleet.memory_errors.judge import judge_error
from monitor.detection.detector import Detector
from monitor.detection.line_parser import parse_line
from monitor.detection.timestamps import from_unix, resolve
from monitor.incidents import messages
from monitor.incidents.line_rules import on_reading, on_stamp
from monitor.incidents.matching import failure_of_call
from monitor.incidents.messages import GroupingRules, Observation, Outcome
from monitor.incidents.state import Failure, GroupState, Load, Timing, incident_of, joined
from monitor.incidents.step import GroupingStep, is_anothers


def advance(
    state: GroupState, observation: Observation, rules: GroupingRules, detector: Detector
) -> tuple[GroupState, tuple[Outcome, ...]]:
    """Return the state after an observation, and its outcomes, in order."""
    step = GroupingStep(state, rules)
    match observation:
        case messages.Line():
            _on_line(step, observation, detector)
        case messages.Heard(at):
            step.change_load(heard=at)
        case messages.LogAway():
            step.note(away=True)
        case messages.LogBack(at):
            _on_back(step, at)
        case messages.FailedCall():
            _on_failed_call(step, observation)
        case messages.TimePassed(now):
            _on_time(step, now)
        case messages.Flush():
            step.finish_load(loaded=False)
            for failure in list(step.failures.values()):
                step.close(failure)
    return step.state(), tuple(step.outcomes)


def next_deadline(state: GroupState, rules: GroupingRules) -> float | None:
    """Return the Unix time at which a `TimePassed` is due, None while nothing is waited for."""
    waiting = () if state.away else state.failures
    due = [at for failure in waiting if (at := _due(failure, state.load, rules)) is not None]
    return min(due, default=None)


def _due(failure: Failure, load: Load | None, rules: GroupingRules) -> float | None:
    """Return when a failure is due to be reported as it stands, by the monitor's clock; None if never."""
    if failure.reported or incident_of(failure, rules) is None:
        return None
    if load is None or failure.number != load.failure:
        return failure.heard + rules.incident_gap
    if load.ended is not None:
        return load.heard + rules.retry_grace
    return load.heard + (rules.load_timeout if load.retrying else rules.silence)


# -- lines
# -------------------------------------------------------------------------------------------------------


def _on_line(step: GroupingStep, line: messages.Line, detector: Detector) -> None:
    parsed = parse_line(line.text)
    outer = parsed.outer if line.time is None else from_unix(line.time)
    time, stamps = resolve(parsed.own, outer, step.base.stamps, arrival=line.arrival)
    step.note(stamps=stamps)
    if time is None:
        time = line.arrival or line.heard or 0.0
    step.time = time if line.arrival is None else min(time, line.arrival)
    step.line, step.text = line.number, line.text
    step.heard = line.arrival or line.heard or step.time
    if parsed.own is not None or outer is not None:
        on_stamp(step)
    else:
        step.timing = Timing.LATE if line.arrival is None else Timing.LIVE
    if step.timing is not Timing.LATE:
        _settle_by_time(step)
    if parsed.gin is None:  # other clients' requests are no sign of the load
        step.change_load(heard=step.heard)
    on_reading(step, detector.read(parsed))


def _settle_by_time(step: GroupingStep) -> None:
    """Close the load and the failures that are over by the log's own times.

    Only these times close a failure: a log read late then gives the same incidents as live. The monitor's clock only
    reports a failure, since a line may come at any later time.
    """
    rules, load = step.rules, step.load
    if load is not None:
        late = load.ended is not None and step.time - load.ended > rules.retry_grace
        if late or abs(step.time - load.began) > rules.load_timeout:
            step.finish_load(loaded=False)
    for failure in step.loose():
        if abs(step.time - failure.last) > (rules.keep if failure.from_log else rules.keep_api):
            step.close(failure)
        elif abs(step.time - failure.first) > rules.incident_gap:
            step.report(failure)


# -- time
# --------------------------------------------------------------------------------------------------------


def _on_back(step: GroupingStep, at: float) -> None:
    """Restart each wait: no line was read meanwhile, or the monitor's clock was set back."""
    step.note(away=False)
    step.change_load(heard=at)
    for failure in list(step.failures.values()):
        step.put(failure, heard=at)


def _on_time(step: GroupingStep, now: float) -> None:
    """Report failures that have waited long enough by the monitor's clock.

    While the log is away no failure is reported: unread lines may report a later try. A try that was announced and
    never made is a retry.
    """
    for failure in [] if step.base.away else list(step.failures.values()):
        load, due = step.load, _due(failure, step.load, step.rules)
        if due is not None and now >= due:
            announced = load is not None and load.retrying and load.failure == failure.number
            step.report(step.heal(failure) if announced else failure)


# -- failed calls
# ------------------------------------------------------------------------------------------------


def _on_failed_call(step: GroupingStep, call: messages.FailedCall) -> None:
    """Join the failure that fell into the call; without one the error's own text decides."""
    step.time = step.heard = call.ended
    verdict = judge_error(call.error)
    known = failure_of_call(step, call)
    if known is None and verdict is None:
        return
    failure = _with_span(step, known or step.new_failure(), call)
    if verdict is None:
        return
    model = verdict.model or call.model
    signal = replace(verdict, pattern="api-error", part=Part.ECHO, model=model, error=call.error)
    foreign = failure.foreign or (known is None and is_anothers(call.model, step.rules))
    failure = step.put(joined(failure, signal, time=failure.last, line=0), foreign=foreign)
    if verdict.kind is SignalKind.HARD:
        step.report(failure)


def _with_span(step: GroupingStep, failure: Failure, call: messages.FailedCall) -> Failure:
    start = call.started if failure.span_start is None else min(failure.span_start, call.started)
    end = call.ended if failure.span_end is None else max(failure.span_end, call.ended)
    return step.put(failure, span_start=start, span_end=end)
