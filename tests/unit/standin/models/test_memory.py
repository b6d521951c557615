import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.runtime.units import parse_size
from standin.models.memory import LoadStep, need, shortage, spilled
from standin.models.specs import SEED_MODELS, ModelSpec, model_info, show_body, spec_for
from standin.settings import DEFAULT_VRAM

LLAMA, PHI, TINY, QWEN = SEED_MODELS
specs = st.sampled_from(SEED_MODELS)
contexts = st.integers(4, 131072)


@pytest.mark.parametrize(("spec", "fits"), [(LLAMA, False), (PHI, False), (TINY, True), (QWEN, True)])
def test_the_default_budget_parts_the_ladder_in_the_middle(spec: ModelSpec, fits: bool) -> None:
    assert (shortage(need(spec, num_ctx=4096, parallel=1), DEFAULT_VRAM) is None) is fits


def test_phi_needs_more_than_the_larger_llama_above_it() -> None:
    assert need(PHI, num_ctx=4096, parallel=1).gpu > need(LLAMA, num_ctx=4096, parallel=1).gpu


def test_the_cache_follows_from_what_show_tells() -> None:
    info = model_info(LLAMA)
    width = info["llama.embedding_length"] // info["llama.attention.head_count"]
    cells = info["llama.block_count"] * info["llama.attention.head_count_kv"] * width * 4096
    assert need(LLAMA, num_ctx=4096, parallel=1).cache == cells * 2 * 2 == 448 * 1024**2


def test_the_formula_gives_the_recorded_figures() -> None:
    # The recorded model's log says 128 MiB of cache and 20.01 MiB of compute buffers.
    spec = ModelSpec("recorded", 337_746_823, "llama", 84_430_000, 8, 64, 64, 1024, 2048, 131072, 259)
    assert need(spec, num_ctx=4096, parallel=1).cache == 128 * 1024**2
    assert need(spec, num_ctx=4096, parallel=1).compute == 20 * 1024**2


@given(specs, contexts, st.integers(1, 4), st.integers(-1, 200))
def test_what_is_not_on_the_gpu_is_in_the_host(
    spec: ModelSpec, num_ctx: int, parallel: int, num_gpu: int
) -> None:
    part = need(spec, num_ctx=num_ctx, parallel=parallel, num_gpu=num_gpu)
    whole = need(spec, num_ctx=num_ctx, parallel=parallel)
    assert part.total == whole.total
    assert part.gpu <= whole.gpu
    assert min(part.weights, part.cache, part.compute, part.host) >= 0


@given(specs, contexts)
def test_more_layers_never_need_less(spec: ModelSpec, num_ctx: int) -> None:
    sizes = [need(spec, num_ctx=num_ctx, parallel=1, num_gpu=layers).gpu for layers in range(spec.layers + 3)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0


@given(specs, contexts, st.integers(0, 16 * 1024**3))
def test_a_spill_fits_and_one_layer_more_would_not(spec: ModelSpec, num_ctx: int, free: int) -> None:
    part = spilled(spec, free, num_ctx=num_ctx, parallel=1)
    assert part.gpu <= free
    if part.gpu_layers <= spec.layers:
        more = need(spec, num_ctx=num_ctx, parallel=1, num_gpu=part.gpu_layers + 1)
        assert more.gpu > free


@pytest.mark.parametrize(
    ("free", "step"),
    [
        ("300 MB", LoadStep.WEIGHTS),
        ("400 MB", LoadStep.CACHE),
        ("450 MB", LoadStep.COMPUTE),
        ("464 MB", None),
    ],
)
def test_the_step_that_fails_is_the_first_that_does_not_fit(free: str, step: LoadStep | None) -> None:
    short = shortage(need(QWEN, num_ctx=4096, parallel=1), parse_size(free))
    assert (short and short.step) == step


@given(st.integers(10_000, 10**12))
def test_a_model_of_any_size_has_a_sound_architecture(size: int) -> None:
    spec = spec_for("some:model", size)
    assert spec.size == size == sum(layer.size for layer in spec.blobs)
    assert min(spec.layers, spec.heads, spec.kv_heads, spec.head_size) >= 1
    assert spec.heads >= spec.kv_heads
    assert f"blobs/sha256-{spec.blobs[0].digest}" in show_body(spec, "", spec.capabilities)["modelfile"]


def test_a_known_name_keeps_its_architecture_at_another_size() -> None:
    spec = spec_for("phi3:mini", 10**9)
    assert (spec.layers, spec.kv_heads, spec.size) == (32, 32, 10**9)


def test_a_file_of_nothing_is_no_model() -> None:
    with pytest.raises(ValueError, match="no model"):
        spec_for("a:b", 10)
