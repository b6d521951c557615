"""What is known of models and cards: what a rung needs, how large it is, and what is free for it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.clients.gpu import Card
from fleet.clients.ollama import LocalModel, ModelDetails, Ollama
from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import Settings
from fleet.policy.rules import Rules
from fleet.runtime.errors import FleetError, OllamaError
from fleet.runtime.units import GIGABYTE, MEGABYTE
from monitor.detection.detector import Detector
from monitor.inbox import ModelsKnown
from monitor.ingest import LOG, Context, absorb_batch
from monitor.models.disk_space import is_here
from monitor.models.inventory import Inventory, Models, kv_cache_bytes, memory_known, need_of
from monitor.sources.base import LogLine
from standin.ollama import standin
from standin.settings import StandinSettings
from tests.reference.histories import running

INFO = {
    "general.architecture": "llama",
    "llama.block_count": 28,
    "llama.attention.head_count": 24,
    "llama.attention.head_count_kv": 8,
    "llama.embedding_length": 3072,
}
DETAILS = ModelDetails(None, INFO)
CACHE = 2 * 28 * 4096 * 8 * 128 * 2


def rung(**options: int) -> Rung:
    return Rung(0, "m:3b", options=options)


def test_a_rung_needs_its_weights_and_its_context() -> None:
    assert need_of(rung(), 2 * GIGABYTE, DETAILS) == 2 * GIGABYTE + CACHE
    assert need_of(rung(num_ctx=2048), 2 * GIGABYTE, DETAILS) == 2 * GIGABYTE + CACHE // 2
    assert need_of(rung(), 2 * GIGABYTE, ModelDetails(None, {})) == 2 * GIGABYTE


def test_with_fewer_layers_on_the_gpu_it_needs_less_and_on_the_cpu_nothing() -> None:
    assert need_of(rung(num_gpu=14), 29 * MEGABYTE, DETAILS) == 14 * MEGABYTE + CACHE // 2
    assert need_of(rung(num_gpu=99), 29 * MEGABYTE, DETAILS) == 29 * MEGABYTE + CACHE
    assert need_of(rung(num_gpu=-1), 29 * MEGABYTE, DETAILS) == 29 * MEGABYTE + CACHE
    assert need_of(rung(num_gpu=0), 29 * MEGABYTE, DETAILS) == 0


def test_where_each_layer_has_its_own_number_of_kv_heads_they_add_up() -> None:
    mixed = {**INFO, "llama.attention.head_count_kv": [8] * 14 + [0] * 14}
    assert kv_cache_bytes(mixed, 4096) == CACHE // 2


class _TwoModels:
    """Ollama with a model of the ladder and another client's."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def tags(self, *, timeout: float) -> list[LocalModel]:
        return [LocalModel("m:3b", 1, "d1"), LocalModel("other:7b", 2, "d2")]

    def show(self, model: str, *, timeout: float) -> ModelDetails:
        self.shown.append(model)
        return ModelDetails(f"sha256-{model}", {})


def test_models_outside_the_ladder_are_known_by_their_weights_and_asked_for_once() -> None:
    ollama = _TwoModels()
    models = Models(ollama, Ladder([rung()]))  # type: ignore[arg-type]  # what the inventory asks for
    models.refresh()
    models.refresh()
    assert models.named_by_blob() == {"sha256-m:3b": "m:3b", "sha256-other:7b": "other:7b"}
    assert ollama.shown.count("other:7b") == 1


class _Shelf:
    """Ollama with models by name and weights; it refuses to show those without weights."""

    def __init__(self, **weights: str) -> None:
        self.weights = {name.replace("_", ":"): blob for name, blob in weights.items()}

    def tags(self, *, timeout: float) -> list[LocalModel]:
        return [LocalModel(name, 10, f"digest of {name}") for name in self.weights]

    def show(self, model: str, *, timeout: float) -> ModelDetails:
        if not self.weights[model]:
            raise OllamaError("the file of the weights is missing", status=500)
        return ModelDetails(self.weights[model], {})


TWO_RUNGS = Ladder([Rung(0, "a:1"), Rung(1, "b:1")])


@pytest.mark.parametrize(
    ("shelf", "needs"),
    [
        (_Shelf(damaged_1="", a_1="sha256-a", b_1="sha256-b"), (10, 10)),
        (_Shelf(a_1="", b_1="sha256-b"), (None, 10)),
    ],
    ids=["another client's", "a rung's"],
)
def test_a_model_that_ollama_refuses_to_show_hides_no_other(
    shelf: _Shelf, needs: tuple[int | None, ...]
) -> None:
    models = Models(shelf, TWO_RUNGS)  # type: ignore[arg-type]  # what the inventory asks for
    models.refresh()
    assert models.needs == needs
    assert models.sizes == (10, 10)
    assert models.named_by_blob()["sha256-b"] == "b:1"


@pytest.mark.parametrize("current", [0, 1])
@pytest.mark.parametrize(("blob", "counts"), [("sha256-" + "c" * 64, 1), ("sha256-" + "d" * 64, 0)])
def test_two_rungs_of_the_same_weights_are_not_taken_for_other_clients_nor_others_for_them(
    current: int, blob: str, counts: int
) -> None:
    """As where `ollama create` made one model of another with a smaller context."""
    shared = "sha256-" + "c" * 64
    models = Models(_Shelf(a_1=shared, b_1=shared, other_7b="sha256-" + "d" * 64), TWO_RUNGS)  # type: ignore[arg-type]
    models.refresh()
    rules = Rules(TWO_RUNGS)
    tags, weights = models.named_by_blob(), models.weights
    context = Context(1_796_000_000.0, rules, Detector(), tags=tags, weights=weights)
    line = 'time=2026-11-29T10:00:01Z level=INFO source=sched.go:450 msg="Load failed" model=/blobs/{} error="{}"'
    failed = LogLine(line.format(blob, "CUDA error: out of memory"))
    after = absorb_batch(running(rules, current), LOG, [failed], context)
    assert after.vram_error_count == counts
    incident = after.events[-1].fields
    assert incident["model"] == (TWO_RUNGS[current].model if counts else "other:7b")


class _MlxModels(_Shelf):
    """Ollama with models without a blob of weights, whose lines name the manifest."""

    def tags(self, *, timeout: float) -> list[LocalModel]:
        return [LocalModel(name, 10, blob) for name, blob in self.weights.items()]

    def show(self, model: str, *, timeout: float) -> ModelDetails:
        return ModelDetails(None, {}, format="safetensors")


@pytest.mark.parametrize(
    ("ollama", "named", "counts"),
    [
        (_MlxModels(a_1="e" * 64, b_1="f" * 64), "digest:" + "e" * 64, 1),
        (_MlxModels(a_1="c" * 64, b_1="f" * 64), "/blobs/sha256-" + "e" * 64, 0),
        (_Shelf(a_1="sha256-" + "c" * 64, b_1="sha256-b"), "digest:" + "e" * 64, 0),
    ],
    ids=["ours", "another client's weights", "another client's manifest"],
)
def test_a_failure_of_an_mlx_model_is_known_by_its_manifest(ollama: _Shelf, named: str, counts: int) -> None:
    models = Models(ollama, TWO_RUNGS)  # type: ignore[arg-type]  # what the inventory asks for
    models.refresh()
    rules = Rules(TWO_RUNGS)
    context = Context(1_796_000_000.0, rules, Detector(), tags=models.named_by_blob(), weights=models.weights)
    failed = LogLine(
        'time=2026-11-29T10:00:01Z level=WARN source=sched.go:1648 msg="runtime OOM detected; expiring loaded models '
        f'to clear memory before next request" model={named} error="mlx: cudaMalloc failed: out of memory"'
    )
    after = absorb_batch(running(rules, 0), LOG, [failed], context)
    assert after.vram_error_count == counts
    assert after.events[-1].fields["model"] == ("a:1" if counts else "sha256-" + "e" * 12)


def test_sizes_and_needs_come_from_ollama_also_for_custom_models(tmp_path: Path) -> None:
    names = ("hf.co/someone/phi3:mini", "phi3:mini", "no-such:1b")
    ladder = Ladder([Rung(index, name) for index, name in enumerate(names)])
    with standin() as server:
        client = Ollama(server.url)
        models = Models(client, ladder)
        models.refresh()
        assert models.needs[2] is models.sizes[2] is None
        size = models.sizes[1]
        assert size is not None
        assert 2 * GIGABYTE < size < 3 * GIGABYTE
        posted = list[ModelsKnown]()
        Inventory(
            settings=replace(Settings(), ladder=ladder),
            ollama=client,
            models=Models(client, ladder),
            read=lambda: running(Rules(ladder), watch={"gpu_total": GIGABYTE}),
            post=posted.append,
            file=tmp_path / "models.json",
        )()
        assert posted[0].sizes == (None, size, None)
    row = json.loads((tmp_path / "models.json").read_text())
    assert row["sizes"] == [None, size, None]
    assert row["free"] == GIGABYTE
    assert row["ladder"] == ladder.digest


def test_a_rung_that_needs_more_than_the_one_above_is_known() -> None:
    with standin() as server:
        models = Models(Ollama(server.url), Settings().ladder)
        models.refresh()
    assert Rules(needs=models.needs).rungs_needing_more() == (1,), (
        "phi3:mini has a larger KV cache than llama3.2:3b"
    )


# What is free


def free(client: Ollama, cards: list[Card] | FleetError, rung: int, **watch: int) -> int | None:
    """Return what the inventory posts as free, for a fleet on this rung."""

    def ask() -> list[Card]:
        if isinstance(cards, FleetError):
            raise cards
        return cards

    posted = list[ModelsKnown]()
    Inventory(
        settings=Settings(),
        ollama=client,
        models=Models(client, Settings().ladder),
        read=lambda: running(Rules(), rung, watch=watch),
        post=posted.append,
        cards=ask,
    )()
    return posted[0].free


def test_what_is_free_is_what_others_leave_and_what_ours_gives_back() -> None:
    with standin(settings=StandinSettings(vram=8 * GIGABYTE, pace=0.0)) as server:
        client = Ollama(server.url)
        client.generate({"model": "tinyllama:1.1b", "prompt": "1"}, first_token=20, stall=20)
        ours = client.loaded()[0].size_vram
        card = Card("a card", 5 * GIGABYTE, 6 * GIGABYTE)
        assert free(client, [card], 0) is None, "at the top the cards are not asked"
        assert free(client, [card], 1) == GIGABYTE + ours
        assert free(client, [card], 1, gpu_total=GIGABYTE) == GIGABYTE
        assert free(client, FleetError("nvidia-smi fails"), 1) is None
        assert free(client, FleetError("nvidia-smi fails"), 1, gpu_total=GIGABYTE) == GIGABYTE


def test_the_cards_are_asked_as_soon_as_the_fleet_begins_to_climb() -> None:
    top, below = running(Rules()), running(Rules(), 1)
    assert memory_known(top) != memory_known(below)
    assert memory_known(below) == memory_known(replace(below, finished=7))


@pytest.mark.parametrize(
    ("profile", "url", "here"),
    [
        ("native", "http://127.0.0.1:11434", True),
        ("docker", "http://localhost:11434", True),
        ("docker", "http://ollama:11434", False),
        ("native", "http://gpu-box:11434", False),
        ("embedded", "http://127.0.0.1:40000", False),
    ],
)
def test_the_cards_of_this_machine_are_asked_only_where_ollama_works_on_them(
    profile: str, url: str, here: bool
) -> None:
    assert is_here(profile, url) is here


def test_the_memory_of_all_gpus_is_learnt_from_the_servers_log_and_forgotten_with_the_server() -> None:
    gpu = 'time=2026-11-23T22:22:4{}.331Z level=INFO source=types.go:32 msg="inference compute" id={} library=CUDA '
    gpu += 'name=CUDA{} description="NVIDIA GeForce RTX 3060" total="12.0 GiB" available="11.6 GiB"'
    up = 'time=2026-11-23T22:22:51.776Z level=INFO source=routes.go:2008 msg="Listening on 127.0.0.1:11434 '
    up += '(version 0.33.0)"'
    context = Context(2e9, Rules(), Detector())
    lines = [LogLine(gpu.format(number, number, number), None) for number in (2, 3)]
    state = absorb_batch(running(Rules()), LOG, lines, context)
    assert state.watch["gpu_total"] == 24 * GIGABYTE
    assert absorb_batch(state, LOG, [LogLine(up, None)], context).watch["gpu_total"] is None
