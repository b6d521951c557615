# ruff: noqa: E501 - expressions and examples are whole, as they are printed
"""Wordings of runners, drivers and the kernel for failures of host memory; see `runner.py`."""

from fleet.memory_errors.causes import Cause, Part
from fleet.memory_errors.table.rows import Pattern, signal

_HOST_BUFFER = r"(?:backend CPU|CPU\w{0,40}+|\w{0,40}_Host|Host|AMX|BLAS|ACCEL|HBM)"
"""Names of buffers in host memory; those in GPU memory are `CUDA0`, `ROCm1`, `Vulkan0`, `Metal`, `SYCL0`."""

_PINNED_CALL = r"\b(?:cu|cuda|hip|musa|aclrt)(?:MallocHost|HostMalloc|HostAlloc|HostRegister|Mem(?:AllocHost|HostAlloc))\w{0,12}"

HOST: tuple[Pattern, ...] = (
    signal(
        "host-pinned",
        r"of pinned memory|(?:Failed|failed) to allocate pinned memory",
        ("pinned memory",),
        Cause.HOST,
        part=Part.HARMLESS,
        versions="all",
        example="ggml_cuda_host_malloc: failed to allocate 16607.35 MiB of pinned memory: out of memory",
    ),
    signal(
        "host-pinned-call",
        rf"(?:{_PINNED_CALL}|_host_malloc|\bmalloc_host)\b[^\n]{{0,400}}?"
        r"(?:out of memory|ErrorMemoryAllocation|ErrorOutOfMemory|ERROR_OUT_OF_MEMORY)",
        ("out of memory", "ErrorMemoryAllocation", "ErrorOutOfMemory", "ERROR_OUT_OF_MEMORY"),
        Cause.HOST,
        part=Part.HARMLESS,
        versions="none; other builds",
        backend="cuda rocm",
        example="cudaMallocHost failed: out of memory",
    ),
    signal(
        "host-pinned-below",
        r"^ *(?:cuda|hip|musa)(?:MallocHost|HostMalloc)\(",
        ("MallocHost(", "HostMalloc("),
        Cause.HOST,
        part=Part.CALL,
        versions="all",
        backend="cuda rocm",
        example="  cudaMallocHost((void **) &ptr, size)",
    ),
    signal(
        "host-vulkan-limit",
        r"Requested buffer size \(\d{1,20}\) exceeds device max_buffer_size limit",
        ("max_buffer_size",),
        Cause.HOST,
        part=Part.HARMLESS,
        versions="0.12.6 -",
        backend="vulkan",
        example="WARNING: Requested buffer size (2546057248) exceeds device max_buffer_size limit (2147483648)!",
    ),
    signal(
        "host-buffer",
        rf"(?:failed|unable) to allocate (?P<device>{_HOST_BUFFER}) buffer(?: of size (?P<bytes>\d{{1,20}}))?",
        ("to allocate ",),
        Cause.HOST,
        versions="all",
        example="alloc_tensor_range: failed to allocate CPU buffer of size 437944320",
    ),
    signal(
        "host-cpu-backend",
        r"ggml_backend_(?:cpu|amx)_\w{0,40}alloc_buffer: failed to allocate buffer(?: of size (?P<bytes>\d{1,20}))?",
        ("failed to allocate buffer",),
        Cause.HOST,
        versions="all",
        example="ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 437944320",
    ),
    signal(
        "host-aligned",
        r"ggml_(?:aligned_malloc: (?:insufficient memory|unknown allocation error)|[mc]alloc: failed)"
        r"(?: \(?(?:attempted )?to allocate +(?P<mib>[\d.]{1,20}))?",
        ("insufficient memory", "unknown allocation error", "to allocate "),
        Cause.HOST,
        versions="all",
        example="ggml_aligned_malloc: insufficient memory (attempted to allocate 4096.00 MB)",
    ),
    signal(
        "host-mlock",
        r"failed to (?:mlock|VirtualLock)",
        ("failed to mlock", "failed to VirtualLock"),
        Cause.HOST,
        part=Part.HARMLESS,
        versions="all",
        example="warning: failed to mlock 68157440-byte buffer (after previously locking 0 bytes): Cannot allocate memory",
    ),
    signal(
        "host-mmap",
        r"Cannot allocate memory|cannot allocate memory",
        ("annot allocate memory",),
        Cause.HOST,
        versions="all",
        example="llama_model_load: error loading model: mmap failed: Cannot allocate memory",
    ),
    signal(
        "host-bad-alloc",
        r"bad_alloc\b|\bbad allocation\b|failed to allocate memory for prompt cache|unable to allocate batch"
        r"|(?:vm_allocate|posix_memalign) failed|failed to allocate output buffer|of memory on host\b",
        (
            "bad_alloc",
            "bad allocation",
            "memory for prompt cache",
            "to allocate ",
            "vm_allocate failed",
            "posix_memalign failed",
            "of memory on host",
        ),
        Cause.HOST,
        versions="all",
        example="terminate called after throwing an instance of 'std::bad_alloc'",
    ),
    signal(
        "host-go",
        r"(?:fatal error|runtime): (?:runtime: )?out of memory",
        ("out of memory",),
        Cause.HOST,
        versions="all",
        example="fatal error: runtime: out of memory",
    ),
    signal(
        "host-kernel",
        r"Out of memory: Kill|[Mm]emory cgroup out of memory|\boom[-_]kill|\boom_reaper: |\bOOM[ -]killer",
        ("ut of memory", "oom-kill", "oom_kill", "oom_reaper: ", "OOM killer", "OOM-killer"),
        Cause.HOST,
        versions="all",
        example="Out of memory: Killed process 4242 (ollama) total-vm:26214400kB, anon-rss:23068672kB",
    ),
    signal(
        "host-windows",
        r"[Nn]ot enough memory resources|\bpaging file (?:is too small|quota)|\{Out of Virtual Memory\}",
        ("ot enough memory resources", "paging file ", "Virtual Memory}"),
        Cause.HOST,
        versions="all",
        example="Not enough memory resources are available to process this command.",
    ),
    signal(
        "host-system-memory",
        r"requires more system memory|too large for system(?: memory)?\b|not enough system memory"
        r"|requires at least [\d.]{1,20} \w{1,5} of total memory",
        ("system memory", "too large for system", "of total memory"),
        Cause.HOST,
        versions="0.2.0 -",
        example="Error: model requires more system memory (9.4 GiB) than is available (5.3 GiB)",
    ),
    signal(
        "host-required",
        r"insufficient memory - required allocations: (?:[^FG\n]|G(?!PUs:))*(?:F|GPUs:\[\])",
        ("insufficient memory - required",),
        Cause.HOST,
        versions="0.7.1 - 0.24.0",
        example="panic: insufficient memory - required allocations: {InputWeights:5A CPU:{Name:CPU Graph:9F} GPUs:[]}",
    ),
    signal(
        "host-vulkan-memory",
        r"OutOfHostMemory|OUT_OF_HOST_MEMORY",
        ("OutOfHostMemory", "OUT_OF_HOST_MEMORY"),
        Cause.HOST,
        versions="0.12.6 -",
        backend="vulkan",
        example="ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfHostMemory",
    ),
)
