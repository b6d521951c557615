"""Parser of one log line: its prefixes and wrappers, its own stamp, and its fields.

Pure. A line is untrusted text: at most `CONSIDERED` characters are read, and every expression is anchored and never
backtracks. A part that cannot be parsed stays unchanged; no input raises.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fleet.runtime.untrusted import finite, parse_json
from monitor.detection.prefixes import HEADS, Bare, stamp_of, strip
from monitor.detection.timestamps import Stamp, from_calendar, from_unix

CONSIDERED = 64 * 1024
"""Characters of a line that are read; messages about memory stand well before."""

_GIN = re.compile(r"\[GIN\] (?:(\d{4}/\d\d/\d\d) - (\d\d:\d\d:\d\d) )?")
_STATUS = re.compile(r"[1-5][0-9]{2}")
_SLOG = re.compile(r"(?:time=([^\s\"]{10,40}) )?level=[A-Z]{4,5}(?:[+-]\d)? ")
_DURATION_PART = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)(h|ms|m|s|µs|us|ns)")
_LONGEST = 1e9  # seconds: a larger number is no duration
_MILLISECONDS = 1e11  # a larger number is no time in seconds
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
_WITHIN_QUOTES = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_LINE_KEYS = ("log", "MESSAGE", "line", "textPayload", "short_message", "message", "msg")
"""Keys under which Docker, journald, Loki, Google, Graylog, shippers such as Vector, and pino put a whole line."""
_CLOCK_KEYS = ("time", "__REALTIME_TIMESTAMP", "ts", "timestamp", "@timestamp", "date")
_PRETTY_ROW = re.compile(r'\s*("MESSAGE" : ".*"),?\s*')
"""The row of an entry in `journalctl --output=json-pretty`, which writes a row for each key."""
_RECORD_KEYS = frozenset({"function", "msg", "error"})
"""Keys of records of slog, the old C++ server and the API, whose `message` and `msg` are no whole lines."""


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
    fields: Mapping[str, str] = field(default_factory=dict)
    gin: Gin | None = None

    @property
    def error(self) -> str:
        """Return the slog line's `error=`, empty when it has none."""
        return self.fields.get("error", "")


def parse_line(line: str) -> ParsedLine:
    """Return the parsed line; any text gives one, at worst with the text unchanged."""
    row = _PRETTY_ROW.fullmatch(line, 0, CONSIDERED)
    bare = strip(f"{{{row[1]}}}" if row else line[:CONSIDERED])
    if bare.text.startswith("{"):
        unwrapped = _from_json(bare)
        if unwrapped is not None:
            return unwrapped
    return _from_text(bare)


def journald_message(value: object) -> bytes | None:
    """Return the bytes of a journald field in JSON: a text, a list of bytes for unprintable text, or several."""
    match value:
        case str():
            return value.encode("utf-8", "surrogatepass")
        case [*parts] if parts and all(isinstance(part, int) for part in parts):
            try:
                return bytes(part for part in parts if isinstance(part, int))
            except ValueError:
                return None
        case [*parts]:
            found = [message for message in map(journald_message, parts) if message is not None]
            return b"\n".join(found) if found else None
        case _:
            return None


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


def _from_text(bare: Bare) -> ParsedLine:
    text = bare.text
    if match := _GIN.match(text):
        own = from_calendar(match[1], match[2]) if match[1] else None
        return ParsedLine(text, text, own, bare.outer, gin=_parse_gin(text[match.end() :]))
    if "level=" in text and (match := _SLOG.search(text)):
        fields = dict(_fields(text[match.start() :]))
        own = stamp_of(match[1] or "")
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


def _from_json(bare: Bare, depth: int = 0) -> ParsedLine | None:
    """Parse the JSON of Docker, Kubernetes, journald, slog, the old C++ server, or of an API answer."""
    data = _object(bare.text)
    if data is None:
        return None
    line = _line_in(data)
    if line is None:
        return _from_record(data, bare)
    inner = strip(line)
    clocks = () if _is_runners(data) else _CLOCK_KEYS
    stamp = next((stamp for key in clocks if (stamp := _json_stamp(data.get(key)))), None)
    unwrapped = Bare(inner.text, stamp or bare.outer or inner.outer)
    nested = inner.text.startswith("{") and depth == 0
    return (_from_json(unwrapped, depth + 1) if nested else None) or _from_text(unwrapped)


def _line_in(data: Mapping[str, object]) -> str | None:
    """Return the whole line that a wrapper holds, None if the object is a record of its own."""
    for key in _LINE_KEYS:
        line = _text(data.get(key))
        if line is None:
            continue
        record = key in ("message", "msg") and not _RECORD_KEYS.isdisjoint(data)
        if not record or strip(line).text.startswith(HEADS) or _is_pinos(data) or _is_runners(data):
            return line
    return None


def _is_pinos(data: Mapping[str, object]) -> bool:
    """Return True for a record of pino, the logger of desktop apps that run an Ollama. Its level is a number."""
    return isinstance(data.get("level"), int) and "pid" in data


def _is_runners(data: Mapping[str, object]) -> bool:
    """Return True for a line of llama-server's JSON log. Its `time` counts from the runner's start, or is 0."""
    return data.get("type") == "log" and isinstance(data.get("msg"), str) and "level" in data


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    message = journald_message(value)
    return None if message is None else message.decode("utf-8", "replace")


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = parse_json(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _from_record(data: Mapping[str, object], bare: Bare) -> ParsedLine:
    """Parse a record by its message or error. A piece of a model's answer has neither and gives an empty message."""
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
    """Return the stamp of an ISO time, or of a number of seconds, milliseconds, microseconds or nanoseconds."""
    seconds = finite(value)
    if seconds is None:
        return stamp_of(value) if isinstance(value, str) else None
    while seconds >= _MILLISECONDS:
        seconds /= 1000.0
    return from_unix(seconds)
