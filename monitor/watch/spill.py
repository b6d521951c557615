"""Silent spill: a model partly on the CPU, seen through `/api/ps` because nothing in the log tells of it.

Pure. Below the share twice, the shell is asked to unload the model and load it again; below it after that, it
does not fit, which is a lasting state. Other cases are told from it: a rung that asks for the CPU, the last
rung, a server that never had a GPU, and one that had a GPU and lost it (then no smaller model helps).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleet.config.ladder import same_model
from monitor.incidents.step import same_digest
from state.dataclass_json import kept, restored

LOW_READINGS = 2
_MOST_MODELS = 16

GPU_LOST_MEND = (
    "Ollama had a GPU and now puts every model on the CPU; a smaller model does not help. Restart the "
    "container or service of Ollama (in Docker, a reload of systemd can take the GPU from a container), and "
    "check `nvidia-smi` or `rocm-smi`."
)


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that `/api/ps` lists; sizes in bytes."""

    name: str
    size: int
    size_vram: int
    digest: str = ""

    @property
    def share(self) -> float | None:
        """Return the part of it in GPU memory, None if its size is not known."""
        return min(1.0, max(0.0, self.size_vram / self.size)) if self.size > 0 else None


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """One answer of `/api/ps`. `reloaded`: the first since the unload and reload that was asked for."""

    at: float
    residents: tuple[Resident, ...]
    reloaded: bool = False


@dataclass(frozen=True, slots=True)
class SpillRules:
    """What judging goes by.

    `model` and `digest` are the rung's; `share` is the least part of it in GPU memory that is no spill;
    `own_choice`: the rung sets `num_gpu` itself; `last`: there is no rung below; `gpu` is what the server's
    log says it computes on, None if it has not said; `patience` is how long a reload may take before it is
    asked for again.
    """

    model: str
    digest: str = ""
    share: float = 0.8
    own_choice: bool = False
    last: bool = False
    gpu: bool | None = None
    patience: float = 120.0


@dataclass(frozen=True, slots=True)
class SpillState:
    """What is known between two readings.

    `low` counts readings of `model` below the share until it is told, `asked` is when its reload was asked for, `told`
    whether its spill has been. `on_gpu`: some model was on the GPU since the server's start; `had_gpu`: at
    any time before too. `on_cpu` are the models seen wholly on the CPU since any was last seen on the GPU;
    `lost_told` goes with them.
    """

    model: str = ""
    low: int = 0
    asked: float | None = None
    told: bool = False
    on_gpu: bool = False
    had_gpu: bool = False
    on_cpu: tuple[str, ...] = ()
    lost_told: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        row: dict[str, Any] = kept(self)
        return row

    @staticmethod
    def from_json(data: object) -> "SpillState":
        """Return the state that `to_json` gave; what is unknown, missing or damaged takes its default."""
        return restored(SpillState, data) or SpillState()


@dataclass(frozen=True, slots=True)
class ReloadAndCheck:
    """Asked of the shell: unload the model, load it again, read `/api/ps`, and say that it was reloaded."""

    model: str
    share: float


@dataclass(frozen=True, slots=True)
class Spilled:
    """The rung's model lies partly on the CPU, lastingly; said once."""

    model: str
    share: float


@dataclass(frozen=True, slots=True)
class GpuLost:
    """The server had a GPU and puts every model on the CPU; said once, with the mend."""

    models: tuple[str, ...]
    mend: str = GPU_LOST_MEND


SpillOutcome = ReloadAndCheck | Spilled | GpuLost


def spill_verdict(
    state: SpillState, reading: MemoryReading, rules: SpillRules
) -> tuple[SpillState, tuple[SpillOutcome, ...]]:
    """Return the state after a reading, and what it comes to."""
    state = _seen(_for_rung(state, rules), reading.residents, rules)
    if _gpu_is_lost(state, rules):
        return _lost(state)
    ours = _ours(reading.residents, rules)
    share = ours.share if ours is not None else None
    if share is None:
        return (replace(state, low=0, asked=None) if reading.reloaded else state), ()
    if share >= rules.share:
        return replace(state, low=0, asked=None, told=False), ()
    if rules.own_choice or rules.last or not _has_gpu(state, rules):
        return replace(state, low=0, asked=None), ()
    return _low(state, reading, rules, share)


def not_reloaded(state: SpillState) -> SpillState:
    """Return the state after a reload that was asked for could not be: the next low reading asks again."""
    return replace(state, asked=None)


def server_started(state: SpillState) -> SpillState:
    """Return the state after the server started anew: what it computes on must show again."""
    return SpillState(had_gpu=state.had_gpu or state.on_gpu)


def _low(
    state: SpillState, reading: MemoryReading, rules: SpillRules, share: float
) -> tuple[SpillState, tuple[SpillOutcome, ...]]:
    if state.told:
        return state, ()
    state = replace(state, low=state.low + 1)
    if reading.reloaded and state.asked is not None:
        return replace(state, told=True, asked=None), (Spilled(rules.model, share),)
    overdue = state.asked is not None and abs(reading.at - state.asked) >= rules.patience
    if state.low >= LOW_READINGS and (state.asked is None or overdue):
        return replace(state, asked=reading.at), (ReloadAndCheck(rules.model, share),)
    return state, ()


def _for_rung(state: SpillState, rules: SpillRules) -> SpillState:
    """Begin anew for another model; what is known of the server stays."""
    if state.model == rules.model:
        return state
    return replace(state, model=rules.model, low=0, asked=None, told=False)


def _seen(state: SpillState, residents: Sequence[Resident], rules: SpillRules) -> SpillState:
    """Note which models are on the GPU and which are not; every client's count here."""
    known = [resident for resident in residents if resident.share is not None]
    if any(resident.size_vram > 0 for resident in known):
        return replace(state, on_gpu=True, had_gpu=True, on_cpu=(), lost_told=False)
    if rules.own_choice:
        known = [resident for resident in known if not _is_ours(resident, rules)]
    names = dict.fromkeys((*state.on_cpu, *(resident.name for resident in known)))
    had = state.had_gpu or rules.gpu is True
    return replace(state, on_cpu=tuple(names)[-_MOST_MODELS:], had_gpu=had)


def _gpu_is_lost(state: SpillState, rules: SpillRules) -> bool:
    """Tell a lost GPU: there was one, and every model is on the CPU.

    One model alone may be too big for what is free; two cannot both be, or hardly. After a restart that
    shows no GPU any more, one is enough.
    """
    if not state.on_cpu or not state.had_gpu:
        return False
    return len(state.on_cpu) > 1 or not _has_gpu(state, rules)


def _lost(state: SpillState) -> tuple[SpillState, tuple[SpillOutcome, ...]]:
    told = () if state.lost_told else (GpuLost(state.on_cpu),)
    return replace(state, low=0, asked=None, lost_told=True), told


def _has_gpu(state: SpillState, rules: SpillRules) -> bool:
    """Return whether this server is known to have a GPU: its log says so, or a model was seen on it."""
    return rules.gpu is True or (state.on_gpu and rules.gpu is not False)


def _ours(residents: Sequence[Resident], rules: SpillRules) -> Resident | None:
    return next((resident for resident in residents if _is_ours(resident, rules)), None)


def _is_ours(resident: Resident, rules: SpillRules) -> bool:
    if same_model(resident.name, rules.model):
        return True
    return bool(rules.digest and resident.digest) and same_digest(resident.digest, rules.digest)
