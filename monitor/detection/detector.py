"""A log line in, a signal or nothing out; and the events that bound failures.

`detect` is a pure function of one line. In front of it stands the prefilter, for floods. A slog line is
judged by its `msg` and, where its row says so, by its `error=`; nothing else in it is looked at. Any other
line is judged whole. The first row that holds wins.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fleet.memory_errors.causes import Cause, LogEvent, LogEventKind, Part, Signal, SignalKind
from fleet.memory_errors.judge import OLLAMAS_PHRASES
from fleet.memory_errors.table.bounds import EVENTS, REQUEST_PATHS
from fleet.memory_errors.table.rows import ErrorUse, EventPattern, FieldCheck, Pattern, PatternScope
from fleet.memory_errors.table.runner import PLAIN
from fleet.memory_errors.table.server import ERROR_REPORT, QUIET, SERVER
from fleet.runtime.untrusted import finite, whole_number
from monitor.detection.line_parser import ParsedLine, parse_line
from monitor.detection.prefilter import Prefilter

MEBIBYTE = 1024 * 1024
_SEARCHED = 8 * 1024  # characters of a message that expressions are run on
_ERROR_LINES = 64
_DIGEST = re.compile(r"sha256[-:]([0-9a-f]{8,64})")
_CMD_MODEL = re.compile(r"--model +(\S{1,1000})")
_GPU_WORD = re.compile(
    r"\b(?:cuda|cublas|cumem|hip|rocm|vulkan|vk_|metal|mtl|mlx|sycl|musa|opencl|gpu|vram|device)",
    re.IGNORECASE,
)
_HOST_WORD = re.compile(
    r"\b(?:cpu\b|host\b|ram\b|system memory|swap|cgroup|killed|kernel|paging|pinned|mmap|goroutine)|_Host\b",
    re.IGNORECASE,
)
_REPORTS = re.compile(
    r"\b(?:err|error|errors|panic|fatal|exception|warning|cannot|can't|unable)\b|\b(?:fail|abort|terminat)"
    r"|(?:^|: )(?:\w{1,30} )?(?:out of|insufficient|not enough) (?:\w{1,30} )?memory\b",
    re.IGNORECASE,
)
"""What tells a report of a failure from prose about one."""
_PASSED_ON = re.compile(r"^Error: |process has terminated|process no longer running|while running the model")
_SEVERE = frozenset({"WARN", "ERROR", "WARNING", "FATAL", "ERR"})


@dataclass(frozen=True, slots=True)
class LineReading:
    """What one line says: a signal, an event, both or neither, and the line taken apart."""

    parsed: ParsedLine
    signal: Signal | None = None
    event: LogEvent | None = None


class Detector:
    """The pattern table, with a user's own patterns after it; immutable, safe to share."""

    def __init__(self, extra: Sequence[Pattern] = ()) -> None:
        self._extra = _Table(extra)
        self.prefilter = Prefilter(extra)

    def may_matter(self, chunk: bytes) -> bool:
        """Return whether any line of the chunk may be a signal or an event; never False where one is."""
        return self.prefilter.may_matter(chunk)

    def candidates(self, chunk: bytes) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the lines that may matter, in order."""
        return self.prefilter.candidates(chunk)

    def detect(self, line: str | ParsedLine) -> Signal | None:
        """Return what the line tells of memory trouble, None if nothing."""
        return self._signal(parse_line(line) if isinstance(line, str) else line)

    def read(self, line: str | ParsedLine) -> LineReading:
        """Return the line's signal and event together."""
        parsed = parse_line(line) if isinstance(line, str) else line
        return LineReading(parsed, self._signal(parsed), _event(parsed))

    def _signal(self, parsed: ParsedLine) -> Signal | None:
        if parsed.gin is not None:
            return None
        text = parsed.message[:_SEARCHED]
        if not any(quiet in text for quiet in QUIET):
            found = _server_signal(parsed, text) if parsed.fields else _plain_signal(parsed, text)
            if found is not None:
                return found
        return next((_filled(row, match, parsed) for row, match in self._extra.matches(text)), None)


def classify_error(error: str) -> Signal | None:
    """Return what an error text (an API answer's, a slog line's `error=`) says of memory, None if nothing.

    Its lines are judged each by itself; the GPU's memory outweighs the host's, and what names its memory
    outweighs what does not.
    """
    lines = [line for line in error.replace("\\n", "\n").split("\n")[:_ERROR_LINES] if line.strip()]
    if lines and "retrying without pipeline parallelism" in lines[-1]:
        return None
    found = [signal for line in lines if (signal := _first_plain(line[:_SEARCHED])) is not None]
    failures = [signal for signal in found if signal.kind in (SignalKind.HARD, SignalKind.SYSMEM)]
    return min(failures, key=_rank, default=None)


def _rank(signal: Signal) -> tuple[int, bool]:
    if signal.kind is SignalKind.HARD:
        return 2 if signal.vague else 0, not signal.device
    return 3 if signal.part is Part.HARMLESS else 1, not signal.device


def _first_plain(text: str) -> Signal | None:
    if any(quiet in text for quiet in QUIET):
        return None
    bare = ParsedLine(text, text)
    return next((_filled(row, match, bare) for row, match in _PLAIN.matches(text)), None)


def _plain_signal(parsed: ParsedLine, text: str) -> Signal | None:
    found = next((_filled(row, match, parsed) for row, match in _ANYWHERE.matches(text)), None)
    if found is not None and found.part is Part.FIRST and _PASSED_ON.search(text):
        return replace(classify_error(text) or found, part=Part.ECHO)
    return found


def _server_signal(parsed: ParsedLine, text: str) -> Signal | None:
    """Judge a slog line: by its `msg`, and by its `error=` where the row says so."""
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
    """Let the error correct or decide a verdict, and fill in what it names."""
    if row.error is ErrorUse.IGNORED:
        return signal
    said = classify_error(error)
    if said is None:
        refuted = row.error is ErrorUse.REFUTES and error != ""
        return None if refuted or row.error is ErrorUse.DECIDES else replace(signal, error=error)
    told = replace(
        signal, kind=said.kind, vague=said.vague, device=said.device, size_bytes=said.size_bytes, error=error
    )
    if said.kind is SignalKind.SYSMEM:
        return replace(told, cause=Cause.HOST)
    return replace(told, cause=signal.cause if row.part is not Part.ECHO else said.cause)


class _Table:
    """Rows in order, found by their literals: one pass over the literals instead of one over the rows."""

    def __init__(self, rows: Sequence[Pattern]) -> None:
        self._rows = tuple(rows)
        index: dict[str, list[int]] = {}
        for number, row in enumerate(self._rows):
            for needle in row.needles:
                index.setdefault(needle, []).append(number)
        self._index = tuple((needle, tuple(numbers)) for needle, numbers in index.items())
        self._always = [number for number, row in enumerate(self._rows) if not row.needles]

    def matches(self, text: str, line: str = "") -> Iterator[tuple[Pattern, re.Match[str]]]:
        """Yield the rows that match, in order; literals may stand anywhere in the line."""
        line = line or text
        numbers = set(self._always)
        for needle, having in self._index:
            if needle in line:
                numbers.update(having)
        for number in sorted(numbers):
            row = self._rows[number]
            match = row.expression.search(text)
            if match is not None and _follow(row, match, text) and _words_hold(row.check, match, text):
                yield row, match


def _follow(row: Pattern, match: re.Match[str], text: str) -> bool:
    position = match.end()
    for expression in row.then:
        following = expression.search(text, position)
        if following is None:
            return False
        position = following.end()
    return True


def _words_hold(check: FieldCheck, match: re.Match[str], text: str) -> bool:
    """Judge the conditions that need the text alone."""
    if check is FieldCheck.PARTIAL_OFFLOAD:
        return _below(match["part"], match["whole"])
    if check is FieldCheck.NAMES_GPU:
        return _GPU_WORD.search(text) is not None and _REPORTS.search(text) is not None
    if check is FieldCheck.REPORTS:
        return _REPORTS.search(text) is not None
    return check is not FieldCheck.NAMES_HOST or _HOST_WORD.search(text) is not None


def _holds(row: Pattern, match: re.Match[str], parsed: ParsedLine) -> bool:
    """Judge the conditions that need a slog line's fields."""
    fields = parsed.fields
    if row.check is FieldCheck.PARTIAL_PLAN:
        library = fields.get("library") or parsed.message.rpartition(" ")[2]
        return library.lower() != "cpu" and _below(fields.get("layers.offload"), fields.get("layers.model"))
    if row.check is FieldCheck.NO_LAYERS:
        return fields.get("loaded layers") == "0"
    if row.check is FieldCheck.LIMITED_PROJECTOR:
        return fields.get("reason") in ("limited-vram", "startup-oom-retry")
    if row.check is FieldCheck.SCHED_WARNING:
        return fields.get("level") == "WARN" and fields.get("source", "").startswith("sched.go")
    return match is not None


def _below(part: str | None, all_of_it: str | None) -> bool:
    some, every = whole_number(part), whole_number(all_of_it)
    return some is not None and every is not None and 0 <= some < every


def _filled(row: Pattern, match: re.Match[str], parsed: ParsedLine) -> Signal:
    named = match.groupdict()
    size = named.get("bytes")
    mebibytes = named.get("mib")
    device = named.get("device") or ""
    return Signal(
        kind=row.kind,
        cause=row.cause,
        pattern=row.id,
        part=row.part,
        vague=row.vague,
        device="" if device == "backend" else device,
        size_bytes=whole_number(size) if size else _mebibytes(mebibytes),
        model=_model_of(parsed),
        error=parsed.error,
        seconds=finite(parsed.fields.get("seconds")) if row.part is Part.UNLOAD else None,
    )


def _mebibytes(text: str | None) -> int | None:
    number = finite(text)
    return None if number is None else round(number * MEBIBYTE)


def _model_of(parsed: ParsedLine) -> str:
    """Return the model that a line names: a blob's digest, else a tag; empty if it names none."""
    fields = parsed.fields
    for key in ("model", "runner.model", "modelPath", "cmd"):
        value = fields.get(key, "")
        if match := _DIGEST.search(value):
            return f"sha256-{match[1]}"
        if key == "cmd" and (match := _CMD_MODEL.search(value)):
            return match[1]
        if value and key != "cmd":
            return fields.get("runner.name") or value
    if fields:
        return ""
    match = _DIGEST.search(parsed.text)
    return f"sha256-{match[1]}" if match else ""


def _event(parsed: ParsedLine) -> LogEvent | None:
    if parsed.gin is not None:
        if not parsed.gin.path.startswith(REQUEST_PATHS) or parsed.gin.method.upper() != "POST":
            return None
        return LogEvent(LogEventKind.REQUEST_ENDED, status=parsed.gin.status, seconds=parsed.gin.seconds)
    text = parsed.message[:_SEARCHED]
    for row in EVENTS:
        if any(needle in parsed.text for needle in row.needles):
            match = row.expression.search(text)
            if match is not None and (event := _event_of(row, match, parsed)) is not None:
                return event
    return None


def _event_of(row: EventPattern, match: re.Match[str], parsed: ParsedLine) -> LogEvent | None:
    if row.kind is LogEventKind.GPU:
        library = parsed.fields.get("library", "")
        detail = f"{library} {parsed.fields.get('description') or parsed.fields.get('name', '')}".strip()
        return LogEvent(LogEventKind.NO_GPU if library.lower() == "cpu" else LogEventKind.GPU, detail=detail)
    if row.kind is LogEventKind.ALL_ON_GPU and _below(match["part"], match["whole"]):
        return None
    if row.kind is LogEventKind.LOAD_TRIED and "Operation:close" in parsed.fields.get("request", ""):
        return None
    return LogEvent(row.kind, model=_model_of(parsed), final=row.final or _never_retried(row, parsed))


def _never_retried(row: EventPattern, parsed: ParsedLine) -> bool:
    """Ollama tries again only after an error that it takes for memory: then wait and see, else it is over."""
    return row.kind is LogEventKind.LOAD_FAILED and not looks_like_memory(parsed.error)


def looks_like_memory(error: str) -> bool:
    """Return whether Ollama itself (0.30 on) takes an error for one of memory, by its own ten phrases."""
    lowered = error.lower()
    return any(phrase in lowered for phrase in OLLAMAS_PHRASES)


_SERVER = _Table(SERVER)
_PLAIN = _Table(PLAIN)
_ANYWHERE = _Table((*(row for row in SERVER if row.scope is PatternScope.ANY), *PLAIN))
_DEFAULT = Detector()


def detect(line: str | ParsedLine) -> Signal | None:
    """Return what the line tells of memory trouble by the built-in table, None if nothing."""
    return _DEFAULT.detect(line)
