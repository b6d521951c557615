"""Parser of one log line: prefixes of log drivers and viewers, the line's own stamp, and its fields.

Pure. A line is untrusted text: at most `CONSIDERED` characters are read, and every expression is anchored and never
backtracks. A part that cannot be parsed stays as it is; nothing is raised for any input.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fleet.runtime.untrusted import finite, parse_json
from monitor.detection.timestamps import Stamp, from_calendar, from_iso, from_syslog, from_unix

CONSIDERED = 64 * 1024
"""Characters of a line that are read; messages about memory stand well before."""

_ROUNDS = 6  # prefixes nest: kubectl, container runtime, compose, journald, llama-server

_COLOUR = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")
_DECORATION = re.compile(r"[\s>\u2800-\u28ff]++")
_POD = re.compile(r"\[pod/[^\]\s]{1,300}\] ")
_RUNTIME = re.compile(r"(?:stdout|stderr) [FP] ")
_COMPOSE = re.compile(r"[A-Za-z0-9][\w.@-]{0,127}+ {1,40}\| ?")
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?+(Z|[+-]\d\d:?\d\d)?+(?:[ \t]|$)",
)
_SYSLOG = re.compile(r"([^\W\d_]{3,9}\.?|\d{1,2}月) {1,2}(\d{1,2}) (\d\d:\d\d:\d\d)(?:\.\d{1,9})?+ ")
_UNIT = re.compile(
    r"(?:[\w.:@-]{1,128}+ {1,4})?[\w.@-]{1,64}\[\d{1,10}\]: ?|[\w.-]{1,128} (?:systemd|kernel|ollama): "
)
_OWN_CALENDAR = re.compile(r"(\d{4}/\d\d/\d\d) (\d\d:\d\d:\d\d) ")
_STREAMED = re.compile(r"data: (?=\{)")
_RUNNER = re.compile(r"\d{1,4}\.\d\d\.\d{3}\.\d{3} [A-Z] ")
_GIN = re.compile(r"\[GIN\] (?:(\d{4}/\d\d/\d\d) - (\d\d:\d\d:\d\d) )?")
_STATUS = re.compile(r"[1-5][0-9]{2}")
_SLOG = re.compile(r"(?:time=([^\s\"]{10,40}) )?level=[A-Z]{4,5}(?:[+-]\d)? ")
_DURATION_PART = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)(h|ms|m|s|µs|us|ns)")
_LONGEST = 1e9  # seconds: a larger number is no duration
_JOURNALD_DIGITS = 16  # microseconds since 1970
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
_WITHIN_QUOTES = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_WRAPPERS = (
    ("log", "time"),
    ("MESSAGE", "__REALTIME_TIMESTAMP"),
    ("line", "ts"),
    ("textPayload", "timestamp"),
    ("message", "timestamp"),
)
"""Keys that hold a whole line and its time: of Docker, journald, Loki, Google and Vector."""
_HEADS = ("time=", "level=", "[GIN]", "{")
"""Beginnings of the server's own lines; a `message` with another one is a record's."""
_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Gin:
    """An access-log line: a request ended; it began `seconds` before the line's stamp."""

    status: int
    seconds: float
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """A line without prefixes.

    `text`: the line itself. `own`: the server's stamp in it (slog, GIN). `outer`: the stamp of a log driver or journald
    before it. `fields`: the keys of a slog line, empty for any other. `message`: the part that is judged: a slog line's
    `msg`, an API answer's `error`, otherwise the whole text.
    """

    text: str
    message: str
    own: Stamp | None = None
    outer: Stamp | None = None
    fields: Mapping[str, str] = field(default_factory=lambda: _NO_FIELDS)
    gin: Gin | None = None

    @property
    def error(self) -> str:
        """Return the slog line's `error=`, empty when it has none."""
        return self.fields.get("error", "")


@dataclass(frozen=True, slots=True)
class _Bare:
    text: str
    outer: Stamp | None


def parse_line(line: str) -> ParsedLine:
    """Return the parsed line; any text gives one, at worst with the text unchanged."""
    bare = _strip(line[:CONSIDERED])
    if bare.text.startswith("{"):
        unwrapped = _from_json(bare)
        if unwrapped is not None:
            return unwrapped
    return _from_text(bare)


def parse_seconds(text: str) -> float | None:
    """Return the seconds of a Go duration (`8m44s`, `406.037554ms`, `5.01`), None for other text."""
    text = text.strip()
    position, total = 0, 0.0
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None:
            return _plain_number(text) if position == 0 else None
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    return total if position else None


def _plain_number(text: str) -> float | None:
    value = finite(text)
    return value if value is not None and 0.0 <= value < _LONGEST else None


def _strip(text: str) -> _Bare:
    """Return a line without the prefixes of log drivers and viewers."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    text = text.rstrip("\r\n")
    outer: Stamp | None = None
    for _ in range(_ROUNDS):
        text, stamp, changed = _without_prefix(text)
        if stamp is not None and (outer is None or (stamp.zoned and not outer.zoned)):
            outer = stamp
        if not changed:
            break
    return _Bare(text, outer)


def _without_prefix(text: str) -> tuple[str, Stamp | None, bool]:
    """Return the text after one prefix, the prefix's stamp, and True if there was a prefix."""
    if not text or text.startswith(_HEADS):
        return text, None, False
    if match := _ISO.match(text):
        stamp = from_iso(match[1], match[2], match[3] or "", match[4] or "")
        return text[match.end() :], stamp, True
    if match := _OWN_CALENDAR.match(text):
        return text[match.end() :], from_calendar(match[1], match[2]), True
    if match := _SYSLOG.match(text):
        stamp = from_syslog(match[1], int(match[2]), match[3])
        rest = text[match.end() :].lstrip()
        unit = _UNIT.match(rest)
        if stamp is not None or unit is not None:
            return rest[unit.end() if unit else 0 :], stamp, True
    for prefix in (_DECORATION, _COMPOSE, _RUNTIME, _RUNNER, _POD, _STREAMED, _UNIT):
        if match := prefix.match(text):
            return text[match.end() :], None, True
    return text, None, False


def _from_text(bare: _Bare) -> ParsedLine:
    text = bare.text
    if match := _GIN.match(text):
        own = from_calendar(match[1], match[2]) if match[1] else None
        return ParsedLine(text, text, own, bare.outer, gin=_parse_gin(text[match.end() :]))
    if "level=" in text and (match := _SLOG.search(text)):
        fields = dict(_fields(text[match.start() :]))
        own = _stamp_of(match[1] or "")
        return ParsedLine(text, fields.get("msg", ""), own, bare.outer, MappingProxyType(fields))
    return ParsedLine(text, text, None, bare.outer)


def _parse_gin(rest: str) -> Gin | None:
    """Parse `500 |  406.037554ms |  127.0.0.1 | POST     "/api/generate"`; columns may be missing."""
    columns = [column.strip() for column in rest.strip(" |").split("|", 8)]
    status = next((int(c) for c in columns if _STATUS.fullmatch(c)), None)
    method, _, path = columns[-1].partition(" ")
    if status is None or not method.isalpha():
        return None
    seconds = next((s for s in map(parse_seconds, columns[1:-1]) if s is not None), 0.0)
    return Gin(status, seconds, method, path.strip().strip('"'))


def _stamp_of(text: str) -> Stamp | None:
    match = _ISO.fullmatch(text)
    return from_iso(match[1], match[2], match[3] or "", match[4] or "") if match else None


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a slog line in one forward pass, which hostile quoting cannot slow down."""
    position, end = 0, len(text)
    while position < end:
        if text[position] == " ":
            position += 1
            continue
        key, position = _token(text, position, stop="=")
        if position >= end or text[position] != "=":
            continue
        value, position = _token(text, position + 1, stop=" ")
        yield key, value


def _token(text: str, position: int, *, stop: str) -> tuple[str, int]:
    """Return the quoted or bare token at `position`, and the position after it."""
    if position < len(text) and text[position] == '"':
        return _quoted(text, position + 1)
    found = len(text)
    for mark in {stop, " "}:
        at = text.find(mark, position, found)
        found = at if at >= 0 else found
    return text[position:found], found


def _quoted(text: str, position: int) -> tuple[str, int]:
    """Return the text up to the closing quote or the end, and the position after it."""
    match = _WITHIN_QUOTES.match(text, position)
    end = match.end() if match else position
    value = text[position:end]
    if "\\" in value:
        value = _ESCAPED.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), value)
    return value, end + 1 if text[end : end + 1] == '"' else len(text)


def _from_json(bare: _Bare, depth: int = 0) -> ParsedLine | None:
    """Parse the JSON of Docker, Kubernetes, journald, slog, the old C++ server, or of an API answer."""
    data = _object(bare.text)
    if data is None:
        return None
    for wrapper, clock in _WRAPPERS:
        line = data.get(wrapper)
        inner = _strip(line) if isinstance(line, str) else None
        if inner is not None and (wrapper != "message" or inner.text.startswith(_HEADS)):
            unwrapped = _Bare(inner.text, _json_stamp(data.get(clock)) or bare.outer or inner.outer)
            nested = inner.text.startswith("{") and depth == 0
            return (_from_json(unwrapped, depth + 1) if nested else None) or _from_text(unwrapped)
    return _from_record(data, bare)


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = parse_json(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _from_record(data: Mapping[str, object], bare: _Bare) -> ParsedLine:
    """Parse a record by its message or error; a piece of a model's answer has neither, and an empty message."""
    error = data.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    message = data.get("msg", data.get("message", error))
    if not isinstance(message, str):
        message = error if isinstance(error, str) else ""
    fields = {key: value if isinstance(value, str) else json.dumps(value) for key, value in data.items()}
    fields["msg"] = message
    if isinstance(error, str):
        fields["error"] = error
    own = _json_stamp(data.get("time", data.get("timestamp")))
    return ParsedLine(bare.text, message, own, bare.outer, MappingProxyType(fields))


def _json_stamp(value: object) -> Stamp | None:
    if isinstance(value, str):
        micros = finite(value) if len(value) == _JOURNALD_DIGITS and value.isdecimal() else None
        return _stamp_of(value) if micros is None else from_unix(micros / 1e6)
    seconds = finite(value)
    return None if seconds is None else from_unix(seconds)
