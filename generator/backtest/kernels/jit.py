"""The decorator through which all kernels are compiled, and a sum that may be formed in any order."""

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
    return cast("F", _compiled(function))


def _compiled(function: Callable[..., object], **options: Any) -> object:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(**options)(function)


def _plus(total: float, value: float) -> float:
    """Return the sum; a loop of such sums adds several terms at a time.

    The freedom stays with this one addition when it is inlined; all else in the caller keeps its order.
    """
    return total + value


plus: Any = _compiled(_plus, fastmath={"reassoc"})
