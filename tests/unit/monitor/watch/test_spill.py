import json
from collections.abc import Sequence

import pytest

from fleet.policy.state import FleetState
from monitor.inbox import MemoryReading, Resident
from monitor.watch.spill import (
    GpuLost,
    Spilled,
    SpillOutcome,
    SpillRules,
    SpillState,
    not_reloaded,
    server_started,
    spill_of,
    spill_verdict,
)
from state.codec import from_json, to_json

GIB = 1 << 30
MODEL = "llama3.2:3b"
ASK = "reload"


def rules(
    *, model: str = MODEL, gpu: bool | None = True, own_choice: bool = False, last: bool = False
) -> SpillRules:
    return SpillRules(model=model, digest="sha256:aa11", gpu=gpu, own_choice=own_choice, last=last)


def resident(share: float, name: str = MODEL) -> Resident:
    return Resident(name, 4 * GIB, round(share * 4 * GIB), "")


class Watch:
    """Feeds readings, half a minute apart, through a state that goes by JSON each time."""

    def __init__(self, using: SpillRules, state: SpillState | None = None) -> None:
        self.rules, self.state, self.at = using, state or SpillState(), 0.0

    def see(self, *residents: Resident, reloaded: bool = False) -> Sequence[SpillOutcome | str]:
        """Return the outcomes, and ASK if this reading makes the state request a reload."""
        self.at += 30
        state = from_json(SpillState, json.loads(json.dumps(to_json(self.state))))
        self.state, outcomes = spill_verdict(state, MemoryReading(self.at, residents, reloaded), self.rules)
        asks = self.state.asked is not None and state.asked is None
        return (*outcomes, ASK) if asks else outcomes


def test_twice_below_the_share_asks_for_a_reload_and_a_third_time_after_it_is_a_spill() -> None:
    watch = Watch(rules())
    assert watch.see(resident(0.5)) == ()
    assert watch.see(resident(0.5)) == (ASK,)
    assert watch.see(resident(0.5), reloaded=True) == (Spilled(MODEL, 0.5),)
    before = watch.state
    assert watch.see(resident(0.5)) == ()
    assert watch.see(resident(0.5), reloaded=True) == ()
    assert watch.state == before, "a spill that is reported and stays needs no write"


def test_a_reload_that_helps_ends_it() -> None:
    watch = Watch(rules())
    watch.see(resident(0.5))
    watch.see(resident(0.5))
    assert watch.see(resident(1.0), reloaded=True) == ()
    assert watch.see(resident(0.5)) == ()
    assert watch.see(resident(0.5)) == (ASK,)


def test_once_is_not_enough_and_a_good_reading_between_begins_anew() -> None:
    watch = Watch(rules())
    for share in (0.5, 0.9, 0.5, 0.8):
        assert watch.see(resident(share)) == ()


def test_a_reload_is_requested_until_it_is_done_or_was_not_possible() -> None:
    watch = Watch(rules())
    assert [watch.see(resident(0.5)) for _ in range(4)] == [(), (ASK,), (), ()]
    assert watch.state.asked == 60.0, "when it was requested"
    watch.state = not_reloaded(watch.state)
    assert watch.see(resident(0.5)) == (ASK,)


def test_a_model_that_is_gone_after_the_reload_is_left_to_the_log() -> None:
    watch = Watch(rules())
    watch.see(resident(0.5))
    watch.see(resident(0.5))
    assert watch.see(reloaded=True) == ()
    assert watch.see(resident(0.5)) == ()


def test_another_rung_begins_anew() -> None:
    watch = Watch(rules())
    watch.see(resident(0.5))
    watch.rules = rules(model="phi3:mini")
    assert watch.see(resident(0.5, "phi3:mini")) == ()


@pytest.mark.parametrize("exempt", [rules(own_choice=True), rules(last=True)])
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_rung_that_asks_for_it_and_the_last_rung_do_not_spill(exempt: SpillRules, share: float) -> None:
    watch = Watch(exempt)
    assert [watch.see(resident(share)) for _ in range(5)] == [()] * 5


def test_another_clients_model_is_no_matter() -> None:
    watch = Watch(rules())
    assert [watch.see(resident(0.1, "mixtral:8x7b"), resident(1.0)) for _ in range(4)] == [()] * 4


def test_a_model_is_ours_by_digest_and_by_other_forms_of_its_name() -> None:
    watch = Watch(rules())
    watch.see(Resident("mine:latest", 4 * GIB, 2 * GIB, "aa11"))
    watch = Watch(rules(model="mine"))
    watch.see(resident(0.5, "mine:latest"))
    assert watch.see(resident(0.5, "mine:latest")) == (ASK,)


def test_a_server_without_a_gpu_does_not_spill() -> None:
    for gpu in (None, False):
        watch = Watch(rules(gpu=gpu))
        assert [watch.see(resident(0.0)) for _ in range(5)] == [()] * 5
        assert [watch.see(resident(0.0, "phi3:mini"), resident(0.0)) for _ in range(5)] == [()] * 5


def test_nothing_on_a_known_gpu_is_a_spill() -> None:
    watch = Watch(rules(gpu=True))
    watch.see(resident(0.0))
    assert watch.see(resident(0.0)) == (ASK,)
    assert watch.see(resident(0.0), reloaded=True) == (Spilled(MODEL, 0.0),)


def test_a_gpu_is_known_by_another_model_seen_on_it() -> None:
    watch = Watch(rules(gpu=None))
    watch.see(resident(1.0, "other:1b"))
    watch.see(resident(0.0))
    assert watch.see(resident(0.0)) == (ASK,)


def test_every_model_on_the_cpu_is_a_lost_gpu_and_said_once() -> None:
    watch = Watch(rules(gpu=True))
    watch.see(resident(1.0))
    watch.see(resident(0.0))
    (lost,) = watch.see(resident(0.0, "other:1b"))
    assert isinstance(lost, GpuLost)
    assert set(lost.models) == {MODEL, "other:1b"}
    assert "Restart" in lost.remedy
    assert [watch.see(resident(0.0)) for _ in range(4)] == [()] * 4
    watch.see(resident(1.0))
    watch.see(resident(0.0))
    assert watch.see(resident(0.0, "other:1b")) != ()


def test_a_restarted_server_that_finds_no_gpu_any_more_has_lost_it() -> None:
    watch = Watch(rules(gpu=True))
    watch.see(resident(1.0))
    watch.state = server_started(watch.state)
    watch.rules = rules(gpu=False)
    (lost,) = watch.see(resident(0.0))
    assert isinstance(lost, GpuLost)


def test_sizes_that_mean_nothing_are_passed_over() -> None:
    watch = Watch(rules())
    assert [watch.see(Resident(MODEL, 0, 0)) for _ in range(3)] == [()] * 3
    assert Resident(MODEL, 10, 20).share == 1.0


@pytest.mark.parametrize("damaged", [None, 3, {"low": "x", "on_cpu": [1, "m"], "new": 1}])
def test_a_damaged_state_takes_defaults(damaged: object) -> None:
    assert spill_of(FleetState(0, 0, MODEL, 0.0, watch={"spill": damaged})).low == 0


def test_only_what_is_not_at_its_default_is_kept() -> None:
    assert to_json(SpillState()) == {}
    state = SpillState(MODEL, low=1, on_cpu=("phi3:mini",))
    assert to_json(state) == {"model": MODEL, "low": 1, "on_cpu": ["phi3:mini"]}
    assert from_json(SpillState, to_json(state)) == state
