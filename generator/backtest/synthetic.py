"""Synthetic panel for use without real data: seeded, with late listings, early ends and missing days."""

import numpy as np
import numpy.typing as npt

from generator.backtest.panel import Panel, with_derived

_SECTORS = 10
_INDUSTRIES = 3  # per sector
_SUBINDUSTRIES = 2  # per industry
_FIRST_DAY = np.datetime64("2015-01-01")
_MISSING_SHARE = 0.01  # of single cells
_LATE_SHARE = 0.15  # of instruments, listed after the first day
_EARLY_SHARE = 0.10  # of instruments, delisted before the last day

Array = npt.NDArray[np.float64]


def synthetic_panel(days: int = 504, instruments: int = 200, seed: int = 7) -> Panel:
    """Return a synthetic panel. Equal arguments give an equal panel.

    A daily return is the sum of a market, a sector, an industry and a fat-tailed instrument part. Volatility clusters,
    and returns reverse weakly. Volume grows with the size of the move. Some instruments are listed late, some are
    delisted early, and one cell in a hundred is missing.
    """
    rng = np.random.default_rng(seed)
    sub = rng.integers(0, _SECTORS * _INDUSTRIES * _SUBINDUSTRIES, instruments)
    industry = sub // _SUBINDUSTRIES
    sector = industry // _INDUSTRIES
    returns = _returns(rng, days, sector, industry)
    close = np.exp(rng.normal(3.5, 0.8, instruments) + np.cumsum(returns, axis=0))
    fields = _prices(rng, close, returns)
    _remove_cells(rng, fields)
    groups = {"sector": sector, "industry": industry, "subindustry": sub}
    return with_derived(
        Panel(
            dates=_business_days(days),
            symbols=tuple(f"S{i:04d}" for i in range(instruments)),
            fields=fields,
            groups={name: _codes(codes, days) for name, codes in groups.items()},
            group_names={
                name: tuple(f"{name} {k}" for k in range(int(codes.max(initial=0)) + 1))
                for name, codes in groups.items()
            },
            source="synthetic",
        )
    )


def _business_days(days: int) -> npt.NDArray[np.datetime64]:
    return np.busday_offset(_FIRST_DAY, np.arange(days), roll="forward")


def _codes(codes: npt.NDArray[np.int64], days: int) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(np.broadcast_to(codes.astype(np.int32), (days, len(codes))))


def _returns(
    rng: np.random.Generator, days: int, sector: npt.NDArray[np.int64], industry: npt.NDArray[np.int64]
) -> Array:
    n = len(sector)
    market = rng.standard_t(5, (days, 1)) * 0.006
    sectors = rng.normal(0, 0.004, (days, _SECTORS))[:, sector]
    industries = rng.normal(0, 0.003, (days, _SECTORS * _INDUSTRIES))[:, industry]
    calm = np.exp(np.cumsum(rng.normal(0, 0.03, days)))[:, None]
    own = rng.standard_t(4, (days, n)) * rng.uniform(0.008, 0.022, n) * np.clip(calm / calm.mean(), 0.5, 2.0)
    own[1:] -= 0.03 * own[:-1]
    total: Array = np.clip(market * rng.normal(1, 0.3, n) + sectors + industries + own, -0.5, 0.5)
    return total


def _prices(rng: np.random.Generator, close: Array, returns: Array) -> dict[str, Array]:
    shape = close.shape
    gap = rng.normal(0, 0.004, shape)
    reach = np.abs(rng.normal(0, 0.006, (2, *shape)))
    opening = close * np.exp(gap - returns / 2)
    high = np.maximum(opening, close) * np.exp(reach[0])
    low = np.minimum(opening, close) * np.exp(-reach[1])
    volume = np.exp(rng.normal(12.5, 1.2, shape[1]) + rng.normal(0, 0.4, shape) + 8.0 * np.abs(returns))
    shares = np.exp(rng.normal(18.0, 1.0, shape[1]))
    return {
        "open": opening,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.floor(volume),
        "vwap": (high + low + close) / 3.0,
        "cap": close * shares / 1e6,
        "sharesout": np.ascontiguousarray(np.broadcast_to(shares, shape)) / 1e6,
    }


def _remove_cells(rng: np.random.Generator, fields: dict[str, Array]) -> None:
    """Set cells to NaN before the listing, after the delisting, and on single days."""
    days, n = fields["close"].shape
    day = np.arange(days)[:, None]
    first = np.where(rng.random(n) < _LATE_SHARE, rng.integers(0, max(1, days // 2), n), 0)
    last = np.where(rng.random(n) < _EARLY_SHARE, rng.integers(days // 2, max(days, days // 2 + 1), n), days)
    missing = (day < first) | (day >= last) | (rng.random((days, n)) < _MISSING_SHARE)
    for values in fields.values():
        values[missing] = np.nan
