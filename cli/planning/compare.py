"""`scan A.toml B.toml LOG`: two policies over one log. Pure, by the production `decide`.

Each failure of the log counts on any rung, and each probe works: a log cannot prove otherwise. The comparison therefore
shows the policies' reactions to the same failures, not the frequency of failures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cli.planning.replay import after_calls, arrived, policy_steps, seen
from fleet.policy import recovery
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import Tick
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState
from fleet.runtime.units import Seconds
from monitor.scan.scan import Calls, ScanReport
from state.codec import default_state

HELD = "held"
"""The key of a held generator's time, in place of its rung."""

_MOST_TICKS = 100_000


@dataclass(frozen=True, slots=True)
class Change:
    """A move of a policy: line (0: a probe between lines), time (Unix seconds), text, and the rung after it."""

    line: int
    time: float
    what: str
    rung: str


@dataclass(frozen=True, slots=True)
class Course:
    """A policy's course over a log: moves in order, seconds on each rung and held, last rung and count."""

    changes: tuple[Change, ...]
    seconds: Mapping[str, Seconds]
    rung: str
    count: str


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first move that only one policy makes, or that both make differently; an empty text is no move."""

    line: int
    time: float
    first: str
    second: str


class _Simulation:
    """One policy on its way through a log."""

    def __init__(self, rules: Rules, begin: float) -> None:
        self.rules = rules
        self.state = default_state(rules.ladder, begin)
        self.changes: list[Change] = []
        self.seconds: dict[str, Seconds] = {rung.label: 0.0 for rung in rules.ladder}
        self.seconds[HELD] = 0.0
        self._now = begin

    @property
    def rung(self) -> str:
        return self.rules.ladder[self.state.current_model_index].label

    def pass_time(self, until: float) -> None:
        """Advance the time, with the probes due meanwhile."""
        for _ in range(_MOST_TICKS):
            due = self.state.recovery.next
            if (
                due is None
                or due > until
                or not recovery.probe_due(self.state, max(due, self._now), self.rules)
            ):
                break
            self._clock(max(due, self._now))
            before = self.state
            self._apply(decide(self.state, Tick(), self._now, self.rules).state, 0)
            if self.state == before:
                break
        self._clock(until)

    def incident(self, line: int, step: Any) -> None:
        self._apply(decide(self.state, seen(step), self._now, self.rules).state, line)

    def calls(self, step: Calls) -> None:
        self.state = after_calls(self.state, step, self.rules)

    def _clock(self, now: float) -> None:
        hold = self.state.hold
        passed = max(0.0, now - self._now)
        held = min(passed, max(0.0, hold.until - self._now)) if hold is not None else 0.0
        self.seconds[HELD] += held
        self.seconds[self.rung] += passed - held
        self._now = max(self._now, now)

    def _apply(self, state: FleetState, line: int) -> None:
        self.state = state
        for event in state.events:
            if event.kind is EventKind.HELD:
                self.changes.append(Change(line, self._now, f"hold: {event.fields['why']}", self.rung))
        if (switch := state.switch) is not None:
            target = self.rules.ladder[switch.target].label
            self.state = arrived(state, self._now, self.rules)
            what = f"{switch.kind.value} to {target} ({switch.why})"
            self.changes.append(Change(line, self._now, what, self.rung))
        self.state = replace(self.state, events=())


def simulate(report: ScanReport, rules: Rules) -> Course:
    """Return a policy's course over a log, from the top of its ladder."""
    steps = sorted(policy_steps(report), key=lambda step: step[0])
    run = _Simulation(rules, steps[0][1] if steps else 0.0)
    for line, now, step in steps:
        run.pass_time(now)
        if isinstance(step, Calls):
            run.calls(step)
        else:
            run.incident(line, step)
    threshold = rules.threshold(rules.ladder[run.state.current_model_index])
    return Course(tuple(run.changes), run.seconds, run.rung, f"{run.state.vram_error_count} of {threshold}")


def divergence(first: Course, second: Course) -> Divergence | None:
    """Return the first difference of two courses, None without one. The reason's words alone make no difference."""
    for one, other in zip(first.changes, second.changes, strict=False):
        if (one.line, one.time, one.rung) != (other.line, other.time, other.rung):
            return _parted(one, other)
    rest = [*first.changes[len(second.changes) :], *second.changes[len(first.changes) :]]
    if not rest:
        return None
    longer_first = len(first.changes) > len(second.changes)
    return _parted(rest[0], None) if longer_first else _parted(None, rest[0])


def _parted(one: Change | None, other: Change | None) -> Divergence:
    earliest = min((change for change in (one, other) if change is not None), key=lambda change: change.time)
    texts = [
        change.what if change is not None and change.time == earliest.time else "" for change in (one, other)
    ]
    return Divergence(earliest.line, earliest.time, texts[0], texts[1])


def comparison_row(file: str, names: Sequence[str], courses: Sequence[Course]) -> dict[str, Any]:
    """Return the comparison for `--json`."""
    parted = divergence(courses[0], courses[1])
    return {
        "file": file,
        "divergence": None
        if parted is None
        else {
            "line": parted.line or None,
            "time": parted.time,
            "moves": [parted.first or None, parted.second or None],
        },
        "policies": [
            {
                "config": name,
                "rung": course.rung,
                "count": course.count,
                "minutes": {place: round(seconds / 60, 3) for place, seconds in course.seconds.items()},
                "moves": [asdict(change) for change in course.changes],
            }
            for name, course in zip(names, courses, strict=True)
        ],
    }


def comparison_lines(file: str, names: Sequence[str], courses: Sequence[Course]) -> Iterator[str]:
    """Yield the comparison as lines for a person."""
    parted = divergence(courses[0], courses[1])
    if parted is None:
        yield f"{file}: the policies never part"
    else:
        place = f"line {parted.line}" if parted.line else "between two lines"
        yield f"{file}: the policies part at {place}{_at(parted.time)}"
        for name, what in zip(names, (parted.first, parted.second), strict=True):
            yield f"  {name}: {what or 'no move'}"
    for name, course in zip(names, courses, strict=True):
        moves = "1 move" if len(course.changes) == 1 else f"{len(course.changes)} moves"
        yield f"{name}: {moves}, at the end on {course.rung}, count {course.count}"
        for place, seconds in course.seconds.items():
            if seconds:
                yield f"  {seconds / 60:>10.1f} min  {place}"


def _at(time: float) -> str:
    return f", {datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC" if time > 0 else ""
