"""Split of a panel's days into train, validation and test. Pure.

Alphas are found and ranked on the train days, admitted on the validation days, and shown on the test days. The two
boundaries are dates: days that are added later are test days.
"""

from datetime import date

import numpy as np
import numpy.typing as npt

from generator.domain import Split

LEAST_DAYS = 500
"""Fewest days of a panel with a split."""
LEAST_STRETCH = 20
"""Fewest days of each stretch."""
VALIDATION_SHARE, TEST_SHARE = 0.4, 0.2
"""Shares of the days from the first day of validation, and of test, to the last day."""

Dates = npt.NDArray[np.datetime64]


class SplitError(ValueError):
    """The dates of a split do not fit the panel."""


def split_ends(split: Split, dates: Dates) -> tuple[int, int]:
    """Return the number of days before validation and before test."""
    bounds = np.array([split.validation_from, split.test_from], dtype="datetime64[D]")
    train, before_test = np.searchsorted(dates.astype("datetime64[D]"), bounds)
    return int(train), int(before_test)


def split_fits(split: Split, dates: Dates) -> bool:
    """Return True if each stretch has enough days."""
    train, before_test = split_ends(split, dates)
    return min(train, before_test - train, len(dates) - before_test) >= LEAST_STRETCH


def default_split(dates: Dates) -> Split:
    """Return the split whose validation and test begin with the last 40 % and 20 % of the days."""
    days = dates.astype("datetime64[D]")
    first = [round(len(days) * (1.0 - share)) for share in (VALIDATION_SHARE, TEST_SHARE)]
    validation, test = (days[place].item() for place in first)
    return Split(validation, test)


def choose_split(
    dates: Dates, *, validation_from: date | None, test_from: date | None, stored: Split | None
) -> Split | None:
    """Return a panel's split; None for a panel of too few days.

    Configured dates come first, then the stored split, then the default. A stored split that does not fit the panel is
    ignored. Raise SplitError if configured dates do not fit.
    """
    if len(dates) < LEAST_DAYS:
        return None
    base = stored if stored is not None and split_fits(stored, dates) else default_split(dates)
    split = Split(validation_from or base.validation_from, test_from or base.test_from)
    if not split_fits(split, dates):
        raise SplitError(
            f"validation from {split.validation_from} and test from {split.test_from} leave a stretch of fewer "
            f"than {LEAST_STRETCH} days; the panel has {dates[0]} to {dates[-1]}"
        )
    return split
