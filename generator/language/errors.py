"""The error of every fault in an expression, with a message and a hint for people and models."""

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from fleet.runtime.errors import FleetError


class ExpressionError(FleetError):
    """An expression that cannot be read, is ill typed or is out of bounds.

    `position` is the offset of the fault in the text (-1 if unknown). `line` and `column` count from 1 (0 if unknown).
    `hint` says what to do next. `plain` is the message without any of the text that was read. Prompts show only
    `plain`, because a model's text is untrusted.
    """

    def __init__(self, message: str, position: int = -1, *, hint: str = "", plain: str = "") -> None:
        super().__init__(message, hint=hint)
        self.plain = plain or message
        self.position = position
        self.line = 0
        self.column = 0

    def within(self, text: str) -> "ExpressionError":
        """Set line and column by `position` in this text, and return the error."""
        if 0 <= self.position <= len(text):
            before = text[: self.position]
            self.line = before.count("\n") + 1
            self.column = self.position - before.rfind("\n")
        return self

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}: " if self.line else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `did you mean …?` with up to three known names nearest to a misspelt one; empty for none.

    A name that differs in its case alone is the only one.
    """
    # Sorted, because sets have another order in each process.
    by_lower = {other.lower(): other for other in sorted(known, reverse=True)}
    if name.lower() in by_lower:
        return _did_you_mean([by_lower[name.lower()]])
    near = difflib.get_close_matches(name[:64].lower(), by_lower, n=3, cutoff=0.7)
    return _did_you_mean([by_lower[other] for other in near])


def _did_you_mean(names: Sequence[str]) -> str:
    return f"did you mean {' or '.join(names)}?" if names else ""


_FIELD_OF: Final = {
    **dict.fromkeys(("market_cap", "marketcap", "mkt_cap", "mktcap"), "cap"),
    **dict.fromkeys(("price", "px"), "close"),
}
_MEAN_VOLUME: Final = re.compile(r"adv([1-9][0-9]{0,3})", re.IGNORECASE)


def field_hint(name: str, known: Collection[str]) -> str:
    """Return a hint for an unknown field's name.

    Alpha papers have a mean volume of any length, BRAIN one of 20 days.
    """
    volume = _MEAN_VOLUME.fullmatch(name)
    if volume and name.lower() not in known and "volume" in known:
        return f"a mean volume is written ts_mean(volume, {volume[1]})"
    meant = _FIELD_OF.get(name.lower(), "")
    return _did_you_mean([meant]) if meant in known else suggestion(name, known)


def unknown_field(name: str, known: Collection[str], position: int = -1) -> ExpressionError:
    """Return the error for a field missing from the catalogue."""
    message = f"unknown field '{name[:64]}'"
    return ExpressionError(message, position, hint=field_hint(name, known), plain="unknown field")


_MEANT: Final = {
    "ts_delay": "delay lag ref shift ts_lag ts_shift",
    "ts_delta": "delta diff ts_change ts_diff",
    "ts_corr": "corr correlation ts_correlation",
    "ts_covariance": "cov covariance ts_cov",
    "ts_decay_linear": "decay_linear ts_wma wma",
    "ts_std_dev": "std stddev ts_std ts_stddev",
    "ts_sum": "sum",
    "ts_mean": "avg mean sma ts_avg ts_sma",
    "group_mean": "group_avg",
    "group_neutralize": "demean group_demean group_neut indneutral indneutralize industry_neutralize neutralize",
    "if_else": "iff where",
    "power": "pow square",
    "signed_power": "sign_power signedpower",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "reverse": "neg negate",
}
"""Operator to its names in alpha papers and other libraries, which a search for similar names does not lead to."""
_OPERATOR_OF: Final = {name: operator for operator, names in _MEANT.items() for name in names.split()}
_WITHOUT_OPERATOR: Final = {
    "ts_max": "rolling extremes are not among an ordinary account's operators; max(x, y) compares inputs",
    "ts_min": "rolling extremes are not among an ordinary account's operators; min(x, y) compares inputs",
    "exp": "an exponential is written power(2.718281828, x)",
    "clip": "limits are written min(max(x, -1), 1)",
    "fillna": "missing values are filled by ts_backfill(x, 20)",
    "coalesce": "the first known of two values is written if_else(is_nan(x), y, x)",
    "nvl": "the first known of two values is written if_else(is_nan(x), y, x)",
}


def unknown_operator(name: str, known: Collection[str], position: int = -1) -> ExpressionError:
    """Return the error for an operator missing from the catalogue."""
    lower = name.lower()
    meant = _OPERATOR_OF.get(lower, "")
    hint = _did_you_mean([meant]) if meant in known else ""
    if not hint and lower not in known:
        hint = _WITHOUT_OPERATOR.get(lower, "")
    hint = hint or suggestion(name, known)
    return ExpressionError(f"unknown operator '{name[:64]}'", position, hint=hint, plain="unknown operator")


def unknown_argument(operator: str, name: str, position: int = -1, hint: str = "") -> ExpressionError:
    """Return the error for an argument name that the operator does not have."""
    plain = f"{operator} has no such argument"
    return ExpressionError(
        f"{operator} has no argument named '{name[:64]}'", position, hint=hint, plain=plain
    )
