"""The expressions with py-alpha-lib (Rust); arithmetic by numpy.

An expression without an operator there has an empty result. Its ranks across instruments are r / n, its deviations and
covariances have ddof 1. Equal parts are computed once.
"""

from collections.abc import Callable
from typing import Any

import alpha
import numpy as np
from runner import Arrays, Evaluate, main

OPERATORS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "reverse": np.negative,
    "abs": np.abs,
    "log": np.log,
    "sign": np.sign,
    "max": np.maximum,
    "min": np.minimum,
    "greater": lambda x, y: np.greater(x, y).astype(np.float64),
    "less": lambda x, y: np.less(x, y).astype(np.float64),
    "less_equal": lambda x, y: np.less_equal(x, y).astype(np.float64),
    "equal": lambda x, y: np.equal(x, y).astype(np.float64),
    "if_else": lambda test, yes, no: np.where(np.asarray(test) != 0, yes, no),
    "signed_power": lambda x, y: np.sign(x) * np.abs(x) ** y,
    "rank": lambda x: alpha.CC_RANK(_whole(x)),
    "ts_delta": lambda x, d: x - alpha.REF(_whole(x), int(d)),
    "ts_delay": lambda x, d: alpha.REF(_whole(x), int(d)),
    "ts_mean": lambda x, d: alpha.MA(_whole(x), int(d)),
    "ts_sum": lambda x, d: alpha.SUM(_whole(x), int(d)),
    "ts_product": lambda x, d: alpha.PRODUCT(_whole(x), int(d)),
    "ts_std_dev": lambda x, d: alpha.STDDEV(_whole(x), int(d)),
    "ts_zscore": lambda x, d: alpha.ZSCORE(_whole(x), int(d)),
    "ts_av_diff": lambda x, d: x - alpha.MA(_whole(x), int(d)),
    "ts_max": lambda x, d: alpha.HHV(_whole(x), int(d)),
    "ts_min": lambda x, d: alpha.LLV(_whole(x), int(d)),
    "ts_arg_max": lambda x, d: alpha.HHVBARS(_whole(x), int(d)),
    "ts_arg_min": lambda x, d: alpha.LLVBARS(_whole(x), int(d)),
    "ts_rank": lambda x, d: alpha.RANK(_whole(x), int(d)),
    "ts_corr": lambda x, y, d: alpha.CORR2(_whole(x), _whole(y), int(d)),
    "ts_covariance": lambda x, y, d: alpha.COV(_whole(x), _whole(y), int(d)),
    "ts_decay_linear": lambda x, d: alpha.LWMA(_whole(x), int(d)),
    "group_neutralize": lambda x, g: alpha.NEUTRALIZE(g, _whole(x)),
    "group_zscore": lambda x, g: alpha.GROUP_ZSCORE(g, _whole(x)),
    "group_rank": lambda x, g: alpha.GROUP_RANK(g, _whole(x)),
}


def _whole(x: Any) -> Any:
    return np.ascontiguousarray(x, dtype=np.float64)


def prepare(arrays: Arrays, expressions: list[Any]) -> Evaluate:
    """Lay the panel out instrument by instrument; return the function that evaluates all expressions."""
    days, instruments = arrays["close"].shape
    data = {name: np.ascontiguousarray(a.T, dtype=np.float64).ravel() for name, a in arrays.items()}
    alpha.set_ctx(groups=instruments, flags=alpha.FLAG_SKIP_NAN)

    def value(tree: Any, known: dict[str, Any]) -> Any:
        if not isinstance(tree, list):
            return data[tree] if isinstance(tree, str) else tree
        key = repr(tree)
        if key not in known:
            known[key] = OPERATORS[tree[0]](*(value(part, known) for part in tree[1:]))
        return known[key]

    def run() -> list[np.ndarray[Any, Any]]:
        known: dict[str, Any] = {}
        found = []
        with np.errstate(all="ignore"):
            for tree in expressions:
                try:
                    found.append(
                        np.asarray(value(tree, known), dtype=np.float64).reshape(instruments, days).T
                    )
                except KeyError:
                    found.append(np.empty(0))
        return found

    return run


if __name__ == "__main__":
    main(prepare)
