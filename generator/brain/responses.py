"""Parsing of BRAIN's answers: pure functions of status, headers and body.

BRAIN's texts are untrusted: they are cut to a length and used in messages only.
"""

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from itertools import islice
from typing import Any, TypeAlias

from fleet.runtime.units import Seconds
from generator.brain.errors import (
    BrainAwayError,
    BrainDeniedError,
    BrainError,
    BrainGoneError,
    BrainLimitError,
    BrainQuotaError,
    BrainRefusedError,
)
from generator.domain import AlphaFigures, storable

_LONGEST_WAIT: Seconds = 3600.0
_LONGEST_QUOTA: Seconds = 86400.0
_EPOCH = 1e9
_POLL: Seconds = 5.0
_TEXT, _MARKED_UP = 500, 8
_NAME, _ID = 80, 64
_NESTED, _MOST = 16, 20
_LIMIT_WORDS = "SIMULATION_LIMIT_EXCEEDED"
_UNAUTHORIZED, _FORBIDDEN, _GONE, _BUSY, _UNAVAILABLE = 401, 403, (404, 410), 429, 503
TRANSIENT = (408, 425)


@dataclass(frozen=True, slots=True)
class BrainAnswer:
    """An HTTP answer: headers by lower-case name; `document` is None where the body is no JSON."""

    status: int
    headers: Mapping[str, str]
    document: Any = None
    empty: bool = False

    @property
    def good(self) -> bool:
        """Return True for a success with a readable body."""
        return 200 <= self.status < 300 and (self.document is not None or self.empty)  # noqa: PLR2004  # HTTP's


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> BrainAnswer:
    """Return the answer of these raw parts; a malformed body gives no document."""
    try:
        document = json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        document = None
    return BrainAnswer(
        status, {name.lower(): value for name, value in headers.items()}, document, not body.strip()
    )


def retry_after(answer: BrainAnswer, now: float) -> Seconds | None:
    """Return the wait of the Retry-After header, given in seconds or as a date; None without one."""
    text = answer.headers.get("retry-after", "").strip()
    seconds = _number(text)
    if seconds is None and text:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_WAIT)


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def finite_number(value: object) -> float | None:
    """Return a document's number; None for other values, and for numbers outside a double's range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def error_of(answer: BrainAnswer, now: float) -> BrainError | None:
    """Return the error of an answer, None for a success. The session handles a 401 first."""
    if answer.good:
        return None
    details, wait = messages(answer.document), retry_after(answer, now)
    text = "; ".join(details.values())
    if answer.status == _BUSY or _LIMIT_WORDS in text:
        return _limit(answer, text, wait, now)
    if answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
        hint = "Check the account's permissions on BRAIN."
        return BrainDeniedError(f"BRAIN denies access: {text or answer.status}", hint=hint)
    if answer.status in _GONE:
        return BrainGoneError(f"BRAIN has nothing there: {text or answer.status}")
    if 400 <= answer.status < 500 and answer.status not in TRANSIENT and details:  # noqa: PLR2004  # HTTP's
        return BrainRefusedError(details)
    reason = text or ("an empty body" if answer.empty else "a body that is no JSON")
    # 503 means that the request was not accepted; with any other failure it may have been.
    sent = answer.status != _UNAVAILABLE
    return BrainAwayError(f"BRAIN fails: HTTP {answer.status}, {reason}", wait=wait, sent=sent)


def quota_error(answer: BrainAnswer, now: float) -> BrainQuotaError | None:
    """Return the error of a used-up quota, None while the header counts simulations left."""
    remaining, reset = (_number(answer.headers.get(f"x-ratelimit-{name}")) for name in ("remaining", "reset"))
    if remaining is None or remaining > 0 or reset is None:
        return None
    left = min(max(reset - now if reset > _EPOCH else reset, 1.0), _LONGEST_QUOTA)
    return BrainQuotaError("the account's simulations of the day are used up", wait=left)


def _limit(answer: BrainAnswer, text: str, wait: Seconds | None, now: float) -> BrainLimitError:
    used_up = None if "CONCURRENT" in text else quota_error(answer, now)
    if used_up is not None:
        return used_up
    message = f"BRAIN accepts no more at the moment: {text or 'too many requests'}"
    return BrainLimitError(message, wait=wait, slots=_LIMIT_WORDS in text)


def messages(document: Any, prefix: str = "", depth: int = _NESTED) -> dict[str, str]:
    """Return the messages in an error's body by field; the body may be nested objects, lists or plain text."""
    if depth == 0:
        return {}
    if isinstance(document, Mapping):
        found: dict[str, str] = {}
        for key, value in document.items():
            name = "" if key in {"detail", "message"} else plain(key)[:_NAME]
            found |= messages(value, ".".join(part for part in (prefix, name) if part), depth - 1)
        return dict(islice(found.items(), _MOST))
    if isinstance(document, Sequence) and not isinstance(document, str):
        parts = [text for item in document for text in messages(item, prefix, depth - 1).items()]
        merged: dict[str, str] = {}
        for name, text in parts:
            merged[name] = f"{merged[name]}; {text}"[:_TEXT] if name in merged else text
        return dict(islice(merged.items(), _MOST))
    return {} if document in {None, ""} else {prefix: plain(document)}


# Tags of HTML and nothing else in angle brackets: an expression may compare with `<` and `>`.
_INLINE = (
    r"a|abbr|b|big|cite|code|del|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt|u|var"
)
_BLOCK = r"blockquote|br|center|dd|details|div|dl|dt|h[1-6]|hr|img|li|ol|p|pre|summary|table|tbody|td|th|thead|tr|ul"
_ATTRIBUTES = r"(?:\s+[\w-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+))*\s*/?"
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE}){_ATTRIBUTES}>", re.IGNORECASE)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK}){_ATTRIBUTES}>", re.IGNORECASE)
_LINK = re.compile(r"\[([^\[\]]+)\]\(https?://[^()\s]+\)")


def plain(value: object) -> str:
    """Return untrusted text on one line, without markup, cut to a length and fit for the database."""
    text = _BLOCK_TAG.sub(" ", _INLINE_TAG.sub("", str(value)[: _MARKED_UP * _TEXT]))
    text = _LINK.sub(r"\1", html.unescape(text))
    return storable(" ".join(text.split()))[:_TEXT]


class Status(StrEnum):
    """End of a simulation, in BRAIN's words."""

    COMPLETE = "COMPLETE"
    WARNING = "WARNING"
    ERROR = "ERROR"
    FAIL = "FAIL"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"

    @property
    def carries_alpha(self) -> bool:
        """Return True if the simulation created an alpha; a warning is a success with a remark."""
        return self in {Status.COMPLETE, Status.WARNING}


@dataclass(frozen=True, slots=True)
class Running:
    """A running simulation; poll again after `wait`."""

    wait: Seconds
    progress: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended simulation; `children` are the parts of a multi-simulation, `code` is the expression."""

    status: Status
    alpha: str = ""
    message: str = ""
    children: tuple[str, ...] = ()
    code: str = ""
    located: bool = False
    """The message names a place in the expression."""


Progress: TypeAlias = Running | Ended


def read_simulation(answer: BrainAnswer, now: float) -> Progress:
    """Return a simulation's progress; an unknown answer counts as running."""
    document = answer.document if isinstance(answer.document, Mapping) else {}
    status = str(document.get("status") or "").upper().replace("CANCELED", "CANCELLED")
    children = document.get("children")
    found = tuple(str(child) for child in children) if isinstance(children, list) else ()
    if status not in set(Status):
        wait, progress = retry_after(answer, now), document.get("progress")
        if wait is None and (document.get("alpha") or found):
            status = Status.COMPLETE
        else:
            done = progress if isinstance(progress, int | float) else None
            return Running(_POLL if wait is None else wait, done)
    location = document.get("location")
    return Ended(
        Status(status),
        alpha=plain(document.get("alpha") or "")[:_ID],
        message=_with_place(plain(document.get("message") or ""), location),
        children=found,
        code=code_of(document),
        located=isinstance(location, Mapping),
    )


def _with_place(message: str, location: object) -> str:
    if not isinstance(location, Mapping) or not message:
        return message
    parts = {key: location.get(key) for key in ("line", "start", "end")}
    if not all(isinstance(value, int) for value in parts.values()):
        return message
    return f"{message} (line {parts['line']}, characters {parts['start']} to {parts['end']})"


def code_of(document: Mapping[str, Any]) -> str:
    """Return the expression in a simulation's or an alpha's document, in any of its forms; else an empty text."""
    regular = document.get("regular")
    if isinstance(regular, Mapping):
        regular = regular.get("code")
    return regular if isinstance(regular, str) else ""


_NEEDED = ("sharpe", "fitness", "turnover", "returns")
_CHECK_KEYS = ("name", "result", "limit", "value")
_MOST_CHECKS = 100
_UNKNOWN = float("nan")


def read_alpha(document: Any) -> AlphaFigures | None:
    """Return an alpha's figures; None if they are not complete yet.

    An unreadable figure never becomes zero: without the four needed figures the alpha is read again. Only the
    fitness may be missing, for an alpha without turnover.
    """
    sample = document.get("is") if isinstance(document, Mapping) else None
    if not isinstance(sample, Mapping):
        return None
    missing = {name for name in _NEEDED if finite_number(sample.get(name)) is None}
    if missing and (missing != {"fitness"} or sample["turnover"]):
        return None
    figures: dict[str, Any] = {
        name: _or_unknown(sample.get(name)) for name in (*_NEEDED, "drawdown", "margin")
    }
    return AlphaFigures(
        **figures,
        long_count=_or_unknown(sample.get("longCount")),
        short_count=_or_unknown(sample.get("shortCount")),
        days=None,
        checks=_checks(sample.get("checks")),
        alpha_id=plain(document.get("id") or "")[:64] or None,
        grade=plain(document.get("grade") or "")[:32] or None,
        reason="",
    )


def _or_unknown(value: object) -> float:
    figure = finite_number(value)
    return _UNKNOWN if figure is None else figure


def _checks(rows: object) -> list[dict[str, Any]]:
    found = rows[:_MOST_CHECKS] if isinstance(rows, list) else []
    return [
        {key: _plain(row[key]) for key in _CHECK_KEYS if key in row}
        for row in found
        if isinstance(row, Mapping)
    ]


def _plain(value: object) -> object:
    if isinstance(value, bool) or value is None:
        return value
    figure = finite_number(value)
    return plain(value)[:64] if figure is None else value
