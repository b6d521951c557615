"""Single instructions that numba has no words for."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator]
def bits_of(_typing: Any, _value: Any) -> Any:
    """Return the bits of a float64 as an int64; without their signs, numbers are ordered as these are."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def value_of(_typing: Any, _bits: Any) -> Any:
    """Return the float64 with the bits of an int64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def plus(_typing: Any, _total: Any, _value: Any) -> Any:
    """Return a sum of float64 that may be formed in any order, several terms at a time; all else keeps its order."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments, flags=("reassoc",))

    return types.float64(types.float64, types.float64), generate
