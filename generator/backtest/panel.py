"""A panel: what is known of each instrument on each day."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[Any]
Gaps: TypeAlias = npt.NDArray[np.int32]
"""A row for each gap: the last day before it, the first day after it, the instrument."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Dates x instruments, both in rising order; arrays are C-contiguous and must not be written to.

    `fields` are floats with NaN for what is missing. `groups` are int32 codes from 0, -1 for no group, and
    `group_names` what the codes stand for. `universe`, where there is one, says who belongs to it each day. `source`
    is "panel" for a user's data and "synthetic" for invented ones. `gaps` are those whose moves are earned; without any,
    a day's positions earn that day's returns and nothing else.
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
        """Return how the fields are stored: float32 or float64."""
        return next(iter(self.fields.values())).dtype if self.fields else np.dtype(np.float64)

    def content(self) -> str:
        """Return a hash of the days, symbols, fields, groupings, universe and gaps; figures depend on nothing else."""
        arrays: dict[str, Matrix] = {"dates": self.dates.astype("datetime64[D]").view(np.int64)}
        arrays |= {f"field {name}": matrix for name, matrix in self.fields.items()}
        arrays |= {f"group {name}": codes for name, codes in self.groups.items()}
        arrays["gaps"] = self.gaps
        if self.universe is not None:
            arrays["universe"] = self.universe
        names = {name: list(values) for name, values in self.group_names.items()}
        total = hashlib.blake2b(json.dumps([self.symbols, names], sort_keys=True).encode(), digest_size=8)
        for name in sorted(arrays):
            matrix = np.ascontiguousarray(arrays[name])
            total.update(f"{name} {matrix.dtype} {matrix.shape}".encode())
            total.update(matrix.reshape(-1).view(np.uint8).data)
        return total.hexdigest()

    def group_sizes(self) -> dict[str, int]:
        """Return how many groups each grouping has, the market as one of all instruments."""
        sizes = {name: max(1, len(self.group_names.get(name, ()))) for name in self.groups}
        for name, codes in self.groups.items():
            if name not in self.group_names:
                sizes[name] = int(codes.max(initial=0)) + 1
        return {"market": 1, **sizes}

    def group_codes(self, name: str) -> npt.NDArray[np.int32]:
        """Return a grouping's codes; `market` is always there."""
        if name not in self.groups and name == "market":
            return np.zeros(self.shape, dtype=np.int32)
        return self.groups[name]


ADV_DAYS = 20


def with_derived(panel: Panel) -> Panel:
    """Return the panel with returns, vwap and adv20 where they are absent and follow from what is there.

    returns: close / the last known close - 1, where that was above 0 and this is not below. vwap: the mean of high,
    low and close, an approximation. adv20: the mean volume of the last 20 days that have one.
    """
    fields = dict(panel.fields)
    if "returns" not in fields and "close" in fields:
        fields["returns"] = returns_of(fields["close"])
    if "vwap" not in fields and {"high", "low", "close"} <= fields.keys():
        fields["vwap"] = (fields["high"] + fields["low"] + fields["close"]) / 3
    if "adv20" not in fields and "volume" in fields:
        fields["adv20"] = _rolling_mean(fields["volume"], ADV_DAYS)
    return replace(panel, fields=fields)


def last_known(close: Matrix) -> npt.NDArray[np.intp]:
    """Return for each day the last day before it that has a close, -1 where there is none."""
    days = np.arange(len(close))[:, None]
    known = np.maximum.accumulate(np.where(np.isnan(close), -1, days), axis=0)
    return np.vstack([np.full((1, close.shape[1]), -1), known[:-1]])


def returns_of(close: Matrix) -> Matrix:
    """Return close / the last known close - 1, where that was above 0 and this is not below, else NaN."""
    before = last_known(close)
    old = np.where(before >= 0, np.take_along_axis(close, np.maximum(before, 0), axis=0), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        moved: Matrix = (close / old - 1.0).astype(close.dtype)
        moved[~((old > 0) & (close >= 0))] = np.nan
    return moved


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
