"""The 101 formulaic alphas (Kakushadze, 101 Formulaic Alphas, 2016) in the backtest's language, one a line of a file.

Windows that are no whole numbers are cut to whole ones, as in the paper. `advN`, the mean traded value of N days, is
written out. Comparisons count as 1 and 0. `ts_arg_max` counts days back where the paper counts on.
"""

import re
from pathlib import Path


def _written_out(text: str) -> str:
    """Return the text with each `advN` but the panel's adv20 as a mean."""
    return re.sub(r"\badv(?!20\b)(\d+)", r"ts_mean(close * volume, \1)", text)


_LINES = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
FORMULAIC = {f"alpha {i}": _written_out(text) for i, text in enumerate(_LINES, 1)}
