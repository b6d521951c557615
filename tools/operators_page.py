"""`python -m tools.operators_page`: prints docs/operators.md from the catalogue and the engine's tables.

The catalogue has a sentence on each operator. The notes here add the treatment of missing values, ties and infinities,
and the choices that public sources leave open.
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from enum import Enum

from generator.backtest.plan import operators_more  # noqa: F401  # it registers its operators
from generator.backtest.plan.operators import OPERATORS
from generator.backtest.settings import Semantics
from generator.catalogue import Operator, load_catalogue

INTRODUCTION = """\
# Operators

This page describes the operators of the local backtest. BRAIN's own operators may differ. `python -m tools.operators_page`
writes the page from the catalogue; a test fails if the two differ.

## Rules for all operators

- **A missing value is NaN.** Arithmetic with NaN gives NaN. A comparison with NaN is false, and `!=` is true.
- **A condition** is true where it is a number other than zero. NaN is false.
- **A window of d days** is today and the d - 1 days before. Missing days and days before the panel's first are left out.
  The result is NaN only if no day of the window has a value.
- **Across instruments** and **within groups** missing values are left out and stay NaN. An instrument without a group gets
  NaN.
- **Ties** share the mean of their ranks in `rank`, `ts_rank`, `group_rank` and `quantile`. A rank is (r - 1) / (n - 1).
- **Deviations** have ddof 0, except in `normalize(useStd=true)`, in `group_backfill` and where a switch below differs.
- **A constant window** has a deviation of exactly 0. Its z-score and its correlations are NaN.
- **An exact fit** leaves residuals of exactly 0.
- **Infinities** are data. They have the largest and smallest ranks and propagate through sums. A deviation over values with
  an infinity is NaN. An infinity that has left the window has no effect.
- **Vector fields** do not exist on a panel of one value a day. `vec_` operators work on BRAIN only.
"""

NOTES = {
    "hump": "The limit is hump times the day's sum of absolute values. A move up to the limit is ignored; a larger one is "
    "cut to it. The first value, and the first after a gap, is unchanged. An infinite value gives NaN and is a gap.",
    "trade_when": "NaN where z > 0, else y where x > 0, else the result of the day before.",
    "ts_decay_linear": "Weights d, d - 1 ... 1 from today. A missing value counts as 0 with its weight; dense=true leaves "
    "out both.",
    "ts_count_nans": "Days before the panel's first are not counted.",
    "ts_backfill": "The k-th most recent value of the window, where today's is missing.",
    "kth_element": "The k-th most recent value of the window, without those that `ignore` names.",
    "last_diff_value": "The window is today and the d - 1 days before.",
    "ts_arg_max": "In days ago; of equal values the newest.",
    "ts_arg_min": "In days ago; of equal values the newest.",
    "ts_corr": "Over the days on which both have a value.",
    "ts_covariance": "Over the days on which both have a value; ddof 0.",
    "ts_regression": "rettype 0 error, 1 intercept, 2 slope, 3 estimate, 4 squared errors, 5 squared deviations of y, "
    "6 r squared, 7 mean squared error, 8 and 9 standard errors of slope and intercept.",
    "bucket": "Intervals (a, b], and an end bucket beyond each outer edge. skipBegin, skipEnd and skipBoth give NaN in the "
    "end buckets.",
    "group_backfill": "The mean, winsorized at std deviations (ddof 1), of today's members over the last d days. "
    "Infinite values are left out.",
    "group_mean": "Given to the members that have a value.",
    "group_count": "Given to all members.",
    "quantile": "Ranks are scaled to 1/n ... 1 - 1/n; the driver's quantile of them is multiplied by sigma. driver=uniform "
    "gives the scaled rank less its mean.",
    "rank": "rate has no effect: ranks are exact.",
    "truncate": "Between -maxPercent and +maxPercent of the day's sum of absolute values.",
    "scale": "With longscale or shortscale each side is scaled separately.",
    "pasteurize": "Without a universe column of the panel nothing is outside.",
    "ts_returns": "mode 1: the change over the older value; mode 2: over the mean of both.",
    "group_normalize": "constantCheck=true: NaN where the group is constant, or its spread is below tolerance times its "
    "lowest value.",
    "ts_skewness": "Central moments with ddof 0.",
    "ts_kurtosis": "Central moments with ddof 0, less 3 (see below).",
}

OPEN = {
    "history": "BRAIN's pages do not describe the first days of its history; some open implementations give NaN there.",
    "tied_extreme": "Not documented.",
    "ts_quantile": "The text describes the quantile of the rank, the worked example the normal distribution of a z-score.",
    "group_mean": "One page calls the mean harmonic, another shows the plain mean.",
    "uniform": "The page has an inverse distribution for all drivers, and subtracts the mean for the uniform one.",
    "truncate_total": "The only worked example has no negative value: (3, 7, 20, 6) limited to 0.5 gives (3, 7, 18, 6).",
    "ts_zscore_ddof": "One worked example gives 1.57 (ddof 0), another 1.46 (ddof 1).",
    "first_day_of_change": "One page gives 3 where another gives 2.",
    "delay_offset": 'The "Day 3" tables are off by one from the definition.',
    "single_value_rank": "(r - 1) / (n - 1) is 0 / 0 for one value.",
    "kurtosis_of_normal": "Not documented.",
    "nan_comparison": "Not documented.",
    "nan_handling": "BRAIN's setting nanHandling; its default is OFF.",
}


def manual() -> str:
    """Return the page."""
    catalogue = load_catalogue(higher=True)
    parts = [INTRODUCTION]
    for level, title in (
        ("base", "Every account's operators"),
        ("higher", "Operators of some accounts only"),
    ):
        rows = [one for one in catalogue.operators.values() if (one.level == "base") == (level == "base")]
        parts.append(f"## {title}\n")
        for category, group in itertools.groupby(rows, key=lambda one: one.category):
            parts.append(f"### {category}\n\n" + "\n".join(_lines(list(group))) + "\n")
    parts.append("\n".join(_choices()))
    return "\n".join(parts)


def _lines(operators: list[Operator]) -> Iterator[str]:
    yield "| operator | meaning |"
    yield "|---|---|"
    for one in operators:
        signature = one.signature.replace("|", "\\|")
        words = [one.meaning, NOTES.get(one.name, "")]
        if one.name not in OPERATORS:
            words.append("*BRAIN only.*")
        yield f"| `{signature}` | {' '.join(filter(None, words)).replace('|', chr(92) + '|')} |"


def _choices() -> Iterator[str]:
    yield "## What public sources leave open\n"
    yield "Each switch is a field of `generator.backtest.settings.Semantics`.\n"
    yield "| switch | default | why it is open |"
    yield "|---|---|---|"
    for field in dataclasses.fields(Semantics):
        default = field.default.value if isinstance(field.default, Enum) else field.default
        yield f"| `{field.name}` | {default} | {OPEN[field.name]} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(manual())
