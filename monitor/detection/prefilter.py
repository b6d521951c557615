"""The prefilter: finds the lines that may be a signal or an event, at C speed, in an unsplit chunk.

The prefilter has two stages of plain literals. The literals of `COARSE` are searched in the whole chunk. They are few
and short, since each costs a pass. Every literal of the pattern table holds one of them. A line with a coarse literal
is then searched for the table's literals that hold it. They form one expression: on a line it is faster than a search
for each of up to 48 literals. `benchmarks/detection.py` measures both stages.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from fleet.memory_errors.table.bounds import EVENTS, REQUEST_NEEDLES
from fleet.memory_errors.table.rows import Pattern
from fleet.memory_errors.table.runner import PLAIN
from fleet.memory_errors.table.server import ERROR_REPORT, SERVER
from monitor.detection.line_parser import CONSIDERED

COARSE: tuple[bytes, ...] = (
    b"emory",
    b"alloc",
    b"ailed",
    b"VRAM",
    b"vram",
    b"ffload",
    b"OOM",
    b"oom",
    b"evict",
    b"tart",
    b"oading ",
    b"loaded meta",
    b"msg=load",
    b"Listening on",
    b"nference compute",
    b"terminat",
    b"no longer running",
    b"did not fit",
    b"retrying",
    b"UT_OF_",
    b"_ALLOC",
    b"max_buffer",
    b"mlx runner",
    b"WARN source=sched",
    b"large for system",
    b"rompt processing",
    b"POST ",
    b"MESSAGE",
    b" but only ",
    b"paging file ",
    b" overflowing)",
    b"CallbackError",
)
"""Literals of the first stage: every line that is a signal or an event holds one of them."""


_LOOKED_AT = 4 * CONSIDERED
"""Most bytes of the characters that the detector reads."""
_GAPS = ("    ", "", "   \x1b[0m ", r"   \u001b[0m ")
"""GIN's text between method and path: spaces, on a terminal the end of the method's colour."""


_JOURNALD_BYTES = frozenset({'"MESSAGE":[', '"MESSAGE": [', '"MESSAGE" : ['})
"""`journalctl --output=json` prints unprintable text as a list of bytes, in which no literal can be found."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """A coarse literal, the expression of the table's literals that hold it, and their longest `lead` before it."""

    coarse: bytes
    fine: re.Pattern[bytes]
    lead: int


class Prefilter:
    """The two stages, beside a user's expressions; immutable, safe to share between threads."""

    def __init__(self, extra: Sequence[Pattern] = ()) -> None:
        self._stages = _stages(_without_longer(needle.encode() for needle in table_needles()))
        self._extra = tuple(re.compile(row.expression.pattern.encode(), re.ASCII) for row in extra)

    def may_matter(self, chunk: bytes) -> bool:
        """Return True if a line of the chunk may be a signal or an event, without false negatives."""
        return any(needle in chunk for needle in COARSE) or any(e.search(chunk) for e in self._extra)

    def candidates(self, chunk: bytes) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the lines that may be a signal or an event, in order; `end` excludes the newline.

        The chunk consists of whole lines; the last one may lack its newline.
        """
        spans: set[tuple[int, int]] = set()
        for stage in self._stages:
            for start, position, end in _lines_with(chunk, partial(chunk.find, stage.coarse)):
                if stage.fine.search(chunk, max(start, position - stage.lead), min(end, start + _LOOKED_AT)):
                    spans.add((start, end))
        for expression in self._extra:
            found = _lines_with(chunk, partial(_search, expression, chunk))
            spans.update((start, end) for start, _, end in found)
        yield from sorted(spans)

    def matters(self, line: bytes) -> bool:
        """Return True if one line may be a signal or an event, by the table's own literals."""
        return any(True for _ in self.candidates(line))


def _stages(needles: Iterable[bytes]) -> tuple[_Stage, ...]:
    """Return the stages; each of the table's literals belongs to the first coarse literal that it holds."""
    under: dict[bytes, list[bytes]] = {}
    for needle in needles:
        under.setdefault(next(coarse for coarse in COARSE if coarse in needle), []).append(needle)
    return tuple(
        _Stage(
            coarse,
            re.compile(b"|".join(map(re.escape, under[coarse]))),
            max(needle.find(coarse) for needle in under[coarse]),
        )
        for coarse in COARSE
        if coarse in under
    )


def table_needles() -> frozenset[str]:
    """Return every literal of the table, also in its form within JSON."""
    signals = {needle for row in (*PLAIN, *SERVER, ERROR_REPORT) for needle in row.needles}
    events = {needle for row in EVENTS for needle in row.needles}
    requests = {f"POST {gap}{path}" for gap in _GAPS for path in REQUEST_NEEDLES}
    plain = signals | events | requests | _JOURNALD_BYTES
    quotes = ('"', r"\"", r"\\\"")  # as it is, and within JSON once and twice
    return frozenset(needle.replace('"', quote) for needle in plain for quote in quotes)


def _search(expression: re.Pattern[bytes], chunk: bytes, position: int) -> int:
    match = expression.search(chunk, position)
    return -1 if match is None else match.start()


def _lines_with(chunk: bytes, find: Callable[[int], int]) -> Iterator[tuple[int, int, int]]:
    """Yield (start, position, end) of the lines with a find, at its first position in each."""
    position = find(0)
    while position >= 0:
        start = chunk.rfind(b"\n", 0, position) + 1
        end = chunk.find(b"\n", position)
        if end < 0:
            yield start, position, len(chunk)
            return
        yield start, position, end
        position = find(end + 1)


def _without_longer(needles: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the needles that contain no other needle."""
    ordered = sorted(set(needles), key=lambda needle: (len(needle), needle))
    kept: list[bytes] = []
    for needle in ordered:
        if not any(shorter in needle for shorter in kept):
            kept.append(needle)
    return tuple(kept)
