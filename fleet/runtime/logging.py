"""Logging: one line a record, with time, level, event name and key=value fields; configured only here.

    2026-11-23T22:24:52.254Z WARNING  source.away source=file:/var/log/ollama.log reason="no such file"

The message of a record is an event's name; its fields are in `extra`, made by `fields()`. The whole log goes to
standard output, which supervisord writes to the program's file and rotates. Records made with `with_sentence()` also go
to standard error as a sentence for people. supervisord passes standard error on to its own output.

With FLEET_LOG_FORMAT=json, which the start sets by `[log] format`, both outputs are JSON lines with the same fields.
"""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, Any

from fleet.runtime.home import DEFAULT_LANE

_PLAIN = re.compile(r"[\w./:@+-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BREAK = re.compile(r"\s*[\r\n]+\s*")
_SENTENCE = "sentence"
_COMMAND_SENTENCE = "command_sentence"
_switch: ContextVar[int | None] = ContextVar("switch", default=None)


def fields(**values: object) -> dict[str, Any]:
    """Return the `extra` argument of a log call with these fields."""
    return {"fields": values}


def show_fields(values: Mapping[str, object]) -> str:
    """Return `key=value` pairs, values quoted where needed, with control characters escaped."""
    return " ".join(f"{key}={_show(value)}" for key, value in values.items() if value is not None)


@contextmanager
def switch_in_log(number: int) -> Iterator[None]:
    """Give each record within this context the number of the switch that it is about, as `planned`."""
    token = _switch.set(number)
    try:
        yield
    finally:
        _switch.reset(token)


class _SwitchNumber(logging.Filter):
    """Adds the number of the switch of its context to a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        number = _switch.get()
        if number is not None:
            record.fields = {"planned": number, **getattr(record, "fields", {})}
        return True


def _pairs(record: logging.LogRecord) -> str:
    return show_fields(getattr(record, "fields", {}))


def _show(value: object) -> str:
    string = f"{value:g}" if isinstance(value, float) else str(value)
    if _PLAIN.fullmatch(string):
        return string
    return '"' + plain_text(string).replace("\\", "\\\\").replace('"', '\\"') + '"'


def plain_text(string: str) -> str:
    """Return untrusted text as one line: a space for each line break, and other control characters escaped."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", _BREAK.sub(" ", string.strip()))


def indented_text(string: str) -> str:
    """Return untrusted text as one line, with the spaces that it begins with."""
    return " " * (len(string) - len(string.lstrip(" "))) + plain_text(string)


class KeyValueFormatter(logging.Formatter):
    """Formats a record as one line, with an exception on the lines below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        pairs = _pairs(record)
        line = (
            f"{stamp}.{int(record.msecs):03d}Z {record.levelname:<8} {record.getMessage()} {pairs}".rstrip()
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object on one line: time, level, event, the fields, and the sentence if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        values = {name: value for name, value in getattr(record, "fields", {}).items() if value is not None}
        row = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": record.getMessage(),
            **{f"{name}_" if name in _OWN_KEYS else name: value for name, value in values.items()},
        }
        if hasattr(record, _SENTENCE):
            row["sentence"] = getattr(record, _SENTENCE)
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


_OWN_KEYS = frozenset({"time", "level", "event", "sentence", "exception"})


class ConsoleFormatter(logging.Formatter):
    """Formats a record's sentence for people, with the local time."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the sentence with its time."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        lane = os.environ.get("FLEET_LANE") or DEFAULT_LANE
        stamp += "" if lane == DEFAULT_LANE else f"  {plain_text(lane)}:"
        return f"{stamp}  {plain_text(str(getattr(record, _SENTENCE)))}"


class _HasSentence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return hasattr(record, _SENTENCE)


def with_sentence(sentence: str, **values: object) -> dict[str, Any]:
    """Return the `extra` argument of a log call whose sentence also goes to standard error."""
    return {"fields": values, _SENTENCE: sentence}


def with_command_sentence(sentence: str, **values: object) -> dict[str, Any]:
    """Return the `extra` argument of a log call whose sentence a command prints; a program only logs the fields."""
    return {"fields": values, _COMMAND_SENTENCE: sentence}


def configure(*, stdout: IO[str] | None = None, stderr: IO[str] | None = None, debug: bool = False) -> None:
    """Send the log to standard output and sentences to standard error; replace the earlier configuration."""
    as_json = os.environ.get("FLEET_LOG_FORMAT") == "json"
    log = logging.StreamHandler(stdout or sys.stdout)
    log.setFormatter(JsonFormatter() if as_json else KeyValueFormatter())
    log.addFilter(_SwitchNumber())
    console = logging.StreamHandler(stderr or sys.stderr)
    console.setFormatter(JsonFormatter() if as_json else ConsoleFormatter())
    console.addFilter(_HasSentence())
    root = logging.getLogger()
    root.handlers[:] = [log, console]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.WARNING)


class _WarningFormatter(KeyValueFormatter):
    """Formats a warning of a command: its sentence, or else its event and fields."""

    def format(self, record: logging.LogRecord) -> str:
        sentence = getattr(record, _SENTENCE, None) or getattr(record, _COMMAND_SENTENCE, None)
        text = plain_text(str(sentence)) if sentence else f"{record.getMessage()} {_pairs(record)}".rstrip()
        return f"{record.levelname.capitalize()}: {text}"


def configure_command(*, debug: bool = False) -> None:
    """Send the warnings of a command to standard error; with `debug` the whole log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter() if debug else _WarningFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.WARNING)
