"""The one place that configures logging: time, level, event name, key=value fields.

    2026-11-23T22:24:52.254Z WARNING  source.away source=file:/var/log/ollama.log reason="no such file"

A record's message is an event's name; its fields travel in `extra={"fields": {…}}` (use `fields()`). The
whole log goes to standard output, which supervisord writes to the program's file and rotates; what a person
who watches should see goes as a readable line to standard error, which supervisord hands on to its own.
"""

import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

_PLAIN = re.compile(r"[\w./:@+-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TELL = "tell"


def fields(**values: object) -> dict[str, Any]:
    """Return the `extra` of a log call that carries these fields."""
    return {"fields": values}


def show_fields(values: Mapping[str, object]) -> str:
    """Return `key=value` pairs, quoted where a value has spaces; control characters never pass."""
    return " ".join(f"{key}={_show(value)}" for key, value in values.items() if value is not None)


def _pairs(record: logging.LogRecord) -> str:
    return show_fields(getattr(record, "fields", {}))


def _show(value: object) -> str:
    string = f"{value:g}" if isinstance(value, float) else str(value)
    if _PLAIN.fullmatch(string):
        return string
    return '"' + plain_text(string).replace("\\", "\\\\").replace('"', '\\"') + '"'


def plain_text(string: str) -> str:
    """Return text from outside with its control characters made visible, so that it stays one line."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", string.replace("\n", "\\n"))


class KeyValueFormatter(logging.Formatter):
    """Formats a record as one line, and an exception on the lines below it."""

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


class TellFormatter(logging.Formatter):
    """Formats what a person is told as a local time and a sentence."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the sentence with its time."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{stamp}  {plain_text(str(getattr(record, _TELL)))}"


class _Told(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return hasattr(record, _TELL)


def tell(sentence: str, **values: object) -> dict[str, Any]:
    """Return the `extra` of a log call whose sentence is also shown to a person who watches."""
    return {"fields": values, _TELL: sentence}


def configure(*, stdout: IO[str] | None = None, stderr: IO[str] | None = None, debug: bool = False) -> None:
    """Send the log to standard output and what is told to standard error; replaces what was configured."""
    log = logging.StreamHandler(stdout or sys.stdout)
    log.setFormatter(KeyValueFormatter())
    told = logging.StreamHandler(stderr or sys.stderr)
    told.setFormatter(TellFormatter())
    told.addFilter(_Told())
    root = logging.getLogger()
    root.handlers[:] = [log, told]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.WARNING)


class _WarningFormatter(KeyValueFormatter):
    """Formats a warning for the person at a command: its sentence where it has one."""

    def format(self, record: logging.LogRecord) -> str:
        sentence = getattr(record, _TELL, None)
        text = plain_text(str(sentence)) if sentence else f"{record.getMessage()} {_pairs(record)}".rstrip()
        return f"{record.levelname.capitalize()}: {text}"


def configure_command(*, debug: bool = False) -> None:
    """Show warnings to the person at a command, on standard error; with `debug` all of the log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter() if debug else _WarningFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.WARNING)
