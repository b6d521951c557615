"""`scan`: signals and incidents of log files, and the switches that the policy would have made."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from lzma import LZMAError
from pathlib import Path

import click

from cli.console import can_redraw, redraw_line
from cli.planning.replay import Replay, replay
from fleet.config.load import find_config, load_settings
from fleet.config.schema import Settings
from fleet.memory_errors.causes import Cause, Signal
from fleet.memory_errors.user_patterns import user_patterns
from fleet.policy.rules import Rules
from fleet.runtime.errors import FleetError
from fleet.runtime.units import show_size
from fleet.runtime.untrusted import printable
from monitor.detection.detector import Detector
from monitor.incidents import GroupingRules as GroupRules
from monitor.incidents.messages import Incident
from monitor.scan.scan import FoundSignal, Progress, ScanReport, scan_file

_SHOWN = 160
_LARGE = 16 << 20  # bytes: a smaller file is scanned in a moment
_BAR = 30


@dataclass(frozen=True, slots=True)
class Scanned:
    """The report of a log with its replay."""

    report: ScanReport
    replay: Replay


def settings_for_scan(config: str | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings for a scan; a scan needs no fleet."""
    return load_settings(find_config(config, environ, Path.cwd()), environ)


def scan_log(name: str, settings: Settings, progress: Progress | None = None) -> Scanned:
    """Return the report and replay of a log; raise FleetError if it cannot be read.

    Every model counts as the rung's own, since a log alone does not name the ladder.
    """
    causes = frozenset(Cause(cause) for cause in settings.policy.causes)
    rules = GroupRules(incident_gap=settings.policy.incident_gap, causes=causes)
    detector = Detector(user_patterns(settings.patterns))
    try:
        report = scan_file(name, rules, detector, progress=progress)
    except (OSError, EOFError, zlib.error, LZMAError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FleetError(f"{name or repr(name)} cannot be read: {reason}", hint=_hint(error)) from error
    return Scanned(report, replay(report, Rules(settings.ladder, settings.policy)))


def _hint(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "Read it as its owner, or pipe it in: sudo cat FILE | python3 fleet_cli.py scan -"
    if isinstance(error, IsADirectoryError):
        return "Name the log files in it."
    if isinstance(error, (EOFError, zlib.error, LZMAError)):
        return "The file is damaged or truncated: decompress the readable part and scan that."
    return "Name a log file, or - for standard input."


def scan_lines(scanned: Scanned, *, explain: bool) -> list[str]:
    """Return a scan as lines for a person."""
    report = scanned.report
    counting = sum(incident.counts for incident in report.incidents)
    found = f"{_number(report.signals, 'signal')}, {_number(report.incidents, 'incident')}"
    lines = [f"{report.file}: {report.lines} lines, {found}, {counting} of them count"]
    lines += [_incident_line(incident, scanned.replay) for incident in report.incidents]
    if explain:
        lines += [_signal_line(found) for found in report.signals]
    return [*lines, *_moves(scanned.replay)] if report.incidents else lines


def _number(things: tuple[object, ...], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _incident_line(incident: Incident, replayed: Replay) -> str:
    outcome = replayed.counts.get(incident.id, "")
    if incident.counts:
        mark = click.style(f"counts, {outcome}", fg="yellow")
    else:
        mark = f"does not count: {incident.reason or outcome}"
    where = f"lines {incident.first_line} to {incident.last_line}"
    return f"  {_when(incident.first)}{where:<22} {incident.kind.value:<7} {incident.cause.value:<14} {mark}"


def _signal_line(found: FoundSignal) -> str:
    signal = found.signal
    row = f"{signal.kind.value:<7} {signal.cause.value:<14} {signal.pattern}"
    read = ", ".join(_read_out(signal))
    text = printable(found.text, _SHOWN)
    return f"  {found.line:>8}  {row:<44}{f' [{read}]' if read else ''} {text}"


def _read_out(signal: Signal) -> Iterator[str]:
    """Yield the values that a line names."""
    if signal.device:
        yield f"device {signal.device}"
    if signal.size_bytes is not None:
        yield show_size(signal.size_bytes)
    if signal.model:
        yield f"model {signal.model[:40]}"


def _moves(replayed: Replay) -> Iterator[str]:
    yield "  the policy would have done:"
    for move in replayed.moves:
        yield f"    {_when(move.time)}line {move.line}: {move.text}"
    if not replayed.moves:
        yield "    nothing"
    yield f"    at the end on {replayed.rung}, count {replayed.errors} of {replayed.threshold}"


def _when(time: float) -> str:
    """Return a time as UTC, an empty text if the log has no stamps."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S  ") if time > 0 else ""


def scan_bar(name: str) -> Progress | None:
    """Return the progress bar for a scan of a large file, None where no line can be redrawn."""
    return _bar(name, redraw_line) if can_redraw() else None


def _bar(name: str, show: Callable[[str], None]) -> Progress:
    """Return a bar on one line that disappears at the end of the file."""

    def progress(done: int, total: int | None) -> None:
        if total is None:
            show(f"{name}: {done >> 20} MB")
        elif total < _LARGE:
            return
        elif done >= total:
            show("")
        else:
            full = done * _BAR // total
            bar = "#" * full + "-" * (_BAR - full)
            show(f"{name} [{bar}] {done / total:4.0%} of {total >> 20} MB")

    return progress
