"""The decorators through which all kernels are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile on first call for the types it is called with, without the GIL, and keep the result on disk.

    The cache lies beside the source, under NUMBA_CACHE_DIR where that is set, or in the user's cache folder where the
    source's is read-only. Where nothing is writable the kernel still works and is compiled in each process. Division
    follows IEEE (no ZeroDivisionError) and nothing is reassociated: infinities and NaN are data here.
    """
    return cast("F", _compiled(function, {"nogil": True, "error_model": "numpy"}))


def _compiled(function: Callable[..., object], options: dict[str, Any]) -> object:
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(**options)(function)
