"""A stored state meets the ladder of today."""

from dataclasses import replace

import pytest

from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import SEED_LADDER
from fleet.policy.events import EventKind
from fleet.policy.state import CountedIncident, FleetState, Recovery, Switch, SwitchKind, SwitchPhase
from fleet.runtime.units import MEGABYTE
from state.codec import default_state
from state.refit import fit_to_ladder

T = 1_800_000_000.0


def ladder(*models: str | tuple[str, int] | tuple[str, dict[str, int]]) -> Ladder:
    rungs = []
    for index, model in enumerate(models):
        name, more = (model, None) if isinstance(model, str) else model
        size = more * MEGABYTE if isinstance(more, int) else None
        options = more if isinstance(more, dict) else {}
        rungs.append(Rung(index, name, size, options=options))
    return Ladder(rungs)


def stored(index: int, model: str, **changes: object) -> FleetState:
    return replace(FleetState(index, 0, model, T), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("index", "model", "size", "today", "expected"),
    [
        (1, "b:1", None, ladder("a:1", "b:1"), 1),
        (0, "b:1", None, ladder("a:1", "b:1"), 1),
        (1, "b:1", None, ladder("x:1", "a:1", "b:1"), 2),
        (9, "b:1", None, ladder("a:1", "b:1"), 1),
        (-3, "", None, ladder("a:1", "b:1"), 0),
        (9, "", None, ladder("a:1", "b:1"), 1),
        (1, "", None, ladder("a:1", "b:1"), 1),
        (3, "m", None, ladder("m:latest", "b:1", ("m", {"num_ctx": 9}), "c:1"), 2),
        (0, "M:Latest", None, ladder("b:1", "m"), 1),
        (0, "gone:1", 600 * MEGABYTE, ladder(("a:1", 2000), ("b:1", 700), ("c:1", 300)), 1),
        (2, "gone:1", None, ladder(("a:1", 2000), ("b:1", 700), ("c:1", 300)), 2),
        (1, "gone:1", 600 * MEGABYTE, ladder("a:1", "b:1"), 1),
    ],
    ids=[
        "nothing to do",
        "the name wins over the index",
        "a rung was put in above",
        "the index is off the ladder",
        "no name, below the ladder",
        "no name, above it",
        "no name",
        "of equal names the nearest index",
        "names as Ollama sees them",
        "gone: the nearest by size",
        "gone, size not known: the index",
        "gone, no sizes on the ladder: the index",
    ],
)
def test_which_rung_a_stored_state_stands_on(
    index: int, model: str, size: int | None, today: Ladder, expected: int
) -> None:
    state = fit_to_ladder(stored(index, model, model_size_bytes=size), today, T)
    assert state.current_model_index == expected
    assert state.current_model == today[expected].model
    assert state.ladder_hash == today.digest
    assert fit_to_ladder(state, today, T) == state


def test_the_name_wins_also_where_only_the_index_was_edited() -> None:
    state = replace(default_state(SEED_LADDER, T), current_model_index=2)
    assert fit_to_ladder(state, SEED_LADDER, T).current_model_index == 0


def test_a_choice_is_told_and_an_agreement_is_not() -> None:
    agreed = fit_to_ladder(stored(1, "b:1"), ladder("a:1", "b:1"), T)
    assert agreed.events == ()
    chosen = fit_to_ladder(stored(1, "gone:1"), ladder("a:1", "b:1"), T)
    assert [event.kind for event in chosen.events] == [EventKind.LADDER_CHANGED]
    assert "not known" in chosen.events[0].fields["reason"]


def test_what_counted_stays_with_its_model() -> None:
    counted = {"vram_error_count": 2, "incidents": (CountedIncident(T, "allocation"),) * 2}
    assert fit_to_ladder(stored(0, "b:1", **counted), ladder("a:1", "b:1"), T).vram_error_count == 2
    assert fit_to_ladder(stored(0, "", **counted), ladder("a:1", "b:1"), T).vram_error_count == 2
    assert fit_to_ladder(stored(0, "gone:1", **counted), ladder("a:1", "b:1"), T).vram_error_count == 0


def test_the_ceiling_moves_with_the_model() -> None:
    old, new = ladder("a:1", "b:1", "c:1"), ladder("x:1", "a:1", "b:1", "c:1")
    state = fit_to_ladder(stored(2, "c:1", ladder_hash=old.digest, ceiling=1), new, T)
    assert (state.current_model_index, state.ceiling) == (3, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"switch": Switch(1, SwitchKind.USE, SwitchPhase.RESTART, 0, 99, T, "why")},
        {"switch": Switch(1, SwitchKind.USE, SwitchPhase.RESTART, -4, 1, T, "why")},
        {"ceiling": -7},
        {"ceiling": 7},
        {"recovery": Recovery(600.0, T, (99,))},
        {"recovery": Recovery(600.0, T, (), T, -1)},
    ],
)
def test_whatever_points_off_the_ladder_is_dropped(changes: dict[str, object]) -> None:
    state = replace(default_state(SEED_LADDER, T), **changes)  # type: ignore[arg-type]
    fitted = fit_to_ladder(state, SEED_LADDER, T)
    assert fitted.switch is None
    assert fitted.ceiling in {None, 0, 3}
    assert fitted.recovery.failed == ()
    assert fitted.recovery.home_rung is None


def test_on_the_cpu_only_the_last_rung_stays_there() -> None:
    today = ladder("a:1", "b:1")
    on_cpu = fit_to_ladder(stored(1, "b:1", on_cpu=True), today, T)
    assert (on_cpu.on_cpu, on_cpu.current_options) == (True, {"num_gpu": 0})
    assert not fit_to_ladder(stored(0, "a:1", on_cpu=True), today, T).on_cpu
