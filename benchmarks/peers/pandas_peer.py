"""The expressions with pandas, as one writes them by hand."""

from typing import Any

import numpy as np
import pandas as pd
from runner import Arrays, Evaluate, main

Frame = pd.DataFrame


def _arg(name: str) -> Any:
    """Return a function for the age in days of a window's newest extreme."""
    pick = getattr(np, f"nan{name}")
    return lambda window: float(pick(window[::-1]))


def _rolled(x: Frame, d: int) -> Any:
    return x.rolling(d, min_periods=1)


def _rank(x: Frame) -> Frame:
    return x.rank(axis=1).sub(1).div(x.count(axis=1) - 1, axis=0)


def _by_group(x: Frame, codes: Any, f: Any) -> Frame:
    return x.T.groupby(codes[0]).transform(f).T  # groups do not change in this panel


OPERATORS: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "reverse": lambda a: -a,
    "log": np.log,
    "sign": np.sign,
    "greater": lambda a, b: a > b,
    "if_else": lambda c, a, b: a.where(c, b),
    "signed_power": lambda a, b: np.sign(a) * a.abs() ** b,
    "rank": _rank,
    "scale": lambda x: x.div(x.abs().sum(axis=1), axis=0),
    "winsorize": lambda x, k: x.clip(
        x.mean(axis=1) - k * x.std(axis=1, ddof=0), x.mean(axis=1) + k * x.std(axis=1, ddof=0), axis=0
    ),
    "ts_delta": lambda x, d: x - x.shift(d),
    "ts_mean": lambda x, d: _rolled(x, d).mean(),
    "ts_std_dev": lambda x, d: _rolled(x, d).std(ddof=0),
    "ts_zscore": lambda x, d: (x - _rolled(x, d).mean()) / _rolled(x, d).std(ddof=0),
    "ts_av_diff": lambda x, d: x - _rolled(x, d).mean(),
    "ts_min": lambda x, d: _rolled(x, d).min(),
    "ts_max": lambda x, d: _rolled(x, d).max(),
    "ts_rank": lambda x, d: (_rolled(x, d).rank() - 1) / (_rolled(x, d).count() - 1),
    "ts_corr": lambda x, y, d: _rolled(x, d).corr(y),
    "ts_covariance": lambda x, y, d: _rolled(x, d).cov(y, ddof=0),
    "ts_arg_max": lambda x, d: _rolled(x, d).apply(_arg("argmax"), raw=True),
    "ts_arg_min": lambda x, d: _rolled(x, d).apply(_arg("argmin"), raw=True),
    "ts_decay_linear": lambda x, d: (
        sum((d - i) * x.fillna(0).shift(i, fill_value=0) for i in range(d)) / (d * (d + 1) / 2)
    ).where(_rolled(x, d).count() > 0),
    "group_neutralize": lambda x, g: x - _by_group(x, g, "mean"),
    "group_zscore": lambda x, g: (x - _by_group(x, g, "mean")) / x.T.groupby(g[0]).transform("std", ddof=0).T,
    "group_rank": lambda x, g: (
        x.T.groupby(g[0]).rank().T.sub(1) / (x.T.groupby(g[0]).transform("count").T - 1)
    ),
}


def prepare(arrays: Arrays, expressions: list[Any]) -> Evaluate:
    """Return the function that evaluates all expressions."""
    data: dict[str, Any] = {name: Frame(a) if a.dtype.kind == "f" else a for name, a in arrays.items()}

    def value(tree: Any) -> Any:
        if isinstance(tree, str):
            return data[tree]
        return OPERATORS[tree[0]](*map(value, tree[1:])) if isinstance(tree, list) else tree

    return lambda: [value(tree).to_numpy() for tree in expressions]


if __name__ == "__main__":
    main(prepare)
