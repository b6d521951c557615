"""The detector: from a log line to a signal, an event, or nothing.

The detector adds a line's context to the judge's verdict. `detect` is a pure function of one line; the prefilter stands
before it. A slog line is judged by its `msg`, and by its `error=` if the row says so. No other field is judged. Any
other line is judged whole. The first row that matches decides.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fleet.memory_errors.causes import LogEvent, LogEventKind, Part, Signal, SignalKind
from fleet.memory_errors.judge import (
    SEARCHED,
    PatternTable,
    digest_in,
    is_below,
    is_quiet,
    judge_error,
    may_be_retried,
    signal_of,
)
from fleet.memory_errors.table.bounds import EVENTS, REQUEST_PATHS
from fleet.memory_errors.table.rows import ErrorUse, EventPattern, FieldCheck, Pattern, PatternScope
from fleet.memory_errors.table.runner import PLAIN
from fleet.memory_errors.table.server import ERROR_REPORT, SERVER
from fleet.runtime.untrusted import finite, whole_number
from monitor.detection.line_parser import ParsedLine, parse_line
from monitor.detection.prefilter import Prefilter

_CMD_MODEL = re.compile(r"--model +(\S{1,1000})")
_PASSED_ON = re.compile(r"^Error: |process has terminated|process no longer running|while running the model")
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_SEVERE = frozenset({"WARN", "ERROR", "WARNING", "FATAL", "ERR"})


@dataclass(frozen=True, slots=True)
class LineReading:
    """The parsed line with its signal and event, if any."""

    parsed: ParsedLine
    signal: Signal | None = None
    event: LogEvent | None = None


class Detector:
    """The pattern table, followed by a user's patterns; immutable, safe to share between threads."""

    def __init__(self, extra: Sequence[Pattern] = ()) -> None:
        self._extra = PatternTable(extra)
        self.prefilter = Prefilter(extra)

    def may_matter(self, chunk: bytes) -> bool:
        """Return True if a line of the chunk may be a signal or an event, without false negatives."""
        return self.prefilter.may_matter(chunk)

    def candidates(self, chunk: bytes) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the lines that may be a signal or an event, in order."""
        return self.prefilter.candidates(chunk)

    def detect(self, line: str | ParsedLine) -> Signal | None:
        """Return the signal of a line, None if it has none."""
        return self._signal(parse_line(line) if isinstance(line, str) else line)

    def read(self, line: str | ParsedLine) -> LineReading:
        """Return the signal and the event of a line."""
        parsed = parse_line(line) if isinstance(line, str) else line
        return LineReading(parsed, self._signal(parsed), _event(parsed))

    def _signal(self, parsed: ParsedLine) -> Signal | None:
        if parsed.gin is not None:
            return None
        text = parsed.message[:SEARCHED]
        if not is_quiet(text):
            found = _server_signal(parsed, text) if parsed.fields else _plain_signal(parsed, text)
            if found is not None:
                return found
        return next((_filled(row, match, parsed) for row, match in self._extra.matches(text)), None)


def _plain_signal(parsed: ParsedLine, text: str) -> Signal | None:
    found = next((_filled(row, match, parsed) for row, match in _ANYWHERE.matches(text)), None)
    if found is not None and found.part is Part.FIRST and _PASSED_ON.search(text):
        return replace(judge_error(text) or found, part=Part.ECHO)
    return found


def _server_signal(parsed: ParsedLine, text: str) -> Signal | None:
    """Return the signal of a slog line, by its `msg` and, where the row says so, by its `error=`."""
    for row, match in _SERVER.matches(text, parsed.text):
        if _holds(row, match, parsed):
            return _with_error(row, _filled(row, match, parsed), parsed.error or _string(parsed))
    worded = next((_filled(row, match, parsed) for row, match in _PLAIN.matches(text)), None)
    if worded is not None:
        return replace(worded, part=Part.ECHO) if worded.part is Part.FIRST else worded
    if parsed.error and parsed.fields.get("level", "ERROR").upper() in _SEVERE:
        bare = Signal(ERROR_REPORT.kind, ERROR_REPORT.cause, ERROR_REPORT.id, ERROR_REPORT.part)
        return _with_error(ERROR_REPORT, replace(bare, model=_model_of(parsed)), parsed.error)
    return None


def _string(parsed: ParsedLine) -> str:
    return parsed.fields.get("string", "")


def _with_error(row: Pattern, signal: Signal, error: str) -> Signal | None:
    """Return the signal with the verdict and values of the `error=`, None if the error refutes it."""
    if row.error is ErrorUse.IGNORED:
        return signal
    verdict = judge_error(error)
    if verdict is None:
        refuted = is_quiet(error) or (row.error is ErrorUse.REFUTES and error != "")
        return None if refuted or row.error is ErrorUse.DECIDES else replace(signal, error=error)
    refined = replace(
        signal,
        kind=verdict.kind,
        vague=verdict.vague,
        device=verdict.device,
        size_bytes=verdict.size_bytes,
        error=error,
    )
    of_the_row = verdict.kind is SignalKind.HARD and row.part is not Part.ECHO
    return replace(refined, cause=signal.cause if of_the_row else verdict.cause)


def _holds(row: Pattern, match: re.Match[str], parsed: ParsedLine) -> bool:
    """Return True if the conditions on a slog line's fields hold."""
    fields = parsed.fields
    if row.check is FieldCheck.PARTIAL_PLAN:
        library = fields.get("library") or parsed.message.rpartition(" ")[2]
        return library.lower() != "cpu" and is_below(fields.get("layers.offload"), fields.get("layers.model"))
    if row.check is FieldCheck.LIMITED_PROJECTOR:
        return fields.get("reason") in ("limited-vram", "startup-oom-retry")
    if row.check is FieldCheck.SCHED_WARNING:
        return fields.get("level") == "WARN" and fields.get("source", "").startswith("sched.go")
    return match is not None


def _filled(row: Pattern, match: re.Match[str], parsed: ParsedLine) -> Signal:
    """Return a row's signal with the values of the line's fields."""
    signal = signal_of(row, match, model=_model_of(parsed))
    fields = parsed.fields
    if not fields:
        return signal
    return replace(
        signal,
        error=parsed.error,
        seconds=finite(fields.get("seconds")) if row.part is Part.UNLOAD else None,
        layers=signal.layers if signal.layers is not None else whole_number(fields.get("layers.offload")),
    )


def _model_of(parsed: ParsedLine) -> str:
    """Return the model that a line names: the digest of a blob, else a tag; empty if it names none."""
    fields = parsed.fields
    for key in ("model", "runner.model", "modelPath", "cmd"):
        value = fields.get(key, "")
        if digest := digest_in(value):
            return digest
        if key == "cmd" and (match := _CMD_MODEL.search(value)):
            return match[1]
        if value and key != "cmd":
            return fields.get("runner.name") or value
    if fields:
        return ""
    return digest_in(parsed.text)


def _event(parsed: ParsedLine) -> LogEvent | None:
    if parsed.gin is not None:
        if not parsed.gin.path.startswith(REQUEST_PATHS) or parsed.gin.method.upper() != "POST":
            return None
        return LogEvent(LogEventKind.REQUEST_ENDED, status=parsed.gin.status, seconds=parsed.gin.seconds)
    text = parsed.message[:SEARCHED]
    for row in EVENTS:
        if any(needle in parsed.text for needle in row.needles):
            match = row.expression.search(text)
            if match is not None and (event := _event_of(row, match, parsed)) is not None:
                return event
    return None


def _event_of(row: EventPattern, match: re.Match[str], parsed: ParsedLine) -> LogEvent | None:
    if row.kind is LogEventKind.GPU:
        kind = LogEventKind.NO_GPU if parsed.fields.get("library", "").lower() == "cpu" else LogEventKind.GPU
        return LogEvent(kind, memory=_memory(parsed.fields.get("total", "")))
    if row.kind is LogEventKind.ALL_ON_GPU and is_below(match["part"], match["whole"]):
        return None
    kind, model = row.kind, _model_of(parsed)
    if kind is LogEventKind.LOAD_BEGUN and not model and "--port" in parsed.fields.get("cmd", ""):
        return None  # a runner that only looks at the GPUs
    if kind is LogEventKind.LOAD_TRIED:
        request = parsed.fields.get("request", "")
        if "Operation:close" in request:
            return None
        kind = LogEventKind.LOAD_FITS if "Operation:commit" in request else kind
    layers = whole_number(parsed.fields.get("layers.requested") or parsed.fields.get("requested"))
    final = row.final or _never_retried(row, parsed)
    return LogEvent(kind, model=model, final=final, layers=layers)


def _memory(text: str) -> int | None:
    """Return the bytes of `12.0 GiB`, None for any other text."""
    number, _, unit = text.partition(" ")
    return whole_number((finite(number) or 0.0) * _UNITS.get(unit, 0)) or None


def _never_retried(row: EventPattern, parsed: ParsedLine) -> bool:
    """Return True if a load's end is final: Ollama retries only after an error that it classifies as memory."""
    return row.kind is LogEventKind.LOAD_FAILED and not may_be_retried(parsed.error)


_SERVER = PatternTable(SERVER)
_PLAIN = PatternTable(PLAIN)
_ANYWHERE = PatternTable((*(row for row in SERVER if row.scope is PatternScope.ANY), *PLAIN))
_DEFAULT = Detector()


def detect(line: str | ParsedLine) -> Signal | None:
    """Return the signal of a line by the built-in table, None if it has none."""
    return _DEFAULT.detect(line)
