# ruff: noqa: E501 - expressions and examples are whole, as they are printed
"""Wordings of runners and drivers: plain lines without level, and the same words inside an `error=`.

Order matters: the first row that matches decides. A wording that names its memory stands before one that does not, host
memory (`host.py`) before GPU memory. The wordings are those of ggml, llama.cpp, MLX, the Vulkan, CUDA, ROCm and Metal runtimes, Go
and Linux. `versions` are the releases of Ollama that print them.
"""

from fleet.memory_errors.causes import Cause, Part
from fleet.memory_errors.table.host import HOST
from fleet.memory_errors.table.rows import FieldCheck, Pattern, PatternScope, signal

_PHRASE = (
    r"(?i:out[ -]of[ -]memory|insufficient memory|not enough memory|memory exhausted"
    r"|(?:failed|unable) to allocate [\d.]{1,20} ?(?:[KMG]i?B|bytes)|(?:cuda|hip|musa)malloc failed$)"
)
_MEMORY = (
    "ut of memory",
    "ut-of-memory",
    "nsufficient memory",
    "nsufficient Memory",
    "ot enough memory",
    "emory exhausted",
)
_PHRASE_NEEDLES = (*_MEMORY, "to allocate ", "alloc failed")

GPU: tuple[Pattern, ...] = (
    signal(
        "healed-pipeline",
        r"retrying without pipeline parallelism",
        ("retrying without pipeline",),
        Cause.RETRY,
        part=Part.HEALED,
        versions="0.13.2 -",
        example="sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism",
    ),
    signal(
        "gpu-malloc",
        r"allocating (?P<mib>[\d.]{1,20}) MiB on device (?P<device>\d{1,4}): \w{1,24} failed: out of memory",
        ("failed: out of memory",),
        Cause.ALLOCATION,
        versions="all",
        backend="cuda rocm",
        example="ggml_backend_cuda_buffer_type_alloc_buffer: allocating 3257.82 MiB on device 0: "
        "cudaMalloc failed: out of memory",
    ),
    signal(
        "gpu-malloc-lost",
        r"alloc failed: (?:no \w{1,10}-capable device|(?:\S{1,24} )?device\S{0,3} is/are busy|all \S{1,24} devices are busy"
        r"|un(?:known error|correctable ECC|specified launch)|\w{0,12} ?driver|initialization error"
        r"|an illegal memory access|the launch timed out|GPU is lost)",
        ("alloc failed: ",),
        Cause.GPU_LOST,
        part=Part.CALL,
        versions="all",
        backend="cuda rocm",
        example="ggml_backend_cuda_buffer_type_alloc_buffer: allocating 1825.82 MiB on device 0: "
        "cudaMalloc failed: CUDA-capable device(s) is/are busy or unavailable",
    ),
    signal(
        "gpu-buffer",
        r"(?:failed|unable) to allocate (?P<device>[A-Z][\w.,()\[\]:-]{0,80}|backend) buffer(?: of size (?P<bytes>\d{1,20}))?\b",
        ("to allocate ",),
        Cause.ALLOCATION,
        versions="all",
        example="ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 11499136000",
    ),
    signal(
        "gpu-error",
        r"(?:CUDA|ROCm|HIP|MUSA) error\b[^\n]{0,400}?out of memory",
        ("out of memory",),
        Cause.RUNNER_DIED,
        versions="all",
        backend="cuda rocm",
        example="CUDA error: out of memory",
    ),
    signal(
        "gpu-blas",
        r"\b(?:CUBLAS|HIPBLAS|CUDNN|CUSOLVER)_STATUS_ALLOC_FAILED|rocblas_status_memory_error"
        r"|(?:CUDA|cuBLAS|ROCm) error\b[^\n]{0,200}?: the resource allocation failed"
        r"|\bcublas\w{1,40}\([^\n]{0,200}?\) failed with code: 3\b",
        (
            "STATUS_ALLOC_FAILED",
            "rocblas_status_memory_error",
            "resource allocation failed",
            "failed with code: 3",
        ),
        Cause.ALLOCATION,
        versions="all",
        backend="cuda rocm",
        example="CUDA error: CUBLAS_STATUS_ALLOC_FAILED",
    ),
    signal(
        "gpu-error-name",
        r"\b(?:cudaErrorMemoryAllocation|hipErrorOutOfMemory|CUDA_ERROR_OUT_OF_MEMORY|HIP_ERROR_OUT_OF_MEMORY)\b",
        ("cudaErrorMemoryAllocation", "hipErrorOutOfMemory", "ERROR_OUT_OF_MEMORY"),
        Cause.ALLOCATION,
        versions="all",
        backend="cuda rocm",
        example="cuMemCreate(&handle, size, &prop, 0) failed: CUDA_ERROR_OUT_OF_MEMORY",
    ),
    signal(
        "gpu-queue",
        r"HSA_STATUS_ERROR_OUT_OF_RESOURCES[^\n]{0,400}?Available Free mem : \d{1,3} MB",
        ("ERROR_OUT_OF_RESOURCES",),
        Cause.RUNNER_DIED,
        versions="all",
        backend="rocm",
        example=":0:rocdevice.cpp :2881: 4243 us: Callback: Queue 0x7f30 aborting with error : "
        "HSA_STATUS_ERROR_OUT_OF_RESOURCES: no resources left. Code: 0x1008 Available Free mem : 12 MB",
    ),
    signal(
        "gpu-malloc-other",
        r"\b(?:mlx: ?)?\w{0,20}(?:Malloc|MemCreate|MemAlloc)\w{0,20}(?:\([^)\n]{0,400}\))? failed: out of memory",
        ("failed: out of memory",),
        Cause.ALLOCATION,
        versions="all",
        backend="cuda rocm mlx",
        example="Error: llama runner process has terminated: cudaMalloc failed: out of memory",
    ),
    signal(
        "gpu-metal",
        r"kIOGPUCommandBufferCallbackErrorOutOfMemory|Insufficient Memory \(0|execution failed: Insufficient Memory",
        ("Insufficient Memory", "CallbackErrorOutOfMemory"),
        Cause.RUNNER_DIED,
        versions="all",
        backend="metal mlx",
        example="error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    ),
    signal(
        "gpu-metal-other",
        r"\(0{7}[0-9a-f]: ?kIO(?:GPU|Accel)CommandBufferCallbackError(?!OutOfMemory)\w{1,40}\)",
        ("CommandBufferCallbackError",),
        Cause.GPU_LOST,
        versions="0.1.33 -",
        backend="metal mlx",
        example="error: Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)",
    ),
    signal(
        "gpu-mlx",
        r"\b(?:mlx|MLX)\b[^\n]{0,400}?(?:out of memory|[Ii]nsufficient [Mm]emory)"
        r"|\[(?:metal::)?malloc\w{0,20}\] (?:Attempting to allocate|Unable to allocate|Resource limit)",
        (*_MEMORY, "to allocate", "malloc] Resource limit"),
        Cause.ALLOCATION,
        versions="0.14 -",
        backend="mlx",
        example="mlx: [malloc] Unable to allocate 4294967296 bytes.",
    ),
    signal(
        "gpu-mlx-fit",
        r"model requires [\d.]{1,20} \w{1,5} [^\n]{0,200}?\bbut only [\d.]{1,20} \w{1,5} are available",
        (" but only ",),
        Cause.ALLOCATION,
        versions="0.18.2 -",
        backend="mlx",
        example="Error: 500 Internal Server Error: model requires 20.4 GiB but only 11.3 GiB are available "
        "(after 512.0 MiB overhead)",
    ),
    signal(
        "gpu-vulkan-size",
        r"\b(?:Device m|M)emory allocation of size (?P<bytes>\d{1,20}) failed",
        ("emory allocation of size",),
        Cause.ALLOCATION,
        versions="0.12.6 -",
        backend="vulkan",
        example="ggml_vulkan: Device memory allocation of size 4199040000 failed.",
    ),
    signal(
        "gpu-vulkan",
        r"OutOfDeviceMemory|OUT_OF_DEVICE_MEMORY|\bErrorOutOfMemory\b|out of device memory",
        ("OutOfDeviceMemory", "OUT_OF_DEVICE_MEMORY", "ErrorOutOfMemory", "out of device memory"),
        Cause.ALLOCATION,
        versions="0.12.6 -",
        backend="vulkan sycl",
        example="ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
    ),
    signal(
        "gpu-submission",
        r"[Nn]ot enough memory for command submission",
        ("ot enough memory for command",),
        Cause.RUNNER_DIED,
        versions="0.12.6 -",
        backend="vulkan",
        example="radv/amdgpu: Not enough memory for command submission.",
    ),
    signal(
        "gpu-metal-buffer",
        r"ggml_metal_\w{0,60}: (?:error: )?failed to allocate buffer(?:, size = +(?P<mib>[\d.]{1,20}))?"
        r"|ggml_(?:backend_)?metal_\w{0,60}: (?:error: )?failed to allocate (?:buffer|'[^'\n]{0,60}' buffer)"
        r"|unable to allocate backend metal buffer",
        ("failed to allocate buffer", "failed to allocate '", "allocate backend metal"),
        Cause.ALLOCATION,
        versions="all",
        backend="metal",
        example="ggml_metal_buffer_init: error: failed to allocate buffer, size =  8192.02 MiB",
    ),
    signal(
        "gpu-metal-status",
        r"command buffer \d{1,6} failed with status 5",
        ("failed with status 5",),
        Cause.RUNNER_DIED,
        vague=True,
        versions="all",
        backend="metal",
        example="ggml_metal_graph_compute: command buffer 1 failed with status 5",
    ),
    signal(
        "gpu-sycl",
        r"can't allocate (?P<bytes>\d{1,20}) [Bb]ytes of memory on device|\bCL_(?:OUT_OF_RESOURCES|MEM_OBJECT_ALL)",
        ("of memory on device", "CL_OUT_OF_RESOURCES", "CL_MEM_OBJECT_ALLOC"),
        Cause.ALLOCATION,
        versions="other builds",
        backend="sycl opencl",
        example="ggml_backend_sycl_buffer_type_alloc_buffer: can't allocate 4294967296 Bytes of memory on device",
    ),
    signal(
        "gpu-compute-buffers",
        r"failed to allocate compute (?:pp |tg )?buffers",
        ("failed to allocate compute",),
        Cause.ALLOCATION,
        vague=True,
        versions="all",
        example="graph_reserve: failed to allocate compute buffers",
    ),
    signal(
        "gpu-kv-cache",
        r"failed to allocate (?:buffer|memory) for (?:the )?(?:(?:kv|KV|rs|recurrent)[ _-]|graph copy|lora adapter|control vector)"
        r"|failed for self-attention cache|failed to initialize the context: failed to allocate ",
        ("failed to allocate ", "failed for self-attention"),
        Cause.ALLOCATION,
        vague=True,
        versions="all",
        example="llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache",
    ),
    signal(
        "gpu-graph",
        r"failed to allocate (?:compute )?graph\b|graph allocation: failed to reserve memory"
        r"|GGML status: error \(failed to allocate memory\)|error loading model: failed to allocate buffer$",
        (
            "failed to allocate buffer",
            "failed to allocate graph",
            "failed to allocate compute",
            "graph allocation: failed",
            "failed to allocate memory)",
        ),
        Cause.ALLOCATION,
        vague=True,
        versions="all",
        example="ggml_backend_sched_alloc_splits: failed to allocate graph",
    ),
    signal(
        "gpu-radv",
        r"\bamdgpu: Failed to allocate a buffer\b",
        ("Failed to allocate a buffer",),
        Cause.ALLOCATION,
        vague=True,
        versions="0.12.6 -",
        backend="vulkan",
        example="radv/amdgpu: Failed to allocate a buffer:",
    ),
    signal(
        "gpu-context",
        r"failed to create context with model [^\n]{0,1000}?running out of VRAM",
        ("running out of VRAM",),
        Cause.ALLOCATION,
        part=Part.ECHO,
        vague=True,
        versions="llama.cpp",
        example="common_init_from_params: failed to create context with model 'm.gguf', try reducing "
        "--n-gpu-layers if you're running out of VRAM",
    ),
    signal(
        "gpu-required",
        r"insufficient memory - required allocations",
        ("insufficient memory - required",),
        Cause.ALLOCATION,
        versions="0.7.1 - 0.24.0",
        example="panic: insufficient memory - required allocations: {CPU:{Weights:[0A]} GPUs:[{ID:0 Weights:[1F]}]}",
    ),
    signal(
        "gpu-weights",
        r"unable to allocate (?:memory|[\d.]{1,20} \w{1,5}) from device (?P<device>[^\s]{1,80}) for (?:model weights|new tensor)",
        ("to allocate ",),
        Cause.ALLOCATION,
        versions="0.6.6 - 0.7.0",
        example="panic: unable to allocate memory from device CUDA0 for model weights",
    ),
    signal(
        "gpu-layout",
        r"memory layout cannot be allocated|failed to commit memory for model|failed to allocate memory for model",
        ("memory layout cannot be allocated", "commit memory for model", "allocate memory for model"),
        Cause.ALLOCATION,
        part=Part.ECHO,
        vague=True,
        versions="0.11.5 - 0.24.0",
        scope=PatternScope.ANY,
        example='time=2025-12-02T17:06:49.100-05:00 level=WARN source=server.go:839 msg="failed to commit memory '
        'for model" memory.InputWeights=0B',
    ),
    signal(
        "gpu-startup",
        r"reported out-of-memory during startup",
        ("out-of-memory during startup",),
        Cause.ALLOCATION,
        part=Part.ECHO,
        vague=True,
        versions="0.30.0 -",
        scope=PatternScope.ANY,
        example="Error: 500 Internal Server Error: llama-server reported out-of-memory during startup: warm-up failed",
    ),
    signal(
        "original-phrases",
        r"gpu memory exhausted|CUDA out of memory|GPU memory allocation failed",
        ("gpu memory exhausted", "CUDA out of memory", "GPU memory allocation failed"),
        Cause.ALLOCATION,
        versions="none; other programs",
        scope=PatternScope.ANY,
        example="RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB",
    ),
    signal(
        "spill-offloaded",
        r"offloaded (?P<part>\d{1,5})/(?P<whole>\d{1,5}) layers to GPU",
        ("offloaded ",),
        Cause.SPILL,
        check=FieldCheck.PARTIAL_OFFLOAD,
        scope=PatternScope.ANY,
        versions="all",
        example="llm_load_tensors: offloaded 11/33 layers to GPU",
    ),
    signal(
        "spill-overflow",
        r"fit_impl: +- [^\n]{1,200}?: +\d{1,5} layers \( *(?!0 )\d{1,5} overflowing\)",
        (" overflowing)",),
        Cause.SPILL,
        versions="0.30.0 -",
        example="common_params_fit_impl:   - CUDA0 (NVIDIA GeForce RTX 3060): 33 layers ( 5 overflowing),  "
        "11065 MiB used,   1036 MiB free",
    ),
    signal(
        "spill-fit",
        r"(?:fit_params|params_fit\w{0,10}): failed to fit params to free device memory",
        ("failed to fit params",),
        Cause.SPILL,
        part=Part.ESTIMATE,
        versions="0.13.5 -",
        example="common_fit_params: failed to fit params to free device memory: n_gpu_layers already set by user",
    ),
    signal(
        "spill-no-vram",
        r"not enough (?:vram|VRAM) available",
        ("not enough vram", "not enough VRAM"),
        Cause.SPILL,
        scope=PatternScope.ANY,
        versions="0.1.2x - 0.1.3x",
        example='time=2024-03-20T10:00:00.000Z level=INFO source=llm.go:119 msg="not enough vram available, '
        'falling back to CPU only"',
    ),
)

LAST_RESORT: tuple[Pattern, ...] = (
    signal(
        "other-host",
        _PHRASE,
        _PHRASE_NEEDLES,
        Cause.HOST,
        check=FieldCheck.NAMES_HOST,
        versions="any other",
        example="failed to copy the model to the host: out of memory",
    ),
    signal(
        "other-gpu",
        _PHRASE,
        _PHRASE_NEEDLES,
        Cause.ALLOCATION,
        check=FieldCheck.NAMES_GPU,
        versions="any other",
        example="HIP runtime error: the device is out of memory",
    ),
    signal(
        "other-unnamed",
        r"(?i:\bout of memory\b|\binsufficient memory\b|\bnot enough memory\b)",
        _MEMORY,
        Cause.ALLOCATION,
        vague=True,
        check=FieldCheck.REPORTS,
        versions="any other",
        example="error loading model: out of memory",
    ),
)

PLAIN: tuple[Pattern, ...] = (*HOST, *GPU, *LAST_RESORT)
