"""A panel: dates x instruments, the fields derived from others, and gaps (pure).

A gap is a run of days without a close between two days with one, as of a suspended share. The share cannot be sold in
the gap. The position at its last close therefore earns the move across the gap, on the day of the next close. That day
is not known beforehand: positions, turnover and counts ignore the gap. A share that never trades again earns nothing
after its last close.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[Any]
Gaps: TypeAlias = npt.NDArray[np.int32]
"""One row a gap: the indices of the last day before it, the first day after it, and the instrument."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Dates x instruments, both in rising order. Arrays are C-contiguous; do not write to them.

    `fields` are floats, NaN where a value is missing. `groups` are int32 codes from 0, -1 for no group; `group_names`
    are the names of the codes. `universe` marks the members of each day. `source` is "panel" for a user's data,
    "synthetic" for a synthetic panel. Positions earn the moves of `gaps`; otherwise only each day's `returns`.
    """

    dates: npt.NDArray[np.datetime64]
    symbols: tuple[str, ...]
    fields: Mapping[str, Matrix]
    groups: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    group_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    universe: npt.NDArray[np.bool_] | None = None
    source: str = "panel"
    warnings: tuple[str, ...] = ()
    gaps: Gaps = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int32))

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of days and of instruments."""
        return len(self.dates), len(self.symbols)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the fields: float32 or float64."""
        return next(iter(self.fields.values())).dtype if self.fields else np.dtype(np.float64)

    def arrays(self) -> dict[str, Matrix]:
        """Return all arrays by kind and name (`field close`), the dates as days since 1970."""
        arrays: dict[str, Matrix] = {"dates": self.dates.astype("datetime64[D]").view(np.int64)}
        arrays |= {f"field {name}": matrix for name, matrix in self.fields.items()}
        arrays |= {f"group {name}": codes for name, codes in self.groups.items()}
        arrays["gaps"] = self.gaps
        if self.universe is not None:
            arrays["universe"] = self.universe
        return arrays

    def content(self) -> str:
        """Return a hash of arrays, symbols and group names; figures depend on nothing else."""
        arrays = self.arrays()
        names = {name: list(values) for name, values in self.group_names.items()}
        total = hashlib.sha256(json.dumps([self.symbols, names], sort_keys=True).encode())
        for name in sorted(arrays):
            matrix = np.ascontiguousarray(arrays[name])
            total.update(f"{name} {matrix.dtype} {matrix.shape}".encode())
            total.update(matrix.reshape(-1).view(np.uint8).data)
        return total.hexdigest()[:16]

    def group_sizes(self) -> dict[str, int]:
        """Return the number of groups of each grouping; `market` is one group of all instruments."""
        sizes = {name: max(1, len(self.group_names.get(name, ()))) for name in self.groups}
        for name, codes in self.groups.items():
            if name not in self.group_names:
                sizes[name] = int(codes.max(initial=0)) + 1
        return {"market": 1, **sizes}

    def group_codes(self, name: str) -> npt.NDArray[np.int32]:
        """Return a grouping's codes; `market` exists on every panel."""
        if name not in self.groups and name == "market":
            return np.zeros(self.shape, dtype=np.int32)
        return self.groups[name]


ADV_DAYS = 20


def with_derived(panel: Panel) -> Panel:
    """Return the panel with returns, vwap and adv20 added where they are absent and can be derived.

    returns: see `returns_of`. vwap: the mean of high, low and close, an approximation. adv20: the mean of the volumes
    that are known in the last 20 days.
    """
    fields = dict(panel.fields)
    if "returns" not in fields and "close" in fields:
        fields["returns"] = returns_of(fields["close"])
    if "vwap" not in fields and {"high", "low", "close"} <= fields.keys():
        fields["vwap"] = (fields["high"] + fields["low"] + fields["close"]) / 3
    if "adv20" not in fields and "volume" in fields:
        fields["adv20"] = _rolling_mean(fields["volume"], ADV_DAYS)
    return replace(panel, fields=fields)


def _rolling_mean(x: Matrix, days: int) -> Matrix:
    known = ~np.isnan(x)
    total = np.zeros(x.shape)
    count = np.zeros(x.shape)
    for back in range(min(days, len(x))):
        part = slice(0, len(x) - back)
        total[back:] += np.where(known[part], x[part], 0.0)
        count[back:] += known[part]
    with np.errstate(invalid="ignore"):
        return (total / count).astype(x.dtype)


# --- gaps ------------------------------------------------------------------------------------------------------------


def last_known(close: Matrix) -> npt.NDArray[np.intp]:
    """Return for each day the index of the last earlier day with a close, -1 if there is none."""
    days = np.arange(len(close))[:, None]
    known = np.maximum.accumulate(np.where(np.isnan(close), -1, days), axis=0)
    return np.vstack([np.full((1, close.shape[1]), -1), known[:-1]])


def returns_of(close: Matrix) -> Matrix:
    """Return close / last known close - 1. NaN unless the last known close is > 0 and the close >= 0."""
    before = last_known(close)
    old = np.where(before >= 0, np.take_along_axis(close, np.maximum(before, 0), axis=0), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        moved: Matrix = (close / old - 1.0).astype(close.dtype)
        moved[~((old > 0) & (close >= 0))] = np.nan
    return moved


def gaps_of(close: Matrix) -> Gaps:
    """Return the gaps in a matrix of closes."""
    before = last_known(close)
    days = np.arange(len(close))[:, None]
    after, instrument = np.nonzero(~np.isnan(close) & (before >= 0) & (before < days - 1))
    return np.stack([before[after, instrument], after, instrument], axis=1).astype(np.int32)


def without_gaps(panel: Panel) -> Panel:
    """Return the panel without returns on the day after a gap, so that no position earns the move."""
    _, after, instrument = panel.gaps.T
    if not len(after):
        return panel
    returns = panel.fields["returns"].copy()
    returns[after, instrument] = np.nan
    return replace(panel, fields={**panel.fields, "returns": returns}, gaps=panel.gaps[:0])
