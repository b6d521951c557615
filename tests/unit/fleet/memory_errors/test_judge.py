import pytest

from fleet.memory_errors.causes import Part, SignalKind
from fleet.memory_errors.judge import is_memory_error
from fleet.memory_errors.table.runner import PLAIN
from monitor.detection.detector import detect

GPU = [
    "cudaMalloc failed: out of memory\nggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 1234",
    "llama-server process has terminated: exit status 1: unable to allocate ROCm0 buffer",
    "llama runner process has terminated: error loading model: unable to allocate backend buffer",
    "ggml_vulkan: Device memory allocation of size 99 failed.",
    "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
    "CUDA error: out of memory",
    "memory layout cannot be allocated with num_gpu = 20",
    "failed to commit memory for model",
    "error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    "radv/amdgpu: Not enough memory for command submission.",
    "mlx: cudaMallocAsync(&p, n) failed: out of memory",
    "llama-server reported out-of-memory during startup: GGML_ASSERT(buffer) failed",
    "gpu memory exhausted",
    "GPU memory allocation failed",
    # The host's line stands beside the GPU's own.
    "mmap failed: Cannot allocate memory\ncudaMalloc failed: out of memory",
    r"exit status 2: cudaMalloc failed: out of memory\nalloc_tensor_range: x",
    "CUDA error: out of memory\n  current device: 0, in function f at a.cu:1\n  cuMemCreate(&handle, size, &prop, 0)",
    "cudaMemcpyAsync(dst, src, n, cudaMemcpyHostToDevice, s) failed: out of memory",
    "insufficient memory - required allocations: {InputWeights:7A CPU:{Name:CPU Graph:5A} GPUs:[{Name:CUDA0 Graph:9F}]}",
    "insufficient memory - required allocations: {InputWeights:7 CPU:{Name:CPU Graph:5} GPUs:[{Name:CUDA0 ID:1F}]}",
    "radv/amdgpu: Failed to allocate a buffer:",
]
OTHER = [
    "",
    "an error was encountered while running the model: unexpected EOF",
    "model 'x' not found",
    "llama-server process has terminated: exit status 1: mmap failed: Cannot allocate memory",
    "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 12",
    "unable to allocate CPU buffer",
    "llama-server reported out-of-memory during startup: x\nalloc_tensor_range: failed to allocate CPU buffer of size 12",
    "unable to allocate CUDA_Host buffer",
    "ggml_cuda_host_malloc: failed to allocate 1.00 MiB of pinned memory: out of memory",
    "model requires more system memory (8.0 GiB) than is available (2.0 GiB)",
    "failed to allocate memory for prompt cache state: std::bad_alloc",
    "CUDA0 buffer: out of memory\ncompute buffer allocation failed, retrying without pipeline parallelism",
    "decode: failed to find a memory slot for batch of size 512",
    "CUDA error: out of memory\n  current device: 0, in function f at a.cu:1\n  cudaMallocHost((void **) &ptr, size)",
    "ROCm error: out of memory\n  hipHostMalloc((void **)&ptr, size, hipHostMallocDefault)",
    "insufficient memory - required allocations: {InputWeights:7A CPU:{Name:CPU Weights:[4A 3U] Graph:5F} GPUs:[]}",
    "insufficient memory - required allocations: {InputWeights:7F CPU:{Name:CPU Graph:0U} GPUs:[{Name:CUDA0}]}",
    "insufficient memory - required allocations: {InputWeights:7 CPU:{Name:CPU Graph:5} GPUs:[]}",
]


@pytest.mark.parametrize("text", GPU)
def test_gpu_memory_is_recognised(text: str) -> None:
    assert is_memory_error(text)


@pytest.mark.parametrize("text", OTHER)
def test_other_errors_and_the_hosts_memory_are_not(text: str) -> None:
    assert not is_memory_error(text)


@pytest.mark.parametrize("text", [*GPU, *OTHER, *(row.example for row in PLAIN)])
def test_a_text_has_one_verdict_in_the_log_and_in_an_api_error(text: str) -> None:
    lines = [signal for line in text.replace(r"\n", "\n").split("\n") if (signal := detect(line)) is not None]
    healed = "retrying without pipeline parallelism" in text or any(line.part is Part.CALL for line in lines)
    host = any(line.kind is SignalKind.SYSMEM for line in lines)  # outweighs a line that names no memory
    hard = any(line.kind is SignalKind.HARD and not (line.vague and host) for line in lines)
    assert is_memory_error(text) == (not healed and hard)
