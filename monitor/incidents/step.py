"""One step of the grouper: the parts of the state while they change, and the outcomes.

A `GroupingStep` lives within one call of `advance`; outside it everything is frozen.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fleet.config.ladder import same_model
from fleet.memory_errors.causes import Cause, Signal, SignalKind
from fleet.runtime.untrusted import printable
from monitor.incidents import messages
from monitor.incidents.messages import GroupingRules, Incident, Outcome
from monitor.incidents.state import (
    Failure,
    GroupState,
    Load,
    Timing,
    incident_of,
    joined,
    merged,
    would_count,
)

MOST_FAILURES = 32
MOST_PAST = 8
_MOST_LINES = 3


class GroupingStep:
    """The state during one step. `time` is by the log, `heard` by the monitor's clock; `timing`: see `Timing`."""

    def __init__(self, state: GroupState, rules: GroupingRules) -> None:
        self.rules = rules
        self.base = state
        self.load = state.load
        self.failures = {failure.number: failure for failure in state.failures}
        self.past = {failure.number: failure for failure in state.past}
        self.time = 0.0
        self.heard = 0.0
        self.line = 0
        self.text = ""
        self.timing = Timing.STAMPED
        self.outcomes: list[Outcome] = []

    def state(self) -> GroupState:
        """Return the state after the step."""
        failures, past = tuple(self.failures.values()), tuple(self.past.values())[-MOST_PAST:]
        return replace(self.base, load=self.load, failures=failures, past=past)

    def note(self, **changes: Any) -> None:
        """Change parts of the state that are neither load nor failures."""
        self.base = replace(self.base, **changes)

    # -- failures ------------------------------------------------------------------------------------------

    def new_failure(self) -> Failure:
        """Open a failure at the present line."""
        number, time, line = self.base.number, self.time, self.line
        failure = Failure(
            number, time, time, time, line, line, heard=self.heard, first_timing=self.timing.value
        )
        self.note(number=number + 1)
        self.put(failure)
        while len(self.failures) > MOST_FAILURES:
            self.close(min(self.loose(), key=lambda other: other.number))
        return failure

    def put(self, failure: Failure, **changes: Any) -> Failure:
        """Store a failure, with changes."""
        failure = replace(failure, **changes) if changes else failure
        self.failures[failure.number] = failure
        return failure

    def loose(self) -> list[Failure]:
        """Return the failures that do not belong to the open load, oldest first."""
        own = self.load.failure if self.load else None
        return [failure for failure in self.failures.values() if failure.number != own]

    def near(self, *, first: bool) -> list[Failure]:
        """Return the failures outside the load whose first or last signal is within the gap, oldest first."""
        times = [(one.first if first else one.last, one) for one in self.loose()]
        return [one for at, one in times if abs(self.time - at) <= self.rules.incident_gap]

    def latest(self, *, loose: bool = False) -> list[Failure]:
        """Return open and past failures, the latest first; `loose` leaves out the open load's."""
        known = self.loose() if loose else self.failures.values()
        return [*reversed(known), *reversed(self.past.values())]

    def add(self, failure: Failure, signal: Signal) -> Failure:
        """Add a signal to a failure."""
        if signal.cause is Cause.SPILL and self.base.gpu_failed:
            signal = replace(signal, cause=Cause.GPU_LOST, kind=SignalKind.OTHER)
        failed_after_all = failure.healed and signal.kind is SignalKind.HARD
        failure = joined(failure, signal, time=self.time, line=self.line)
        model = signal.model or (self.load.model if self.load and self.load.failure == failure.number else "")
        failure = self.put(
            failure,
            model=failure.model or model,
            foreign=failure.foreign or is_anothers(model, self.rules),
            last_timing=self.timing.value,
            from_log=True,
            lines=(*failure.lines, printable(self.text))[:_MOST_LINES],
            reported=failure.reported and not failed_after_all,
        )
        self.outcomes.append(messages.SignalSeen(signal, self.time, self.line, failure.id))
        return failure if would_count(failure, self.rules) else self.retract(failure)

    def report(self, failure: Failure) -> Failure:
        """Emit the failure's incident once; a failure without an incident emits nothing."""
        incident = None if failure.reported else incident_of(failure, self.rules)
        if incident is None:
            return failure
        self.outcomes.append(messages.IncidentFound(incident))
        return self.put(failure, reported=True, counted=would_count(failure, self.rules))

    def _emit(self, outcome: Callable[[Incident], Outcome], failure: Failure) -> None:
        incident = incident_of(failure, self.rules)
        if incident is not None:
            self.outcomes.append(outcome(incident))

    def retract(self, failure: Failure) -> Failure:
        """Take back the count of an incident, if it has one."""
        if not failure.counted:
            return failure
        failure = self.put(failure, counted=False)
        self._emit(messages.IncidentRetracted, failure)
        return failure

    def heal(self, failure: Failure) -> Failure:
        """Make a failure a retry, since a later try succeeded."""
        return self.retract(self.put(failure, healed=True, retry=True))

    def close(self, failure: Failure) -> None:
        """Close a failure: emit its incident, if it was not emitted, and its final form."""
        failure = self.report(failure)
        if not failure.closed:
            self._emit(messages.IncidentClosed, failure)
        if failure.certain:
            self.past[failure.number] = replace(failure, closed=True)
        del self.failures[failure.number]

    def revive(self, failure: Failure) -> Failure:
        """Return a failure, open again if it is past."""
        return failure if self.past.pop(failure.number, None) is None else self.put(failure)

    def absorb(self, into: Failure, other: Failure) -> None:
        """Make a failure part of another."""
        self.put(merged(into, other))
        del self.failures[other.number]

    # -- loads ---------------------------------------------------------------------------------------------

    def open_load(self, model: str) -> None:
        """Open a load; a plan just before that left layers on the CPU is part of it."""
        self.load = Load(began=self.time, heard=self.heard, model=model)
        plans = [one for one in self.near(first=False) if one.minor and not (one.reported or one.bounded)]
        for latest in [one for one in plans if not one.harmless][-1:]:
            self.attach(latest)

    def change_load(self, **changes: Any) -> None:
        """Change the open load, if there is one."""
        self.load = replace(self.load, **changes) if self.load else None

    def load_failure(self) -> Failure | None:
        """Return the failure that collects the signals of the open load."""
        number = self.load.failure if self.load else None
        return None if number is None else self.failures.get(number)

    def attach(self, failure: Failure) -> Failure:
        """Make a failure the open load's own."""
        self.change_load(failure=failure.number)
        return self.put(failure, load_began=self.load.began if self.load else None)

    def finish_load(self, *, loaded: bool) -> None:
        """End the open load and settle its failure.

        The failure is a retry if the model was loaded, or if a try was announced and never made.
        """
        load, failure = self.load, self.load_failure()
        if load is None:
            return
        self.load = None
        self.outcomes.append(messages.LoadFinished(self.time, loaded))
        if failure is None:
            return
        failure = self.put(failure, bounded=True)
        if (loaded or load.retrying) and failure.failed:
            failure = self.heal(failure)
        # A spill follows from memory that did not come back just before: no room was left for the layers.
        near = [one for one in self.loose() if abs(failure.first - one.last) <= self.rules.incident_gap]
        earlier = [one for one in near if one.number < failure.number][-1:]
        if failure.minor and earlier and earlier[0].not_recovered:
            self.absorb(earlier[0], failure)
        elif incident_of(failure, self.rules) is None:
            del self.failures[failure.number]
        else:
            self.report(failure)


def is_digest(model: str) -> bool:
    """Return True if a model is named by its digest, not by a tag."""
    return model.startswith("sha256-")


def is_anothers(model: str, rules: GroupingRules) -> bool:
    """Return True if a model is known not to be the rung's; an unknown model counts as ours."""
    if is_digest(model):
        return bool(rules.blobs) and not any(same_digest(model, blob) for blob in rules.blobs)
    if not model or not rules.model or model.endswith(".gguf"):
        return False
    return not same_model(model, rules.model)


def same_digest(one: str, other: str) -> bool:
    """Return True if two digests are one, of which either may be cut short and written with `-` or `:`."""
    one, other = one.replace(":", "-"), other.replace(":", "-")
    return one.startswith(other) or other.startswith(one)
