"""What a line does to what is open: first the bounds it sets, then its signal, then what it ends."""

from collections.abc import Callable
from dataclasses import replace

from fleet.memory_errors.causes import Cause, LogEvent, LogEventKind, Part, Signal, SignalKind
from monitor.detection.detector import LineReading
from monitor.incidents.failure import Afloat, Failure
from monitor.incidents.matching import answered_already, home_of, reported, same_weights
from monitor.incidents.messages import GpuFound, ServerStarted, SignalSeen, SwapSeen
from monitor.incidents.step import GroupingStep, is_anothers, same_digest

_SAME_UNLOAD = 1.0  # the three lines of one unload speak of the same beginning, to the second of a stamp
_UNLOAD_AFTER = 3.0  # a failed load or a dead runner is unloaded within moments
_ASKED_WITHIN = 4.0
_HTTP_OK = 200
_HTTP_FAILED = (499, 500)


def on_reading(work: GroupingStep, reading: LineReading) -> None:
    """Take in one line that the detector has read."""
    event, signal = reading.event, reading.signal
    if event is not None and event.kind in _BEFORE:
        _BEFORE[event.kind](work, event)
    if signal is not None:
        on_signal(work, signal)
    if event is not None and event.kind in _AFTER:
        _AFTER[event.kind](work, event)


def on_stamp(work: GroupingStep) -> None:
    """Settle the lines without a stamp before this one: when they were, and so what they belong to."""
    for failure in work.land():
        known = None if failure.told else reported(work)
        if known is not None:
            work.absorb(known, failure)
        elif failure.certain:
            work.tell(failure)


def on_signal(work: GroupingStep, signal: Signal) -> None:
    """Add a signal to the failure it belongs to."""
    if signal.part is Part.ROUTINE:
        work.outcomes.append(SignalSeen(signal, work.time, work.line, ""))
        if signal.cause is Cause.SWAP:
            work.outcomes.append(SwapSeen(signal.model, work.time))
    elif signal.part is Part.UNLOAD:
        _on_unload(work, signal)
    elif work.load is not None:
        _add_in_load(work, signal)
    else:
        _add_outside(work, signal)


def _add_in_load(work: GroupingStep, signal: Signal) -> None:
    failure = work.load_failure()
    if failure is None:
        failure = work.attach(answered_already(work) or reported(work) or work.new_failure())
    failure = work.add(failure, signal)
    if work.load is not None:
        work.load = replace(
            work.load, failing=(work.load.failing or signal.kind is SignalKind.HARD) and not failure.healed
        )
    if signal.part is Part.HEALED and failure.told:
        work.heal(failure)


def _add_outside(work: GroupingStep, signal: Signal) -> None:
    """Where no load is open a failure counts at once; what counts not waits for what may join it."""
    failure = work.add(home_of(work, signal) or work.new_failure(), signal)
    if signal.part is Part.HEALED:
        work.heal(failure)
    elif failure.certain and work.afloat is not Afloat.LATE:
        work.tell(failure)


# -- not recovered
# -----------------------------------------------------------------------------------------------


def _on_unload(work: GroupingStep, signal: Signal) -> None:
    """Give an unload's late memory to the failure whose unload it was; alone it is its own."""
    began = None if signal.seconds is None or not work.time else work.time - signal.seconds
    failure = _unloaded(work, began) or _unload_nearby(work, began)
    if failure is not None:
        work.add(replace(failure, unload=failure.unload if failure.unload is not None else began), signal)
        return
    failure = work.new_failure()
    asked = began is not None and _was_asked(work, began, signal.model)
    foreign = is_anothers(signal.model, work.rules)
    failure = work.put(replace(failure, unload=began, asked=asked, foreign=foreign))
    work.tell(work.add(failure, signal))


def _unloaded(work: GroupingStep, began: float | None) -> Failure | None:
    """Return the failure that this very unload belongs to."""
    if began is None:
        return None
    for failure in reversed(work.failures.values()):
        if failure.unload is not None and abs(failure.unload - began) <= _SAME_UNLOAD:
            return failure
    for failure in reversed(work.failures.values()):
        fits = failure.first - _SAME_UNLOAD <= began <= failure.last + _UNLOAD_AFTER
        if fits and failure.unload is None and (failure.failed or failure.host):
            return failure
    return None


def _unload_nearby(work: GroupingStep, began: float | None) -> Failure | None:
    """Where a line says no seconds, or nothing has a time, the gap decides."""
    if began is not None:
        return None
    near = [f for f in work.failures.values() if abs(work.time - f.first) <= work.rules.incident_gap]
    return near[-1] if near else None


def _was_asked(work: GroupingStep, began: float, model: str) -> bool:
    for unload in work.unloads:
        if abs(unload.at - began) <= _ASKED_WITHIN + work.rules.slack:
            both = model and unload.model
            blobs = both and model.startswith("sha256-") and unload.model.startswith("sha256-")
            if not blobs or same_digest(model, unload.model):
                return True
    return False


# -- events
# ------------------------------------------------------------------------------------------------------


def _on_server(work: GroupingStep, _: LogEvent) -> None:
    work.finish_load(loaded=False)
    for failure in list(work.failures.values()):
        work.put(replace(failure, bounded=True))
    work.outcomes.append(ServerStarted(work.time))


def _on_begun(work: GroupingStep, event: LogEvent) -> None:
    """Note that a runner is started: another try of the load that is open, or a new load."""
    load = work.load
    other = (
        load is not None and bool(load.model and event.model) and not same_weights(load.model, event.model)
    )
    over = load is not None and load.failing and not _before_its_answer(work)
    if load is not None and not load.retrying and (over or other):
        work.finish_load(loaded=False)
    _on_seen(work, event)


def _before_its_answer(work: GroupingStep) -> bool:
    """Tell whether the line is from before the answer that the open load's request is known to have had.

    The answer may be read before the log, and then another try within the same request comes after it.
    """
    failure = work.load_failure()
    return failure is not None and failure.span_end is not None and work.time < failure.span_end


def _on_seen(work: GroupingStep, event: LogEvent) -> None:
    """Note that a model's file is read: part of the load that is open, unless that one is over."""
    load = work.load
    over = load is not None and (load.dead or load.ended is not None) and not _before_its_answer(work)
    if load is not None and not load.retrying and over:
        work.finish_load(loaded=False)
        load = None
    if load is None:
        work.open_load(event.model)
        return
    work.load = replace(
        load,
        model=load.model or event.model,
        tries=load.tries + load.retrying,
        failing=load.failing and not load.retrying,
        dead=load.dead and not load.retrying,
        ended=None,
        ended_heard=None,
        retrying=False,
    )


def _on_tried(work: GroupingStep, event: LogEvent) -> None:
    """Note a load under way whose beginning was not seen: what just failed is part of it."""
    if work.load is not None:
        return
    work.open_load(event.model)
    near = [f for f in work.loose() if not f.bounded and abs(work.time - f.first) <= work.rules.incident_gap]
    if near:
        work.attach(near[-1])


def _on_retried(work: GroupingStep, event: LogEvent) -> None:
    if work.load is None:
        work.open_load(event.model)
        near = [f for f in work.loose() if _may_be_retried(work, f)]
        if near:
            work.attach(work.put(replace(near[-1], bounded=False)))
    if work.load is not None:
        work.load = replace(work.load, retrying=True, dead=False, ended=None, ended_heard=None)


def _may_be_retried(work: GroupingStep, failure: Failure) -> bool:
    """Tell whether a try just now announced is one more of this load; it may have loaded, but not all on the GPU."""
    return (failure.failed or failure.spill) and abs(work.time - failure.last) <= work.rules.incident_gap


def _on_load_ok(work: GroupingStep, _: LogEvent) -> None:
    work.finish_load(loaded=True)


def _on_load_failed(work: GroupingStep, event: LogEvent) -> None:
    """End the load, unless Ollama may yet say that it tries again."""
    if work.load is None:
        return
    if event.final:
        work.finish_load(loaded=False)
        return
    work.load = replace(work.load, ended=work.time, ended_heard=work.heard, dead=True)


def _on_runner_gone(work: GroupingStep, event: LogEvent) -> None:
    """Note that a runner ended; a `final` one gave up a load, any other died."""
    if work.load is not None:
        work.load = replace(work.load, dead=True)
        return
    loose = work.loose()
    if loose and not loose[-1].bounded and abs(work.time - loose[-1].last) <= work.rules.incident_gap:
        last = loose[-1]
        work.put(replace(last, died=last.died or not event.final, loading=last.loading or event.final))


def _on_all_on_gpu(work: GroupingStep, _: LogEvent) -> None:
    """Void the plans that left layers on the CPU: every one found room."""
    failure = work.load_failure()
    if failure is None and work.load is None and work.loose():
        failure = work.loose()[-1]
    if failure is not None and failure.estimate:
        work.put(replace(failure, estimate=False))


def _on_request(work: GroupingStep, event: LogEvent) -> None:
    """Let a request that is over bound what failed while it was under way."""
    if event.status != _HTTP_OK and event.status not in _HTTP_FAILED:
        return
    began = work.time - event.seconds - work.rules.slack
    load = work.load
    if load is not None and began <= load.began:
        _end_load_by_request(work, event)
    for failure in work.loose():
        open_till_now = not failure.bounded or (load is not None and failure.number == load.failure)
        if open_till_now and began <= failure.first <= work.time + work.rules.slack:
            work.put(replace(failure, bounded=True, answered=work.time))


def _end_load_by_request(work: GroupingStep, event: LogEvent) -> None:
    """End the load with its request.

    A request may be another model's: while Ollama waits to try again, the others' last ones end. So one that
    did not begin with the load ends it only after the server has reported its failure, and never heals it.
    """
    load, failure = work.load, work.load_failure()
    if load is None:
        return
    own = load.began - (work.time - event.seconds) <= work.rules.slack
    again = load.retrying or (load.tries > 1 and not load.failing)
    if event.status != _HTTP_OK:
        if own or load.ended is not None:
            work.finish_load(loaded=False)
    elif failure is None or not failure.failed or (own and again):
        work.finish_load(loaded=True)


def _on_gpu(work: GroupingStep, event: LogEvent) -> None:
    work.outcomes.append(GpuFound(event.kind is LogEventKind.GPU, event.detail, work.time))


_BEFORE: dict[LogEventKind, Callable[[GroupingStep, LogEvent], None]] = {
    LogEventKind.SERVER_STARTED: _on_server,
    LogEventKind.LOAD_BEGUN: _on_begun,
    LogEventKind.LOAD_SEEN: _on_seen,
    LogEventKind.LOAD_TRIED: _on_tried,
    LogEventKind.LOAD_RETRIED: _on_retried,
}
_AFTER: dict[LogEventKind, Callable[[GroupingStep, LogEvent], None]] = {
    LogEventKind.LOAD_OK: _on_load_ok,
    LogEventKind.LOAD_FAILED: _on_load_failed,
    LogEventKind.RUNNER_GONE: _on_runner_gone,
    LogEventKind.ALL_ON_GPU: _on_all_on_gpu,
    LogEventKind.REQUEST_ENDED: _on_request,
    LogEventKind.GPU: _on_gpu,
    LogEventKind.NO_GPU: _on_gpu,
}
