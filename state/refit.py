"""The fit of a stored state to the configured ladder, after the ladder was edited (pure)."""

from dataclasses import replace

from fleet.config.ladder import Ladder, same_model
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState


def fit_to_ladder(state: FleetState, ladder: Ladder, now: float) -> FleetState:
    """Return the state on a rung of this ladder, with an event if the rung had to be chosen.

    The model's name wins over the index; of several rungs with the name, the nearest to the stored index wins. A
    missing model is replaced by the rung nearest in size. If its size is unknown, the stored index is used, limited to
    the ladder. A new model starts with count 0. A switch under way is dropped. A change of model or options increases
    `switches`, so that a generator on the old ones is recognised as stale.
    """
    if state.ladder_hash == ladder.digest and _agrees(state, ladder) and _names_rungs(state, ladder):
        return state
    rung, reason = _rung(state, ladder)
    changed = bool(state.ladder_hash) or not _agrees(state, ladder)
    if state.current_model and not same_model(ladder[rung].model, state.current_model):
        state = replace(state, incidents=(), vram_error_count=0)
    before, ceiling = (state.current_model, dict(state.current_options)), _ceiling(state, ladder, rung)
    state = state.on_rung(ladder[rung], on_cpu=state.on_cpu and rung == ladder.last)
    moved = before != (state.current_model, dict(state.current_options))
    state = replace(
        state,
        switches=state.switches + moved,
        ladder_hash=ladder.digest,
        switch=None,
        ceiling=ceiling,
        hours=None,  # the next check finds the caps anew, on this ladder
        reserve=None,
        displaced=None,
        recovery=replace(state.recovery, failed=(), home_rung=None, home_on_cpu=False, probation=None),
    )
    return state.with_event(now, EventKind.LADDER_CHANGED, reason=reason) if changed else state


def _ceiling(state: FleetState, ladder: Ladder, rung: int) -> int | None:
    """Return the ceiling, moved by as much as the current model where rungs were added or removed above it."""
    if state.ceiling is None:
        return None
    edited = state.ladder_hash not in {"", ladder.digest}
    moved = rung - state.current_model_index if edited else 0
    return min(max(state.ceiling + moved, 0), ladder.last)


def _names_rungs(state: FleetState, ladder: Ladder) -> bool:
    """Return True if every other rung index in the state is on this ladder."""
    switch, recovery = state.switch, state.recovery
    indices = {*recovery.failed, recovery.home_rung, state.ceiling, state.displaced}
    if switch is not None:
        indices |= {switch.source, switch.target}
    if state.hours is not None:
        indices.add(state.hours.rung)
    if state.reserve is not None:
        indices.add(state.reserve.rung)
    return indices <= {None, *range(len(ladder))}


def _agrees(state: FleetState, ladder: Ladder) -> bool:
    index = state.current_model_index
    return 0 <= index <= ladder.last and same_model(ladder[index].model, state.current_model)


def _rung(state: FleetState, ladder: Ladder) -> tuple[int, str]:
    stored = min(max(state.current_model_index, 0), ladder.last)
    if state.current_model:
        same = ladder.named(state.current_model, near=stored)
        if same is not None:
            return same.index, f"{state.current_model} is rung {same.index} now"
    gone = f"{state.current_model or 'the model'} is not on it"
    if state.model_size_bytes is not None:
        near = ladder.nearest_by_size(state.model_size_bytes)
        if near is not None:
            return near.index, f"{gone}; {near.model} is the nearest in size"
    return (
        stored,
        f"{gone}, and its size is not known; rung {stored}, {ladder[stored].model}, has its index",
    )
