"""Silent spill: a model partly on the CPU. No log line reports it; `/api/ps` shows it. Pure.

After two low readings the watch unloads the model and loads it again. If the share is still low then, the model does
not fit. A rung that asks for the CPU, the last rung and a server without a GPU give no spill. A server that lost its
GPU gives none either: no smaller model helps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet.config.ladder import Ladder, full_name, same_model
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import SpillFound
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState
from monitor.inbox import MemoryReading, Resident
from monitor.incidents.step import same_digest
from state.codec import from_json, to_json

LOW_READINGS = 2
_MOST_MODELS = 16

GPU_LOST_REMEDY = (
    "Ollama had a GPU and now puts every model on the CPU; a smaller model does not help. Restart the "
    "container or service of Ollama, and check `nvidia-smi` or `rocm-smi`. In Docker, a reload of systemd "
    "can take the GPU from a container."
)


@dataclass(frozen=True, slots=True)
class SpillRules:
    """The rules of the judgement.

    `model` and `digest` are the rung's. `share` is the least part in GPU memory that is no spill. `own_choice`: the
    rung sets `num_gpu` itself. `last`: there is no rung below. `gpu`: the server's log shows a GPU, None if unknown.
    """

    model: str
    digest: str = ""
    share: float = 0.8
    own_choice: bool = False
    last: bool = False
    gpu: bool | None = None


@dataclass(frozen=True, slots=True)
class SpillState:
    """The state between two readings; the state file holds it under these names.

    `low` counts low readings of `model` until its spill is reported (`told`). `asked` is the time of its reload's
    request, None after the reload. The watch unloads the model, loads it again, and passes the next reading as
    `reloaded`. `on_gpu`: some model was on the GPU since the server's start; `had_gpu`: also at any time before.
    `on_cpu` are the models seen wholly on the CPU since a model was last on the GPU. `lost_told`: the loss is reported.
    """

    model: str = ""
    low: int = 0
    asked: float | None = None
    told: bool = False
    on_gpu: bool = False
    had_gpu: bool = False
    on_cpu: tuple[str, ...] = ()
    lost_told: bool = False


@dataclass(frozen=True, slots=True)
class Spilled:
    """The rung's model does not fit into GPU memory; returned once."""

    model: str
    share: float


@dataclass(frozen=True, slots=True)
class GpuLost:
    """The server had a GPU and puts every model on the CPU; returned once, with the remedy."""

    models: tuple[str, ...]
    remedy: str = GPU_LOST_REMEDY


SpillOutcome = Spilled | GpuLost


def spill_verdict(
    state: SpillState, reading: MemoryReading, rules: SpillRules
) -> tuple[SpillState, tuple[SpillOutcome, ...]]:
    """Return the state after a reading, and its outcomes."""
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
    """Return the state after a requested reload was not possible; the next low reading requests it again."""
    return replace(state, asked=None)


def server_started(state: SpillState) -> SpillState:
    """Return the state after the server's restart; whether it uses a GPU is unknown again."""
    return SpillState(had_gpu=state.had_gpu or state.on_gpu)


def _low(
    state: SpillState, reading: MemoryReading, rules: SpillRules, share: float
) -> tuple[SpillState, tuple[SpillOutcome, ...]]:
    if state.told:
        return state, ()
    state = replace(state, low=state.low + 1)
    if reading.reloaded and state.asked is not None:
        return replace(state, told=True, asked=None), (Spilled(rules.model, share),)
    asked = reading.at if state.low >= LOW_READINGS and state.asked is None else state.asked
    return replace(state, asked=asked), ()


def _for_rung(state: SpillState, rules: SpillRules) -> SpillState:
    """Reset the state for another model; the knowledge of the server stays."""
    if state.model == rules.model:
        return state
    return replace(state, model=rules.model, low=0, asked=None, told=False)


def _seen(state: SpillState, residents: Sequence[Resident], rules: SpillRules) -> SpillState:
    """Record the models on the GPU and on the CPU, those of other clients included."""
    known = [resident for resident in residents if resident.share is not None]
    if any(resident.size_vram > 0 for resident in known):
        return replace(state, on_gpu=True, had_gpu=True, on_cpu=(), lost_told=False)
    if rules.own_choice:
        known = [resident for resident in known if not _is_ours(resident, rules)]
    names = dict.fromkeys((*state.on_cpu, *(resident.name for resident in known)))
    had = state.had_gpu or rules.gpu is True
    return replace(state, on_cpu=tuple(names)[-_MOST_MODELS:], had_gpu=had)


def _gpu_is_lost(state: SpillState, rules: SpillRules) -> bool:
    """Return True if there was a GPU and every model is on the CPU.

    One model may be too big for the free memory; two rarely are. After a restart without a GPU one model is enough.
    """
    if not state.on_cpu or not state.had_gpu:
        return False
    return len(state.on_cpu) > 1 or not _has_gpu(state, rules)


def _lost(state: SpillState) -> tuple[SpillState, tuple[SpillOutcome, ...]]:
    outcomes = () if state.lost_told else (GpuLost(state.on_cpu),)
    return replace(state, low=0, asked=None, lost_told=True), outcomes


def _has_gpu(state: SpillState, rules: SpillRules) -> bool:
    """Return True if this server has a GPU by its log, or by a model seen on it."""
    return rules.gpu is True or (state.on_gpu and rules.gpu is not False)


def _ours(residents: Sequence[Resident], rules: SpillRules) -> Resident | None:
    return next((resident for resident in residents if _is_ours(resident, rules)), None)


def _is_ours(resident: Resident, rules: SpillRules) -> bool:
    if same_model(resident.name, rules.model):
        return True
    return bool(rules.digest and resident.digest) and same_digest(resident.digest, rules.digest)


# In the fleet's state


def after_reading(state: FleetState, reading: MemoryReading, rules: Rules) -> FleetState:
    """Return the state after a reading, with the memory of each model and the consequences of the judgement."""
    spill, outcomes = spill_verdict(spill_of(state), reading, _rules_for(state, rules))
    before = state.watch.get("vram")
    vram = {**(before if isinstance(before, dict) else {}), **_in_vram(reading.residents, rules.ladder)}
    state = with_spill(replace(state, watch={**state.watch, "vram": vram}), spill)
    for outcome in outcomes:
        state = _follow(state, outcome, reading.at, rules)
    return state


def spill_of(state: FleetState) -> SpillState:
    """Return the part of the state that this module keeps."""
    return from_json(SpillState, state.watch.get("spill")) or SpillState()


def gpu_known(state: FleetState) -> bool | None:
    """Return True if Ollama has a GPU by its log or by a model seen on it, False if its log names none, else None."""
    gpu = state.watch.get("gpu")
    if isinstance(gpu, bool):
        return gpu
    return True if spill_of(state).on_gpu else None


def with_spill(state: FleetState, spill: SpillState) -> FleetState:
    """Return the state with this part replaced."""
    return replace(state, watch={**state.watch, "spill": to_json(spill)})


def _rules_for(state: FleetState, rules: Rules) -> SpillRules:
    rung = rules.ladder[state.current_model_index]
    return SpillRules(
        model=rung.model,
        share=rules.policy.spill_share,
        own_choice="num_gpu" in state.current_options,
        last=rung.index == rules.ladder.last,
        gpu=state.watch.get("gpu"),
    )


def _follow(state: FleetState, outcome: SpillOutcome, now: float, rules: Rules) -> FleetState:
    if isinstance(outcome, Spilled):
        return decide(state, SpillFound(outcome.share), now, rules).state
    return state.with_event(now, EventKind.GPU_LOST, reason=outcome.remedy, models=list(outcome.models))


def _in_vram(residents: tuple[Resident, ...], ladder: Ladder) -> dict[str, int]:
    """Return the GPU memory of each of the ladder's models; reports also show those loaded in the past."""
    return {
        full_name(one.name): one.size_vram
        for one in residents
        if one.size_vram > 0 and ladder.named(one.name)
    }
