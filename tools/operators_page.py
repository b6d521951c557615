"""`python -m tools.operators_page`: prints docs/operators.md, made from the catalogue and the engine's own tables.

What each operator means is the catalogue's sentence; what is added here is how missing values, ties and infinities are
taken, and which choices public sources leave open.
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from enum import Enum

from generator.backtest.plan import operators_more  # noqa: F401  # it adds to OPERATORS
from generator.backtest.plan.operators import OPERATORS
from generator.backtest.settings import Semantics
from generator.catalogue import Operator, load_catalogue

INTRODUCTION = """\
# Operators

Made from the catalogue by `python -m tools.operators_page`; a test keeps the two together. It describes the local
backtest. BRAIN has the last word on its own operators.

## Rules for all

- **A missing value is NaN.** Arithmetic with it gives NaN. A comparison with it is false, and `!=` true.
- **A condition** is true where it is a number other than zero; NaN is not.
- **A window of d days** is today and the d - 1 days before. Missing days are left out, and so are days before the panel's
  first. It gives NaN only where none of its days has a value.
- **Across instruments** and **within groups** missing values are left out and stay NaN. An instrument in no group has NaN.
- **Ties** share the mean of their ranks in `rank`, `ts_rank`, `group_rank` and `quantile`. A rank is (r - 1) / (n - 1).
- **Deviations** have ddof 0, except in `normalize(useStd=true)`, `group_backfill` and where a switch says otherwise.
- **A constant window** has a deviation of exactly 0, thus a z-score and a correlation of NaN.
- **An exact fit** leaves residuals of exactly 0.
- **Infinities** are data: they are the largest and smallest of ranks, they pass through sums, and a deviation of what holds
  one is NaN. When one has left a window nothing of it remains.
- **Vector fields** are not to be had on a panel of one value a day: `vec_` operators work on BRAIN only.
"""

NOTES = {
    "hump": "Moves of no more than hump times the day's sum of sizes are not followed, larger ones are held to that. "
    "The first value, and one after a gap, is taken as it is. An infinite value gives NaN and is a gap.",
    "trade_when": "NaN where z > 0, else y where x > 0, else what was held the day before.",
    "ts_decay_linear": "Weights d, d - 1 ... 1 from today. A missing value counts as 0 with its weight, with dense=true it "
    "is left out with it.",
    "ts_count_nans": "Days before the panel's first are not counted: nothing is missing there.",
    "ts_backfill": "The k-th most recent value of the window, where today's is missing.",
    "kth_element": "The k-th most recent value of the window, those to ignore left out.",
    "last_diff_value": "The window is today and the d - 1 days before.",
    "ts_arg_max": "In days ago; of equal values the newest.",
    "ts_arg_min": "In days ago; of equal values the newest.",
    "ts_corr": "Over the days on which both have a value.",
    "ts_covariance": "Over the days on which both have a value; ddof 0.",
    "ts_regression": "rettype 0 error, 1 intercept, 2 slope, 3 estimate, 4 squared errors, 5 squared deviations of y, "
    "6 r squared, 7 mean squared error, 8 and 9 standard errors of slope and intercept.",
    "bucket": "Intervals (a, b]; beyond the edges lie end buckets. With skipBoth, skipBegin, skipEnd they are NaN.",
    "group_backfill": "The mean, winsorized at std deviations (ddof 1), of today's members over the last d days. "
    "Infinite values take no part.",
    "group_mean": "To members that have a value.",
    "group_count": "To all members.",
    "quantile": "Ranks squeezed to 1/n ... 1 - 1/n, then the driver's quantile, times sigma; driver=uniform gives the "
    "squeezed rank less its mean.",
    "rank": "rate is accepted and changes nothing: ranks are exact.",
    "truncate": "Between -maxPercent and +maxPercent of the day's sum of sizes.",
    "scale": "With longscale or shortscale each side is scaled on its own.",
    "pasteurize": "Where the panel has a universe column.",
    "ts_returns": "mode 1: the change over the older value; mode 2: over the mean of both.",
    "group_normalize": "constantCheck=true: NaN where the group is constant, or its spread is below tolerance times its "
    "lowest value.",
    "ts_skewness": "Central moments with ddof 0.",
    "ts_kurtosis": "Central moments with ddof 0, less 3 (see below).",
}

OPEN = {
    "history": "BRAIN's pages say nothing of the first days of its history; some open implementations give NaN there.",
    "place": "Which of equal extremes is meant is not documented.",
    "ts_quantile": "The text says the quantile of the rank, the worked example is the normal distribution of a z-score.",
    "group_mean": "One page calls it harmonic, another shows the plain mean.",
    "uniform": "The page has an inverse distribution for all drivers, and the mean subtracted for the uniform one.",
    "truncate_total": "The one worked example, (3, 7, 20, 6) held to 0.5 gives (3, 7, 18, 6), has no negative value.",
    "ts_zscore_ddof": "One worked example has 1.57 (ddof 0), another 1.46 (ddof 1).",
    "first_day_of_change": "One page has 3 where another has 2.",
    "delay_offset": 'The "Day 3" tables are off by one from the definition.',
    "lonely_rank": "(r - 1) / (n - 1) is 0 / 0.",
    "kurtosis_of_normal": "Not documented.",
    "nan_comparison": "Not documented.",
    "nan_handling": "BRAIN's own setting nanHandling; OFF is its default.",
}


def manual() -> str:
    """Return the page."""
    catalogue = load_catalogue(higher=True)
    parts = [INTRODUCTION]
    for level, title in (("base", "Every account's operators"), ("higher", "Operators of some accounts")):
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
            words.append("*On BRAIN only.*")
        yield f"| `{signature}` | {' '.join(filter(None, words)).replace('|', chr(92) + '|')} |"


def _choices() -> Iterator[str]:
    yield "## What public sources leave open\n"
    yield "Each is one switch of `generator.backtest.settings.Semantics`.\n"
    yield "| switch | default | why it is open |"
    yield "|---|---|---|"
    for field in dataclasses.fields(Semantics):
        default = field.default.value if isinstance(field.default, Enum) else field.default
        yield f"| `{field.name}` | {default} | {OPEN[field.name]} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(manual())
