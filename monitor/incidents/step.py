"""One step of the grouper in the making: the state's parts while they change, and what comes out.

A `GroupingStep` lives within one call of `advance`; outside it everything is frozen.
"""

from dataclasses import replace

from fleet.config.ladder import same_model
from fleet.memory_errors.causes import Signal
from monitor.incidents.failure import Afloat, Failure, failure_verdict, incident_of, joined, would_count
from monitor.incidents.messages import (
    GroupingRules,
    IncidentClosed,
    IncidentFound,
    IncidentHealed,
    LoadFinished,
    LoadStarted,
    Outcome,
    SignalSeen,
)
from monitor.incidents.state import GroupState, Load

MOST_FAILURES = 32
MOST_UNLOADS = 16
MOST_PAST = 8


class GroupingStep:
    """The parts of a state, open for one step. `time` is by the log, `heard` by our own clock.

    `afloat`: how far `time` can be believed where the line has no stamp.
    """

    def __init__(self, state: GroupState, rules: GroupingRules) -> None:
        self.rules = rules
        self.number = state.number
        self.load = state.load
        self.failures = {failure.number: failure for failure in state.failures}
        self.past = {failure.number: failure for failure in state.past}
        self.unloads = state.unloads
        self.stamps = state.stamps
        self.away = state.away
        self.time = 0.0
        self.heard = 0.0
        self.line = 0
        self.afloat = Afloat.STAMPED
        self.outcomes: list[Outcome] = []

    def state(self) -> GroupState:
        """Return what the step came to."""
        return GroupState(
            number=self.number,
            load=self.load,
            failures=tuple(self.failures.values()),
            past=tuple(self.past.values())[-MOST_PAST:],
            unloads=self.unloads[-MOST_UNLOADS:],
            stamps=self.stamps,
            away=self.away,
        )

    # -- failures ------------------------------------------------------------------------------------------

    def new_failure(self) -> Failure:
        """Begin a failure at the present line."""
        failure = Failure(
            number=self.number,
            first=self.time,
            last=self.time,
            born=self.time,
            first_line=self.line,
            last_line=self.line,
            heard=self.heard,
            first_afloat=self.afloat.value,
        )
        self.number += 1
        self.put(failure)
        while len(self.failures) > MOST_FAILURES:
            self.close(min(self.loose(), key=lambda other: other.number))
        return failure

    def put(self, failure: Failure) -> Failure:
        """Store a failure's new form."""
        self.failures[failure.number] = failure
        return failure

    def loose(self) -> list[Failure]:
        """Return the failures that no open load collects for, oldest first."""
        held = self.load.failure if self.load else None
        return [failure for failure in self.failures.values() if failure.number != held]

    def add(self, failure: Failure, signal: Signal) -> Failure:
        """Let a failure take a signal, and say so."""
        failure = joined(failure, signal, time=self.time, line=self.line)
        model = signal.model or (self.load.model if self.load and self.load.failure == failure.number else "")
        failure = replace(
            failure,
            model=failure.model or model,
            foreign=failure.foreign or is_anothers(model, self.rules),
            last_afloat=self.afloat.value,
            from_log=True,
        )
        self.outcomes.append(SignalSeen(signal, self.time, self.line, failure.id))
        return self.put(failure)

    def tell(self, failure: Failure) -> Failure:
        """Say once what a failure is, with whether it counts; nothing if it is no incident."""
        if failure.told or failure_verdict(failure) is None:
            return failure
        counts = would_count(failure, self.rules)
        incident = incident_of(failure, self.rules)
        if incident is not None:
            self.outcomes.append(IncidentFound(incident))
        return self.put(replace(failure, told=True, counted=counts))

    def land(self) -> list[Failure]:
        """Let the first stamp after lines without one settle when these were: they stand right before it.

        Return the failures that it settled and that no open load collects for.
        """
        held = self.load.failure if self.load else None
        afloat = [failure for failure in self.failures.values() if failure.last_afloat]
        landed = [self.put(self._landed(failure)) for failure in afloat]
        return [failure for failure in landed if failure.number != held]

    def _landed(self, failure: Failure) -> Failure:
        """Return the failure with its times settled; where it was told already, they move no further on."""
        first, last = Afloat(failure.first_afloat), Afloat(failure.last_afloat)
        if failure.told:
            first, last = _at_most_live(first), _at_most_live(last)
        settled = first.landed(failure.first, self.time)
        return replace(
            failure,
            first=settled,
            last=max(settled, last.landed(failure.last, self.time)),
            first_afloat="",
            last_afloat="",
        )

    def heal(self, failure: Failure) -> Failure:
        """Note that what failed was got round; what has been told already is told to be so."""
        failure = self.put(replace(failure, healed=True, retry=True))
        incident = incident_of(failure, self.rules)
        if failure.told and incident is not None:
            self.outcomes.append(IncidentHealed(incident))
        return failure

    def close(self, failure: Failure) -> None:
        """Let a failure go: tell it if it has not been, and give its final form."""
        failure = self.tell(failure)
        incident = incident_of(failure, self.rules)
        if incident is not None and not failure.closed:
            self.outcomes.append(IncidentClosed(incident))
        if failure.certain:
            self.past[failure.number] = replace(failure, closed=True)
        del self.failures[failure.number]

    def latest(self) -> list[Failure]:
        """Return the failures that can be joined and those that are past, the latest first."""
        return [*reversed(self.failures.values()), *reversed(self.past.values())]

    def revive(self, failure: Failure) -> Failure:
        """Let a failure be joined again, if it is past."""
        return failure if self.past.pop(failure.number, None) is None else self.put(failure)

    def absorb(self, into: Failure, other: Failure) -> None:
        """Make a failure part of another."""
        self.put(
            replace(
                into,
                first=min(into.first, other.first),
                last=max(into.last, other.last),
                first_line=into.first_line or other.first_line,
                last_line=max(into.last_line, other.last_line),
                patterns=tuple(dict.fromkeys((*into.patterns, *other.patterns))),
                count=into.count + other.count,
                named=into.named or other.named,
                vague=into.vague or other.vague,
                host=into.host or other.host,
                harmless=into.harmless or other.harmless,
                spill=into.spill or other.spill,
                died=into.died or other.died,
                loading=into.loading or other.loading,
                model=into.model or other.model,
                from_log=into.from_log or other.from_log,
            )
        )
        del self.failures[other.number]

    # -- loads ---------------------------------------------------------------------------------------------

    def open_load(self, model: str) -> None:
        """Begin a load; a plan that left layers on the CPU just before is part of it."""
        self.load = Load(began=self.time, heard=self.heard, model=model)
        self.outcomes.append(LoadStarted(model, self.time))
        plans = [plan for plan in self.loose() if self._plans(plan)]
        if plans:
            self.attach(plans[-1])

    def _plans(self, failure: Failure) -> bool:
        near = abs(self.time - failure.last) <= self.rules.incident_gap
        return near and failure.minor and not (failure.told or failure.bounded or failure.harmless)

    def load_failure(self) -> Failure | None:
        """Return the failure that the open load collects for."""
        number = self.load.failure if self.load else None
        return None if number is None else self.failures.get(number)

    def attach(self, failure: Failure) -> Failure:
        """Make a failure the open load's own."""
        if self.load is None:
            return failure
        self.load = replace(self.load, failure=failure.number)
        return self.put(replace(failure, load_began=self.load.began))

    def finish_load(self, *, loaded: bool) -> None:
        """End the open load: its failure is settled, as healed if the model was loaded after all."""
        load, failure = self.load, self.load_failure()
        if load is None:
            return
        self.load = None
        self.outcomes.append(LoadFinished(load.model, self.time, loaded))
        if failure is None:
            return
        failure = self.put(replace(failure, bounded=True))
        if loaded and failure.failed:
            failure = self.heal(failure)
        earlier = self._just_before(failure) if failure.minor else None
        if earlier is not None:
            self.absorb(earlier, failure)
        elif failure_verdict(failure) is None:
            del self.failures[failure.number]
        else:
            self.tell(failure)

    def _just_before(self, failure: Failure) -> Failure | None:
        """Find the failure that a spill follows from: memory that is not back leaves layers no room."""
        near = [
            other
            for other in self.loose()
            if other.number < failure.number and abs(failure.first - other.last) <= self.rules.incident_gap
        ]
        return near[-1] if near and near[-1].not_recovered else None


def _at_most_live(afloat: Afloat) -> Afloat:
    return Afloat.LIVE if afloat is Afloat.LATE else afloat


def is_anothers(model: str, rules: GroupingRules) -> bool:
    """Return whether a named model is known not to be the rung's; unknown ones are taken for ours."""
    if model.startswith("sha256-"):
        return bool(rules.blobs) and not any(same_digest(model, blob) for blob in rules.blobs)
    if not model or not rules.model or model.endswith(".gguf"):
        return False
    return not same_model(model, rules.model)


def same_digest(one: str, other: str) -> bool:
    """Compare two digests, of which either may be cut short and stand with `-` or `:`."""
    one, other = one.replace(":", "-"), other.replace(":", "-")
    return one.startswith(other) or other.startswith(one)
