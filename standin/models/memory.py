"""The GPU memory that a model needs, and the first allocation that fails (pure).

    need = weights + KV cache + compute buffers

- *weights*: the size of the model's file;
- *KV cache*: 2 (K and V) x 2 bytes (f16) x layers x kv heads x head size x context x parallel requests. This is
  llama.cpp's own sum, by the figures of `/api/show`'s `model_info`;
- *compute*: 4 bytes x 512 (the batch) x (context + 6 x embedding): the attention mask and the activations. The formula
  is fitted to recorded logs: 20 MiB at a context of 4096 and an embedding of 1024.

The layers are taken as equal; the output counts as one more, as in Ollama's `offloaded 9/9 layers to GPU`.
"""

from dataclasses import dataclass
from enum import Enum

from fleet.runtime.units import Bytes
from standin.models.specs import ModelSpec

_BATCH = 512
_F16 = 2
_F32 = 4


class LoadStep(Enum):
    """The allocations of a load, in their order."""

    WEIGHTS = "weights"
    CACHE = "cache"
    COMPUTE = "compute"


@dataclass(frozen=True, slots=True)
class Need:
    """The memory of a load in bytes: the part for the GPU, and the part in the host's memory."""

    weights: Bytes
    cache: Bytes
    compute: Bytes
    host: Bytes
    gpu_layers: int
    all_layers: int

    @property
    def gpu(self) -> Bytes:
        """Return the bytes on the GPU: `size_vram`."""
        return self.weights + self.cache + self.compute

    @property
    def total(self) -> Bytes:
        """Return the bytes of the whole model: `size`."""
        return self.gpu + self.host


@dataclass(frozen=True, slots=True)
class Shortage:
    """The allocation that fails: which step, how many bytes it asked for, how many were free."""

    step: LoadStep
    asked: Bytes
    free: Bytes


def cache_size(spec: ModelSpec, num_ctx: int, parallel: int) -> Bytes:
    """Return the bytes of a model's whole KV cache."""
    return 2 * _F16 * spec.layers * spec.kv_heads * spec.head_size * num_ctx * parallel


def compute_size(spec: ModelSpec, num_ctx: int) -> Bytes:
    """Return the bytes of a model's compute buffers."""
    return _F32 * _BATCH * (num_ctx + 6 * spec.embedding)


def need(spec: ModelSpec, *, num_ctx: int, parallel: int, num_gpu: int = -1) -> Need:
    """Return the need of a load with `num_gpu` layers on the GPU; a negative number means all layers."""
    layers = spec.layers + 1
    on_gpu = layers if num_gpu < 0 else min(num_gpu, layers)
    weights = spec.weights * on_gpu // layers
    whole_cache, compute = cache_size(spec, num_ctx, parallel), compute_size(spec, num_ctx)
    cache = whole_cache * min(on_gpu, spec.layers) // spec.layers
    host = spec.weights - weights + whole_cache - cache
    if on_gpu == 0:
        return Need(0, 0, 0, host + compute, 0, layers)
    return Need(weights, cache, compute, host, on_gpu, layers)


def shortage(wanted: Need, free: Bytes) -> Shortage | None:
    """Return the first allocation that does not fit into the free memory, None if all fit."""
    left = free
    for step, asked in (
        (LoadStep.WEIGHTS, wanted.weights),
        (LoadStep.CACHE, wanted.cache),
        (LoadStep.COMPUTE, wanted.compute),
    ):
        if asked > left:
            return Shortage(step, asked, left)
        left -= asked
    return None


def spilled(spec: ModelSpec, free: Bytes, *, num_ctx: int, parallel: int) -> Need:
    """Return the need with as many layers on the GPU as fit there; the rest stays on the CPU."""
    for layers in range(spec.layers + 1, 0, -1):
        part = need(spec, num_ctx=num_ctx, parallel=parallel, num_gpu=layers)
        if part.gpu <= free:
            return part
    return need(spec, num_ctx=num_ctx, parallel=parallel, num_gpu=0)
