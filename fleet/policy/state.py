"""The fleet's state as a value: which rung it stands on, what counts against it, and what is under way.

The state says what is wanted; programs that run otherwise are brought to it. Times are Unix seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from fleet.config.ladder import OptionValue, Rung
from fleet.policy.events import Event, EventKind
from fleet.runtime.units import Bytes, Seconds

FROM_ORIGINAL = "original"


class SwitchKind(StrEnum):
    """What moves the fleet; a probe is an upgrade that it tries by itself."""

    DOWNGRADE = "downgrade"
    UPGRADE = "upgrade"
    RESET = "reset"
    USE = "use"
    PROBE = "probe"


class Phase(StrEnum):
    """What a switch is doing; each is written to the state before it begins and is safe to repeat.

    The commit itself (new rung, count 0) is the one write that leads from pull or trial to restart.
    """

    PULL = "pull"
    TRIAL = "trial"
    RESTART = "restart"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Counted:
    """An incident that counts against the current rung."""

    time: float
    cause: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Switch:
    """A move from one rung to another that is under way; `number` tells it from every other one."""

    number: int
    kind: SwitchKind
    phase: Phase
    source: int
    target: int
    since: float
    why: str
    by_hand: bool = False
    pin: bool = False
    on_cpu: bool = False
    was_stopped: bool = False
    failures: int = 0
    failed_at: float | None = None
    restarted: float | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class PastSwitch:
    """The last switch that was committed."""

    kind: SwitchKind
    source: str
    target: str
    time: float
    why: str
    by_hand: bool = False


HOLD_STEPS: tuple[Seconds, ...] = (60.0, 120.0, 240.0, 480.0, 900.0)
"""Waits where no switch helps; the last one repeats."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A pause of the generator where no switch helps; `step` makes the waits grow."""

    until: float
    step: int
    why: str

    def active(self, now: float) -> bool:
        """Tell whether the generator is to pause now; a hold that is over is kept for its step."""
        return now < self.until


@dataclass(frozen=True, slots=True)
class Recovery:
    """Climbing back: the wait now in force, when the next probe is due, which rungs failed, and probation.

    `probation` is until when a rung reached by a probe has to prove itself, `home_rung` where a failure leads
    back to, and `home_on_cpu` whether without the GPU.
    """

    wait: Seconds = 0.0
    next: float | None = None
    failed: tuple[int, ...] = ()
    probation: float | None = None
    home_rung: int | None = None
    home_on_cpu: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Calls of the generator that failed in a row: since when, how many, and the last one's reason.

    `waited`: one of them waited as long as a call may, so that Ollama has to be asked whether it hangs; `hangs`:
    it does. `reported`: the row is long enough for a fault, and its event is out.
    """

    since: float
    calls: int
    reason: str
    waited: bool = False
    hangs: bool = False
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """Lines of the log and of the generator's calls that nothing could be made of: how many, and when the last."""

    count: int
    last: float


@dataclass(frozen=True, slots=True)
class FleetState:
    """All that a lane remembers; the first four are the original's keys.

    `incidents` are those that count now; `counted_ids` also names earlier ones, so that none counts twice.
    `behind` are models that a switch passed over because they were missing, to be pulled behind it.
    """

    current_model_index: int
    vram_error_count: int
    current_model: str
    timestamp: float
    switches: int = 0
    incidents: tuple[Counted, ...] = ()
    counted_ids: tuple[str, ...] = ()
    last_finished: float | None = None
    finished: int = 0
    failed: int = 0
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
    events: tuple[Event, ...] = ()
    events_told: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def tell(self, now: float, kind: EventKind, **fields: Any) -> "FleetState":
        """Return the state with one more event."""
        number = self.events_told + 1
        return replace(self, events=(*self.events, Event(number, now, kind, fields)), events_told=number)

    def on_rung(self, rung: Rung, *, on_cpu: bool = False) -> "FleetState":
        """Return the state standing on a rung; `on_cpu` keeps all of it off the GPU."""
        return replace(
            self,
            current_model_index=rung.index,
            current_model=rung.model,
            current_options={**rung.options, "num_gpu": 0} if on_cpu else dict(rung.options),
            model_size_bytes=rung.size,
            on_cpu=on_cpu,
        )
