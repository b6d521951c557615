"""The effect of a line: first the bounds that it sets, then its signal, then the ends."""

from dataclasses import replace

from fleet.memory_errors.causes import Cause, LogEvent, LogEventKind, Part, Signal, SignalKind
from monitor.detection.detector import LineReading
from monitor.incidents import matching
from monitor.incidents.messages import GpuFound, PromptRead, ServerStarted, SignalSeen
from monitor.incidents.state import Load, Timing, settled
from monitor.incidents.step import GroupingStep, is_anothers

_HTTP_OK = 200
_EARLIER = 0.5  # a request begins before its load; GIN prints the start of a second, which is earlier still
_HTTP_FAILED = (499, 500)


def on_reading(step: GroupingStep, reading: LineReading) -> None:
    """Apply one line that the detector has read."""
    if reading.event is not None:
        _before_signal(step, reading.event)
    if reading.signal is not None:
        _on_signal(step, reading.signal)
    if reading.event is not None:
        _after_signal(step, reading.event)


def on_stamp(step: GroupingStep) -> None:
    """Settle the times of the lines without a stamp before this line, and thereby their failures."""
    waiting = [step.put(settled(one, step.time)) for one in step.failures.values() if one.last_timing]
    for failure in waiting:
        if step.load is not None and failure.number == step.load.failure:
            continue
        known = None if failure.reported else matching.only_answered(step)
        if known is not None:
            step.absorb(known, failure)
        elif failure.named:
            step.report(failure)


# -- signals
# -----------------------------------------------------------------------------------------------------


def _on_signal(step: GroupingStep, signal: Signal) -> None:
    """Add a signal to the failure it belongs to."""
    if signal.part is Part.ROUTINE or _is_no_spill(step, signal):
        step.outcomes.append(SignalSeen(signal, step.time, step.line, ""))
    elif signal.part is Part.UNLOAD:
        _on_unload(step, signal)
    elif signal.part is Part.CALL and signal.cause is Cause.HOST:
        failure = step.load_failure() if step.load else matching.failure_of(step, signal)
        if failure is not None:
            step.add(failure, signal)
    elif step.load is not None and not (step.load.retrying and signal.died):  # then it is another runner's
        _add_in_load(step, step.load, signal)
    else:
        _add_outside(step, signal)


def _is_no_spill(step: GroupingStep, signal: Signal) -> bool:
    """Return True for layers that the client wants on the CPU (its num_gpu), or of a server without a GPU."""
    asked, layers = step.base.layers_asked, signal.layers
    wanted = layers is not None and 0 <= asked <= layers
    return signal.cause is Cause.SPILL and (wanted or (step.base.no_gpu and not step.base.gpu_failed))


def _add_in_load(step: GroupingStep, load: Load, signal: Signal) -> None:
    failure = step.load_failure()
    if failure is None:
        failure = step.attach(
            matching.answered_already(step) or matching.only_answered(step) or step.new_failure()
        )
    failure = step.add(failure, signal)
    failing = load.failing or signal.kind is SignalKind.HARD
    step.change_load(failing=failing and not failure.healed)


def _add_outside(step: GroupingStep, signal: Signal) -> None:
    """Outside a load a failure counts at once.

    A line that names no memory waits for the end of its try. A failure that does not count waits for later signals.
    """
    failure = step.add(matching.failure_of(step, signal) or step.new_failure(), signal)
    if signal.part is Part.HEALED:
        step.heal(failure)
    elif failure.certain and step.timing is not Timing.LATE and (failure.named or failure.ended):
        step.report(failure)


def _on_unload(step: GroupingStep, signal: Signal) -> None:
    """Add memory that did not come back to the failure of that unload, or to a new failure."""
    began = None if signal.seconds is None or not step.time else step.time - signal.seconds
    failure = matching.failure_of_unload(step, began)
    if failure is not None:
        step.add(replace(failure, unload=began if failure.unload is None else failure.unload), signal)
        return
    asked = began is not None and matching.was_asked(step, began)
    foreign = is_anothers(signal.model, step.rules)
    failure = step.put(step.new_failure(), unload=began, asked=asked, foreign=foreign)
    step.report(step.add(failure, signal))


# -- events
# ------------------------------------------------------------------------------------------------------


def _before_signal(step: GroupingStep, event: LogEvent) -> None:
    """Apply an event that opens a load or says how to read the line's own signal."""
    if event.layers is not None:
        step.note(layers_asked=event.layers)
    match event.kind:
        case LogEventKind.SERVER_STARTED:
            step.finish_load(loaded=False)
            for failure in list(step.failures.values()):
                step.put(failure, bounded=True)
            step.note(layers_asked=-1, gpu_failed=False, no_gpu=False)
            step.outcomes.append(ServerStarted())
        case LogEventKind.GPU_FAILED:
            step.note(gpu_failed=True)
        case LogEventKind.LOAD_BEGUN:
            _on_begun(step, event)
        case LogEventKind.LOAD_SEEN:
            _on_seen(step, event)
        case LogEventKind.LOAD_TRIED:
            _on_tried(step, event)
        case LogEventKind.LOAD_FITS:
            _on_fits(step, event)
        case LogEventKind.LOAD_RETRIED:
            _on_retried(step, event)


def _after_signal(step: GroupingStep, event: LogEvent) -> None:
    """Apply an event that takes effect after the line's own signal."""
    match event.kind:
        case LogEventKind.LOAD_OK:
            step.finish_load(loaded=True)
        case LogEventKind.LOAD_FAILED:
            # Unless the failure is final, Ollama may announce another try in the next line.
            step.change_load(ended=step.time, dead=True, retrying=False)
            if event.final:
                step.finish_load(loaded=False)
        case LogEventKind.RUNNER_GONE:
            _on_runner_gone(step, event)
        case LogEventKind.ALL_ON_GPU:
            _on_all_on_gpu(step)
        case LogEventKind.REQUEST_ENDED:
            _on_request(step, event)
        case LogEventKind.GPU | LogEventKind.NO_GPU:
            step.note(no_gpu=event.kind is LogEventKind.NO_GPU)
            step.outcomes.append(GpuFound(event.kind is LogEventKind.GPU, event.memory))
        case LogEventKind.PROMPT_READ:
            step.outcomes.append(PromptRead(step.time))


def _on_begun(step: GroupingStep, event: LogEvent) -> None:
    """Apply the start of a runner: another try of the open load, or a new load."""
    load = step.load
    step.note(gpu_failed=False)
    if load is not None and not load.retrying:
        other = load.model and event.model and not matching.same_weights(load.model, event.model)
        if other or load.failing:
            step.finish_load(loaded=False)
    _on_seen(step, event)


def _on_seen(step: GroupingStep, event: LogEvent) -> None:
    """Apply the reading of a model's file: part of the open load, unless that load is over."""
    load = step.load
    over = load is not None and (load.dead or load.ended is not None)
    if load is not None and over and not load.retrying:
        step.finish_load(loaded=False)
        load = None
    if load is None:
        step.open_load(event.model)
        return
    model = load.model or event.model
    if load.retrying:
        step.load = Load(load.began, load.heard, model, load.tries + 1, failure=load.failure)
    else:
        step.change_load(model=model, ended=None)


def _on_tried(step: GroupingStep, event: LogEvent) -> None:
    """Apply a layout's try: the next try of the open load, or a load whose beginning was not seen."""
    if step.load is not None:
        if step.load.retrying:
            _on_seen(step, event)
        return
    step.open_load(event.model)
    for latest in [one for one in step.near(first=True) if not one.bounded][-1:]:
        step.attach(latest)


def _on_fits(step: GroupingStep, event: LogEvent) -> None:
    """Apply a layout that found its memory: the tries before it are a retry."""
    _on_tried(step, event)
    failure = step.load_failure()
    if failure is not None and failure.failed:
        step.heal(failure)
    step.change_load(failing=False)


def _on_retried(step: GroupingStep, event: LogEvent) -> None:
    """Apply the announcement of another try; the load may have succeeded, but with layers on the CPU."""
    if step.load is None:
        step.open_load(event.model)
        for latest in [one for one in step.near(first=False) if one.failed or one.spill][-1:]:
            step.attach(step.put(latest, bounded=False))
    failure = step.load_failure()
    if failure is not None:
        step.put(failure, ended=False)  # the report of this try's end is still to come
    step.change_load(retrying=True, dead=False, ended=None)


def _on_runner_gone(step: GroupingStep, event: LogEvent) -> None:
    """Apply the end of a runner; a `final` one gave up a load, any other died."""
    step.change_load(dead=True)
    for last in [] if step.load else step.loose()[-1:]:
        if not last.bounded and abs(step.time - last.last) <= step.rules.incident_gap:
            step.put(last, died=last.died or not event.final, loading=last.loading or event.final)


def _on_all_on_gpu(step: GroupingStep) -> None:
    """Void plans that left layers on the CPU: all of them found room."""
    own = step.load_failure()
    for failure in ([own] if own else []) if step.load else step.loose()[-1:]:
        step.put(failure, estimate=False)


def _on_request(step: GroupingStep, event: LogEvent) -> None:
    """Bound the failures during a request.

    A short answer 200 bounds nothing: GIN prints whole seconds, so its request may have begun after the failure.
    """
    slack, failed = step.rules.slack, event.status in _HTTP_FAILED
    if not failed and not (event.status == _HTTP_OK and event.seconds > slack):
        return
    began = step.time - event.seconds - slack
    load = step.load
    if load is not None and began <= load.began:
        _end_load_by_request(step, event)
    for failure in step.loose():
        open_till_now = not failure.bounded or (load is not None and failure.number == load.failure)
        if open_till_now and began <= failure.first <= step.time + slack:
            bounded = step.put(failure, bounded=True, answered=step.time)
            if bounded.certain and failed:
                step.report(bounded)


def _end_load_by_request(step: GroupingStep, event: LogEvent) -> None:
    """End the load with its request.

    While Ollama loads or waits to try again, requests of other models end. A failed request that did not begin with
    the load ends it only after the server has reported its failure. A request answered 200 ends it only if it began
    with the load and another try was made.
    """
    load, failure = step.load, step.load_failure()
    if load is None:
        return
    long = event.seconds > step.rules.slack or load.dead
    own = long and -_EARLIER <= load.began - (step.time - event.seconds) <= step.rules.slack
    again = load.retrying or (load.tries > 1 and not load.failing)
    answered = event.status == _HTTP_OK
    if (own and again and failure is not None) if answered else (own or load.ended is not None):
        step.finish_load(loaded=answered)
