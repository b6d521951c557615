"""The expressions with polars_ta, through expr_codegen, which shares subexpressions; on a long frame.

Its ranks are dense or r / n.
"""

import os
from typing import Any

os.environ.setdefault("LOGURU_LEVEL", "ERROR")
os.environ.setdefault("POLARS_MAX_THREADS", "2")

import numpy as np
import polars as pl
from expr_codegen import codegen_exec
from runner import Arrays, Evaluate, main

INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "greater": ">"}
NAMES = {
    "rank": "cs_rank",
    "scale": "cs_scale",
    "winsorize": "cs_3sigma",
    "group_neutralize": "gp_demean",
    "group_zscore": "gp_zscore",
    "group_rank": "gp_rank",
}


def text(tree: Any) -> str:
    """Return a tree as expr_codegen writes it."""
    if not isinstance(tree, list):
        return str(tree)
    name, *args = tree
    parts = [text(arg) for arg in args]
    if name in INFIX:
        return f"({parts[0]} {INFIX[name]} {parts[1]})"
    if name == "reverse":
        return f"(-1 * {parts[0]})"
    if name == "ts_av_diff":
        return f"({parts[0]} - ts_mean({', '.join(parts)}))"
    if name.startswith("group_"):
        parts.reverse()
    if name.startswith("ts_arg_"):
        return f"({name}({', '.join(parts)}) * 1.0)"  # it gives u16, which has no negative
    return f"{NAMES.get(name, name)}({', '.join(parts)})"


def prepare(arrays: Arrays, expressions: list[Any]) -> Evaluate:
    """Build the long frame and the code; return the function that evaluates it."""
    days, instruments = arrays["close"].shape
    frame = pl.DataFrame(
        {
            "date": np.repeat(np.arange(days), instruments),
            "asset": np.tile(np.arange(instruments), days),
            **{name: a.ravel() for name, a in arrays.items()},
        }
    ).with_columns(pl.col(pl.Float64, pl.Float32).fill_nan(None))
    lines = [f"E{i} = {text(tree)}" for i, tree in enumerate(expressions)]
    code = "from polars_ta.prefix.wq import *\n" + "\n".join(lines)
    codegen_exec(
        frame.filter(pl.col("date") < 70), code, over_null="partition_by"
    )  # compiles the code, which is cached

    def run() -> list[np.ndarray[Any, Any]]:
        found = codegen_exec(frame, code, over_null="partition_by").sort("date", "asset")
        shape = (days, instruments)
        columns = [found[f"E{i}"].cast(pl.Float64).fill_null(np.nan) for i in range(len(expressions))]
        return [column.to_numpy().reshape(shape) for column in columns]

    return run


if __name__ == "__main__":
    main(prepare)
