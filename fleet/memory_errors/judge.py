"""Whether an error's text speaks of GPU memory that could not be had.

The generator paces itself by it and the monitor counts by it, so that both call the same failures by the same
name. Ollama's own ten phrases (its `llm/status.go`) come first; what follows them is said by runners of other
versions and devices and matches none of the ten. Memory of the host is another matter: no smaller model on
the GPU helps against it.
"""

_TEXT_LIMIT = 64 * 1024

OLLAMAS_PHRASES = (
    "out of memory",
    "out of device memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "allocation failed",
    "not enough memory",
    "insufficient memory",
    "vk_error_out_of_device_memory",
    "erroroutofmemory",
)
"""By which Ollama itself, from 0.30 on, takes an error for one of memory."""

_GPU = (
    *OLLAMAS_PHRASES,
    # Vulkan's exception, whose words Ollama's list writes apart.
    "outofdevicememory",
    "device memory allocation of size",
    # The loader's last word, v0.3 to now: "unable to allocate CUDA0 buffer", "backend buffer" before v0.5.2.
    "unable to allocate",
    # The layout engine of v0.11.5 to v0.24.
    "memory layout cannot be allocated",
    "failed to commit memory for model",
    # The two phrases of the original that are in no version of Ollama, kept for other servers.
    "gpu memory exhausted",
    "vram usage didn't recover",
)
_HOST = (
    "pinned memory",
    "cpu buffer",
    "cpu_buffer",
    "_host buffer",
    "cuda_host",
    "system memory",
    "host memory",
    "mmap failed",
    "bad_alloc",
    "prompt cache",
    "cannot allocate memory",
)
_RECOVERED = "retrying without pipeline parallelism"


def is_memory_error(text: str) -> bool:
    """Tell whether an error's text says that GPU memory could not be had; pure and bounded.

    Each line is judged by itself, since an error carries the runner's last lines. False where every line that
    speaks of memory speaks of the host's, and where the last one says that the runner goes on in another way.
    """
    lines = [
        line
        for line in text[:_TEXT_LIMIT].lower().replace("\\n", "\n").splitlines()
        if any(phrase in line for phrase in _GPU)
    ]
    if not lines or _RECOVERED in lines[-1]:
        return False
    return any(not any(phrase in line for phrase in _HOST) for line in lines)
