"""The one judge of a text: the memory that an error names, by the table of wordings.

The detector judges log lines with it, the grouper API errors, and the generator its failed calls. A text therefore has
the same verdict everywhere.
"""

import re
from collections.abc import Iterator, Sequence

from fleet.memory_errors.causes import Part, Signal, SignalKind
from fleet.memory_errors.table.rows import FieldCheck, Pattern
from fleet.memory_errors.table.runner import PLAIN
from fleet.memory_errors.table.server import QUIET
from fleet.runtime.untrusted import finite, whole_number

SEARCHED = 8 * 1024
"""Characters of a message that expressions are run on."""
_ERROR_LINES = 64
_MEBIBYTE = 1024 * 1024
_RECOVERED = "retrying without pipeline parallelism"
_OLLAMAS_PHRASES = (
    "out of memory",
    "out of device memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "allocation failed",
    "not enough memory",
    "insufficient memory",
    "vk_error_out_of_device_memory",
    "erroroutofmemory",
)
"""The phrases by which Ollama itself, from 0.30 on, takes an error for one of memory (its `llm/status.go`)."""
_DIGEST = re.compile(r"(?:sha256[-:]|\bdigest:)([0-9a-f]{8,64})")
"""A digest of weights, or of the manifest by which Ollama names a model of its MLX engine."""
_GPU_WORD = re.compile(
    r"(?:\b|_)(?:cuda|cublas|cumem|hip|rocm|vulkan|vk_|metal|mtl|mlx|sycl|musa|opencl|gpu|vram|device)",
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
"""Words by which a report of a failure differs from prose about one."""


def is_memory_error(text: str) -> bool:
    """Return True if an error's text says that GPU memory could not be had."""
    verdict = judge_error(text)
    return verdict is not None and verdict.kind is SignalKind.HARD


def judge_error(error: str) -> Signal | None:
    """Return the signal in an error text, None if the text does not concern memory.

    The text is an API answer's or a slog line's `error=`. Each of its lines is judged by itself. The failed call below
    an error outweighs the error, and the GPU's memory the host's. A line that names its memory, or another reason of
    the GPU, outweighs a line that does not.
    """
    lines = [line for line in error.replace("\\n", "\n").split("\n")[:_ERROR_LINES] if line.strip()]
    if lines and _RECOVERED in lines[-1]:
        return None
    found = [signal for line in lines if (signal := _judge_line(line[:SEARCHED])) is not None]
    failures = [signal for signal in found if signal.kind is not SignalKind.SOFT]
    calls = [signal for signal in failures if signal.part is Part.CALL]
    return min(calls or failures, key=_rank, default=None)


def may_be_retried(error: str) -> bool:
    """Return True if Ollama itself takes an error for one of memory: only then it tries a load again."""
    lowered = error.lower()
    return any(phrase in lowered for phrase in _OLLAMAS_PHRASES)


def is_quiet(text: str) -> bool:
    """Return True if a text looks like trouble and is known to be none."""
    return any(quiet in text for quiet in QUIET)


def digest_in(text: str) -> str:
    """Return the first digest of a text as `sha256-…`, empty if it has none."""
    match = _DIGEST.search(text)
    return f"sha256-{match[1]}" if match else ""


def _judge_line(text: str) -> Signal | None:
    if is_quiet(text):
        return None
    return next((signal_of(row, match, model=digest_in(text)) for row, match in _PLAIN.matches(text)), None)


def _rank(signal: Signal) -> tuple[int, bool]:
    if signal.kind is SignalKind.HARD:
        return 2 if signal.vague else 0, not signal.device
    return 3 if signal.part is Part.HARMLESS else 1, not signal.device


def signal_of(row: Pattern, match: re.Match[str], *, model: str = "") -> Signal:
    """Return the signal of a row that matched, with the values from the text."""
    named = match.groupdict()
    device = named.get("device") or ""
    return Signal(
        kind=row.kind,
        cause=row.cause,
        pattern=row.id,
        part=row.part,
        vague=row.vague,
        device="" if device == "backend" else device,
        size_bytes=_size(named.get("bytes"), named.get("mib")),
        model=model,
        layers=whole_number(named.get("part")),
    )


def _size(in_bytes: str | None, in_mebibytes: str | None) -> int | None:
    mebibytes = finite(in_mebibytes)
    return whole_number(in_bytes) if mebibytes is None else round(mebibytes * _MEBIBYTE)


class PatternTable:
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
    """Return True if the row's further expressions follow one another after the first."""
    position = match.end()
    for expression in row.then:
        following = expression.search(text, position)
        if following is None:
            return False
        position = following.end()
    return True


def _words_hold(check: FieldCheck, match: re.Match[str], text: str) -> bool:
    """Return True if the conditions hold that need the text alone."""
    if check is FieldCheck.PARTIAL_OFFLOAD:
        return is_below(match["part"], match["whole"])
    if check is FieldCheck.NAMES_GPU:
        return _GPU_WORD.search(text) is not None and _REPORTS.search(text) is not None
    if check is FieldCheck.REPORTS:
        return _REPORTS.search(text) is not None
    return check is not FieldCheck.NAMES_HOST or _HOST_WORD.search(text) is not None


def is_below(part: str | None, whole: str | None) -> bool:
    """Return True if both texts are whole numbers and the first is the smaller one."""
    some, every = whole_number(part), whole_number(whole)
    return some is not None and every is not None and 0 <= some < every


_PLAIN = PatternTable(PLAIN)
