"""Which lines of a chunk may matter, found at C speed; an ordinary flood is turned away without being split.

Two stages, both of plain literals. `COARSE` is searched in the whole chunk: each literal costs a pass, so
they are few and short, and every literal of the pattern table holds one of them. A line that one stands in
is then held to the table's own literals. Measured: `benchmarks/detection.py`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from monitor.patterns import Pattern
from monitor.patterns_events import EVENTS, REQUEST_NEEDLES
from monitor.patterns_runner import PLAIN
from monitor.patterns_server import ERROR_REPORT, SERVER

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
    b"POST ",
)
"""Literals of which every line that matters has one; each costs a pass over the chunk, so they are few and
short.
"""


_GAPS = ("    ", "", "   \x1b[0m ", r"   \u001b[0m ")
"""What GIN puts between method and path: spaces, on a terminal the end of the method's colour."""


class Prefilter:
    """The two stages, with a user's own expressions beside them; immutable, safe to share."""

    def __init__(self, extra: Sequence[Pattern] = ()) -> None:
        self._stages = _stages(_without_longer(needle.encode() for needle in table_needles()))
        self._extra = tuple(re.compile(row.expression.pattern.encode(), re.ASCII) for row in extra)

    def may_matter(self, chunk: bytes) -> bool:
        """Return whether any line of the chunk may be a signal or an event; never False where one is."""
        return any(needle in chunk for needle in COARSE) or any(e.search(chunk) for e in self._extra)

    def candidates(self, chunk: bytes) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the lines that may matter, in order; `end` is without the line's end.

        The chunk consists of whole lines; a last one without its end is taken as whole.
        """
        spans: set[tuple[int, int]] = set()
        for coarse, fine in self._stages:
            for start, end in _lines_with(chunk, partial(chunk.find, coarse)):
                if _holds_any(chunk, fine, start, end):
                    spans.add((start, end))
        for expression in self._extra:
            spans.update(_lines_with(chunk, partial(_search, expression, chunk)))
        yield from sorted(spans)

    def matters(self, line: bytes) -> bool:
        """Return whether one line may be a signal or an event, by the table's own literals."""
        return any(True for _ in self.candidates(line))


def _stages(needles: Iterable[bytes]) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
    """Put each of the table's literals under the first coarse one that it holds."""
    under: dict[bytes, list[bytes]] = {coarse: [] for coarse in COARSE}
    for needle in needles:
        under[next(coarse for coarse in COARSE if coarse in needle)].append(needle)
    return tuple((coarse, tuple(fine)) for coarse, fine in under.items())


def _holds_any(chunk: bytes, needles: Sequence[bytes], start: int, end: int) -> bool:
    for needle in needles:  # a plain loop: this runs for every line of a flood that has a coarse literal  # noqa: SIM110
        if chunk.find(needle, start, end) >= 0:
            return True
    return False


def table_needles() -> frozenset[str]:
    """Return every literal of the table, also as it stands within JSON."""
    signals = {needle for row in (*PLAIN, *SERVER, ERROR_REPORT) for needle in row.needles}
    events = {needle for row in EVENTS for needle in row.needles}
    requests = {f"POST {gap}{path}" for gap in _GAPS for path in REQUEST_NEEDLES}
    plain = signals | events | requests
    quotes = ('"', r"\"", r"\\\"")  # as it is, and within JSON once and twice
    return frozenset(needle.replace('"', quote) for needle in plain for quote in quotes)


def _search(expression: re.Pattern[bytes], chunk: bytes, position: int) -> int:
    match = expression.search(chunk, position)
    return -1 if match is None else match.start()


def _lines_with(chunk: bytes, find: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Yield the spans of the lines in which something is found; one find a line, at C speed between them."""
    position = find(0)
    while position >= 0:
        start = chunk.rfind(b"\n", 0, position) + 1
        end = chunk.find(b"\n", position)
        if end < 0:
            yield start, len(chunk)
            return
        yield start, end
        position = find(end + 1)


def _without_longer(needles: Iterable[bytes]) -> tuple[bytes, ...]:
    """Keep only needles that contain no other needle."""
    ordered = sorted(set(needles), key=lambda needle: (len(needle), needle))
    kept: list[bytes] = []
    for needle in ordered:
        if not any(shorter in needle for shorter in kept):
            kept.append(needle)
    return tuple(kept)
