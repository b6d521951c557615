"""The decorator that compiles all kernels, and a sum whose terms may be added in any order."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile on first call for the types it is called with, without the GIL, and keep the result on disk.

    The cache is beside the source. NUMBA_CACHE_DIR overrides that; for a read-only source it is the user's cache
    folder. Without a writable folder the kernel still works and is compiled in each process. Division follows IEEE (no
    ZeroDivisionError) and nothing is reassociated: infinities and NaN are data here.
    """
    return cast("F", _compiled(function))


def part(function: F) -> F:
    """Compile into each caller. A call that stays in a loop would keep it from becoming vector instructions."""
    return cast("F", _compiled(function, inline="always"))


def _compiled(function: Callable[..., object], **options: Any) -> object:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(**options)(function)


def _plus(total: float, value: float) -> float:
    """Return the sum; a loop of such sums adds several terms at a time.

    Only this addition may be reordered, also when it is inlined; all others in the caller keep their order.
    """
    return total + value


plus: Any = _compiled(_plus, fastmath={"reassoc"})
