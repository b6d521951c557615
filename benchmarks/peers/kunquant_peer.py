"""The expressions with KunQuant, compiled to C++ as one module.

An expression with an operator that KunQuant lacks has an empty result. KunQuant's windows are strict (one missing value
makes them missing), and its rank is r / n.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from KunQuant.Driver import KunCompilerConfig
from KunQuant.jit import cfake
from KunQuant.predefined.Alpha101 import (
    AddConst,
    BackRef,
    Builder,
    DecayLinear,
    Div,
    GreaterThan,
    Input,
    Log,
    Mul,
    MulConst,
    Output,
    Rank,
    Select,
    Sign,
    Sub,
    TsArgMax,
    TsArgMin,
    TsRank,
    WindowedAvg,
    WindowedCorrelation,
    WindowedCovariance,
    WindowedMax,
    WindowedMin,
    WindowedStddev,
)
from KunQuant.runner import KunRunner
from KunQuant.Stage import Function
from runner import Arrays, Evaluate, main


def _power(x: Any, exponent: float) -> Any:
    if exponent != 2:
        raise KeyError("power")
    return Mul(Mul(x, x), Sign(x))


def _z_score(x: Any, d: int) -> Any:
    return Div(Sub(x, WindowedAvg(x, d)), WindowedStddev(x, d))


OPERATORS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: AddConst(a, b) if isinstance(b, float) else a + b,
    "subtract": Sub,
    "multiply": Mul,
    "divide": Div,
    "reverse": lambda a: MulConst(a, -1.0),
    "log": Log,
    "sign": Sign,
    "greater": GreaterThan,
    "if_else": Select,
    "signed_power": _power,
    "rank": Rank,
    "ts_delta": lambda x, d: Sub(x, BackRef(x, d)),
    "ts_mean": WindowedAvg,
    "ts_std_dev": WindowedStddev,
    "ts_zscore": _z_score,
    "ts_av_diff": lambda x, d: Sub(x, WindowedAvg(x, d)),
    "ts_min": WindowedMin,
    "ts_max": WindowedMax,
    "ts_rank": TsRank,
    "ts_corr": lambda x, y, d: WindowedCorrelation(x, d, y),
    "ts_covariance": lambda x, y, d: WindowedCovariance(x, d, y),
    "ts_arg_max": TsArgMax,
    "ts_arg_min": TsArgMin,
    "ts_decay_linear": DecayLinear,
}


def names_in(tree: Any) -> set[str]:
    """Return the operators of a tree."""
    return {tree[0]}.union(*map(names_in, tree[1:])) if isinstance(tree, list) else set()


def prepare(arrays: Arrays, expressions: list[Any]) -> Evaluate:
    """Compile the expressions that KunQuant supports; return the function that evaluates them."""
    possible = {i: tree for i, tree in enumerate(expressions) if names_in(tree) <= OPERATORS.keys()}
    builder = Builder()
    with builder:
        inputs = {name: Input(name) for name, a in arrays.items() if a.dtype.kind == "f"}

        def value(tree: Any) -> Any:
            if isinstance(tree, str):
                return inputs[tree]
            return OPERATORS[tree[0]](*map(value, tree[1:])) if isinstance(tree, list) else tree

        for i, tree in possible.items():
            Output(value(tree), f"e{i}")
    kind = "double" if arrays["close"].dtype == np.float64 else "float"
    options = KunCompilerConfig(input_layout="TS", output_layout="TS", dtype=kind, partition_factor=3)
    library = cfake.compileit([("bench", Function(builder.ops), options)], "bench", cfake.CppCompilerConfig())
    executor = KunRunner.createMultiThreadExecutor(2)
    module = library.getModule("bench")
    data = {name: np.ascontiguousarray(arrays[name]) for name in inputs}

    def run() -> list[np.ndarray[Any, Any]]:
        found = KunRunner.runGraph(executor, module, data, 0, len(data["close"]), {})
        nothing = np.empty((0, 0))
        return [found[f"e{i}"] if i in possible else nothing for i in range(len(expressions))]

    return run


if __name__ == "__main__":
    main(prepare)
