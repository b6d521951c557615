"""The fleet's state as a value: current rung, counted incidents, switch under way, recovery, events.

The state is the desired one; the monitor reconciles the programs with it. Times are Unix seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from fleet.config.ladder import OptionValue, Rung
from fleet.policy.events import OF_SWITCH, Event, EventKind, with_event_counted
from fleet.runtime.units import Bytes, Count, Seconds

_UNLOADS = 8
FROM_ORIGINAL = "original"
"""Cause of the incidents that an original's state file only counts."""


class SwitchKind(StrEnum):
    """The kinds of switches; a probe is an automatic upgrade on trial."""

    DOWNGRADE = "downgrade"
    UPGRADE = "upgrade"
    RESET = "reset"
    USE = "use"
    PROBE = "probe"


class SwitchPhase(StrEnum):
    """The phases of a switch; each is stored before it begins and is safe to repeat.

    The commit (new rung, count 0) is the single write that leads from pull or trial to restart.
    """

    PULL = "pull"
    TRIAL = "trial"
    RESTART = "restart"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Extensible:
    """An object of the state file that keeps a newer version's keys, as long as it is not replaced: `extra`."""

    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True, hash=False)


@dataclass(frozen=True, slots=True)
class CountedIncident:
    """An incident that counts against the current rung."""

    time: float
    cause: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Switch(Extensible):
    """A switch under way from the rung `source` to the rung `target`; `number` identifies it.

    `was_stopped`: an operator had stopped the generator before the switch. `failures` counts memory failures while
    verifying, `attempts` failed restarts.
    """

    number: int
    kind: SwitchKind
    phase: SwitchPhase
    source: int = field(metadata={"json": "from"})
    target: int = field(metadata={"json": "to"})
    since: float
    why: str
    by_hand: bool = False
    pin: bool = False
    on_cpu: bool = False
    was_stopped: bool = False
    failures: Count = 0
    failed_at: float | None = None
    restarted: float | None = None
    attempts: Count = 0


@dataclass(frozen=True, slots=True)
class PastSwitch:
    """The last committed switch; `source` and `target` are models."""

    kind: SwitchKind
    source: str = field(metadata={"json": "from"})
    target: str = field(metadata={"json": "to"})
    time: float
    why: str
    by_hand: bool = False


HOLD_STEPS: tuple[Seconds, ...] = (60.0, 120.0, 240.0, 480.0, 900.0)
"""Back-off of the hold, in seconds; the last step repeats."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A pause of the generator where no switch helps; `step` is its place in HOLD_STEPS."""

    until: float
    step: Count
    why: str

    def active(self, now: float) -> bool:
        """Return True if the generator has to pause now; an expired hold stays in the state for its step."""
        return now < self.until


@dataclass(frozen=True, slots=True)
class OperatorPause(Extensible):
    """A pause by hand; `until` is None for one that lasts until `resume`."""

    since: float
    until: float | None = None
    why: str = ""

    def active(self, now: float) -> bool:
        """Return True if it is not over."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class HoursCap(Extensible):
    """The cap of `[[hours]]` in force: no rung above `rung`; None leaves the GPU alone. `until`: its next change."""

    model: str
    rung: Count | None
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class ReserveCap(Extensible):
    """The cap of `[policy] reserve`: no rung above `rung` leaves it free; None: no rung at all does.

    `looks` counts readings of the card in a row that ask for another rung.
    """

    rung: Count | None = 0
    since: float = 0.0
    looks: int = 0


class PausedBy(StrEnum):
    """The origins of a pause."""

    OPERATOR = "operator"
    HOURS = "hours"
    RESERVE = "reserve"


@dataclass(frozen=True, slots=True)
class PauseInForce:
    """A pause in force. While it lasts no call runs and no switch begins by itself; `until` None: no known end."""

    by: PausedBy
    since: float
    until: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Recovery(Extensible):
    """Recovery: the current wait, the time of the next probe, the rungs that failed, and probation.

    `probation` is the time until which a rung reached by a probe is on probation. A failure until then leads back to
    `home_rung`, without the GPU if `home_on_cpu`.
    """

    wait: Seconds = 0.0
    next: float | None = None
    failed: tuple[int, ...] = ()
    probation: float | None = None
    home_rung: int | None = None
    home_on_cpu: bool = False


class SlowCause(StrEnum):
    """The reason of a time-out without a hang: a long prompt, or a model that is on the CPU, in part or wholly."""

    PROMPT = "prompt"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Calls of the generator that failed in a row: start of the first, their number, reason of the last.

    `waited`: one of them reached its time-out, and the monitor has to find out whether Ollama hangs. `hangs`: Ollama
    hangs. `slow`: why Ollama is slow without a hang. `reported`: the event of this row has been emitted. `last` is the
    end of the last call. After a time-out it is the end of the first call that timed out since the model was loaded.
    """

    since: float
    calls: Count
    reason: str
    waited: bool = False
    hangs: bool = False
    reported: bool = False
    slow: SlowCause | None = None
    last: float = 0.0

    @property
    def suspected(self) -> bool:
        """Return True if a call reached its time-out and the monitor has not found out yet whether Ollama hangs."""
        return self.waited and not self.hangs


@dataclass(frozen=True, slots=True)
class Skipped:
    """Unreadable lines of the log and of the generator's calls: their number, and the time of the last."""

    count: Count
    last: float


@dataclass(frozen=True, slots=True)
class FleetState(Extensible):
    """The whole state of a lane; the first four attributes are the original's keys.

    `incidents` are those that count now; `counted_ids` also names earlier ones, so that none counts twice. `finished`
    and `failed` count calls. `cursors` are the sources' positions, `open` is the state of the grouper, `watch` that of
    the monitor's watchers. `automatic` are the times of automatic switches. `behind` are missing models that a switch
    skipped; the monitor pulls them in the background. `displaced` is the rung from which a cap of `hours` or `reserve`
    moved the fleet down. `restarting`: the fleet has begun a restart of the generator and does not know yet that the
    generator runs. A generator that is stopped then need not be stopped by a person. `unloads` are the times of the
    last unloads by the fleet itself, without restarts. `totals` are counters that only grow.
    """

    current_model_index: int
    vram_error_count: Count
    current_model: str
    timestamp: float
    switches: Count = 0
    incidents: tuple[CountedIncident, ...] = ()
    counted_ids: tuple[str, ...] = ()
    last_finished: float | None = None
    finished: Count = 0
    failed: Count = 0
    cursors: Mapping[str, Any] = field(default_factory=dict)
    open: Mapping[str, Any] = field(default_factory=dict)
    watch: Mapping[str, Any] = field(default_factory=dict)
    switch: Switch | None = None
    last_switch: PastSwitch | None = None
    automatic: tuple[float, ...] = ()
    hold: Hold | None = None
    recovery: Recovery = field(default_factory=Recovery)
    ceiling: int | None = None
    behind: tuple[str, ...] = ()
    pinned: bool = False
    on_cpu: bool = False
    current_options: Mapping[str, OptionValue] = field(default_factory=dict)
    model_size_bytes: Bytes | None = None
    ladder_hash: str = ""
    unanswered: Unanswered | None = None
    skipped: Skipped | None = None
    pause: OperatorPause | None = None
    hours: HoursCap | None = None
    reserve: ReserveCap | None = None
    displaced: Count | None = None
    restarting: bool = False
    unloads: tuple[float, ...] = ()
    totals: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    last_event_number: Count = field(default=0, metadata={"json": "events_told"})

    def with_event(self, now: float, kind: EventKind, **fields: Any) -> "FleetState":
        """Return the state with one more event, which the totals count too."""
        if self.switch is not None and kind in OF_SWITCH:
            fields.setdefault("planned", self.switch.number)
        event = Event(self.last_event_number + 1, now, kind, fields)
        began = None if self.switch is None else self.switch.since
        return replace(
            self,
            events=(*self.events, event),
            last_event_number=event.number,
            totals=with_event_counted(self.totals, event, began),
        )

    def with_unload(self, now: float) -> "FleetState":
        """Return the state with one more unload by the fleet itself."""
        return replace(self, unloads=(*self.unloads, now)[-_UNLOADS:])

    def on_rung(self, rung: Rung, *, on_cpu: bool = False) -> "FleetState":
        """Return the state with `rung` as the current one; `on_cpu` keeps all its layers off the GPU."""
        return replace(
            self,
            current_model_index=rung.index,
            current_model=rung.model,
            current_options={**rung.options, "num_gpu": 0} if on_cpu else dict(rung.options),
            model_size_bytes=rung.size,
            on_cpu=on_cpu,
        )

    @property
    def cap(self) -> int:
        """Return the highest rung that `hours` and `reserve` allow; a cap without any rung pauses instead."""
        return max((one.rung or 0 for one in (self.hours, self.reserve) if one is not None), default=0)

    @property
    def top(self) -> int:
        """Return the highest rung that the fleet may climb to by itself: the lower of ceiling and caps."""
        return max(self.ceiling or 0, self.cap)

    def pauses(self, now: float) -> tuple[PauseInForce, ...]:
        """Return the pauses in force: by hand, by `hours`, for the reserve."""
        found = []
        if self.pause is not None and self.pause.active(now):
            pause = self.pause
            found.append(PauseInForce(PausedBy.OPERATOR, pause.since, pause.until, pause.why))
        if self.hours is not None and self.hours.rung is None:
            why = "[[hours]] leaves the GPU alone"
            found.append(PauseInForce(PausedBy.HOURS, self.hours.since, self.hours.until, why))
        if self.reserve is not None and self.reserve.rung is None:
            why = "no model leaves the reserve of GPU memory free"
            found.append(PauseInForce(PausedBy.RESERVE, self.reserve.since, None, why))
        return tuple(found)

    def paused(self, now: float) -> PauseInForce | None:
        """Return the first of the pauses in force."""
        return next(iter(self.pauses(now)), None)
