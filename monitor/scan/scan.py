"""Scanner of a whole log for `fleet_cli.py scan`: its signals and incidents.

The log is read once, in chunks of whole lines; only lines that pass the prefilter are decoded. A file does not say when
its lines arrived, so silence settles nothing: a load is settled by its end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

from fleet.memory_errors.causes import Signal
from monitor.detection.detector import Detector
from monitor.detection.line_parser import CONSIDERED, parse_line
from monitor.detection.timestamps import StampMemory, resolve
from monitor.incidents import GroupingRules, GroupState, advance
from monitor.incidents.messages import (
    Flush,
    Incident,
    IncidentClosed,
    IncidentFound,
    Line,
    Outcome,
    SignalSeen,
)
from monitor.scan.open_log import open_log

CHUNK = 1 << 20
_FIRST_LINES = 4000  # searched for a first stamp with a year and a zone

Progress = Callable[[int, int | None], None]
"""Called with the bytes read so far and the whole size, None if the size is unknown."""


@dataclass(frozen=True, slots=True)
class FoundSignal:
    """A line that is a signal. `incident` is the id of its incident, empty for none."""

    line: int
    signal: Signal
    text: str
    time: float
    incident: str


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests that ended between two signals: how many were answered and failed; line and time of the last."""

    line: int
    time: float
    answered: int
    failed: int


@dataclass(frozen=True, slots=True)
class ScanReport:
    """The signals and incidents of a log.

    `outcomes` are all outcomes of the grouper, in order, with the requests between: the input of a policy.
    """

    file: str
    lines: int
    signals: tuple[FoundSignal, ...]
    incidents: tuple[Incident, ...]
    outcomes: tuple[Outcome | Calls, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report in the form of `scan --json`."""
        return {
            "file": self.file,
            "lines": self.lines,
            "signals": [
                {
                    "line": found.line,
                    "kind": found.signal.kind.value,
                    "cause": found.signal.cause.value,
                    "pattern": found.signal.pattern,
                }
                for found in self.signals
            ],
            "incidents": [
                {
                    "kind": incident.kind.value,
                    "cause": incident.cause.value,
                    "counts": incident.counts,
                    "first": incident.first_line,
                    "last": incident.last_line,
                }
                for incident in self.incidents
            ],
        }


def scan_file(
    name: str, rules: GroupingRules, detector: Detector, *, progress: Progress | None = None
) -> ScanReport:
    """Scan a file, plain or compressed, in UTF-8 or UTF-16; `-` is standard input.

    Raise SourceError if it holds no plain lines; OSError, EOFError, zlib.error or LZMAError if it cannot be read.
    """
    with open_log(name) as (stream, raw, size):
        return scan_stream(stream, name, rules, detector, progress=_reporter(progress, raw, size))


def scan_stream(
    stream: IO[bytes],
    name: str,
    rules: GroupingRules,
    detector: Detector,
    *,
    progress: Callable[[], None] | None = None,
) -> ScanReport:
    """Scan an open stream of bytes to its end."""
    scan = _Scan(name, rules, detector)
    for chunk in _whole_lines(stream):
        scan.add(chunk)
        if progress is not None:
            progress()
    return scan.report()


class _Scan:
    """A scan under way."""

    def __init__(self, name: str, rules: GroupingRules, detector: Detector) -> None:
        self._name = name
        self._rules = rules
        self._detector = detector
        self._state: GroupState | None = None
        self._lines = 0
        self._request: tuple[str, int] | None = None
        self._signals: list[FoundSignal] = []
        self._found: dict[str, Incident] = {}
        self._outcomes: list[Outcome | Calls] = []
        self._calls = Calls(0, 0.0, 0, 0)

    def add(self, chunk: bytes) -> None:
        """Scan a chunk of whole lines."""
        if self._state is None:
            self._state = GroupState(stamps=first_stamps(chunk))
        counted = 0
        for start, end in self._detector.candidates(chunk):
            self._lines += chunk.count(b"\n", counted, start)
            counted = start
            self._line(chunk[start : min(end, start + 4 * CONSIDERED)])
        self._lines += chunk.count(b"\n", counted) + (not chunk.endswith(b"\n"))

    def _line(self, line: bytes) -> None:
        """Scan a line; while nothing is open, only the last ended request matters, for its time."""
        text, number = line.decode("utf-8", "replace"), self._lines + 1
        idle = self._state is None or not (self._state.load or self._state.failures)
        if "[GIN]" in text:
            self._called(text, number)
            if idle:
                self._request = text, number
                return
        if self._request is not None:
            self._advance(*self._request)
            self._request = None
        self._advance(text, number)

    def _called(self, text: str, number: int) -> None:
        plain = text if "\x1b" not in text else parse_line(text).text
        answered, failed = " 200 |" in plain, " 500 |" in plain
        if answered or failed:
            calls = self._calls
            self._calls = Calls(number, 0.0, calls.answered + answered, calls.failed + failed)

    def _advance(self, text: str, number: int) -> None:
        line = Line(text, number=number)
        before = self._state.stamps.last if self._state is not None else None
        self._state, outcomes = advance(self._state or GroupState(), line, self._rules, self._detector)
        self._collect(outcomes, text, before)

    def _collect(self, outcomes: tuple[Outcome, ...], text: str, before: float | None) -> None:
        for outcome in outcomes:
            if isinstance(outcome, SignalSeen) and self._calls.line:
                self._outcomes.append(replace(self._calls, time=before or 0.0))
                self._calls = Calls(0, 0.0, 0, 0)
            self._outcomes.append(outcome)
            match outcome:
                case SignalSeen(signal, time, number, incident):
                    self._signals.append(FoundSignal(number, signal, text, time, incident))
                case IncidentFound(incident) | IncidentClosed(incident):
                    self._found[incident.id] = incident
                case _:
                    pass

    def report(self) -> ScanReport:
        """Settle open failures and return the report; incidents are in the order of their first lines."""
        _, outcomes = advance(self._state or GroupState(), Flush(), self._rules, self._detector)
        self._collect(outcomes, "", None)
        incidents = sorted(self._found.values(), key=lambda incident: incident.first_line)
        return ScanReport(
            self._name, self._lines, tuple(self._signals), tuple(incidents), tuple(self._outcomes)
        )


def first_stamps(chunk: bytes) -> StampMemory:
    """Return the zone and year that the first lines of a log name, for the lines before those.

    Raw lines under journald's short stamps often come first; only a later slog line has a year and a zone.
    """
    memory = StampMemory()
    learned = memory
    for line in chunk.split(b"\n", _FIRST_LINES)[:_FIRST_LINES]:
        if not any(mark in line for mark in (b"time=", b"[GIN]", b"T", b"/")):
            continue
        parsed = parse_line(line[:1024].decode("utf-8", "replace"))
        years = [stamp for stamp in (parsed.own, parsed.outer) if stamp is not None and stamp.year]
        _, learned = resolve(parsed.own, parsed.outer, learned)
        if years and memory.last is None:
            memory = replace(memory, last=years[0].seconds)
        if learned.server_zone is not None:
            break
    return replace(memory, server_zone=learned.server_zone, prefix_zone=learned.prefix_zone)


def _whole_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield chunks that end with a newline, the last one as it is; of an endless line only the beginning."""
    rest, chunk = b"", stream.read(CHUNK)
    while following := stream.read(CHUNK):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield rest + chunk[:cut]
            rest = chunk[cut:]
        else:
            rest += chunk if len(rest) < CHUNK else b""
        chunk = following
    if rest or chunk:
        yield rest + chunk


def _reporter(
    progress: Progress | None, raw: IO[bytes] | None, size: int | None
) -> Callable[[], None] | None:
    if progress is None:
        return None
    return lambda: progress(raw.tell() if raw is not None else 0, size)
