"""`scan`: what the detector makes of logs, and what the policy would have done about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from fleet.config import find_config, load_settings
from fleet.errors import FleetError
from fleet.events import Event, EventKind
from fleet.facts import CallEnded, IncidentSeen, ModelHere, Restarted
from fleet.logs import plain_text
from fleet.model import FleetState, Phase
from fleet.policy import decide
from fleet.rules import Rules
from fleet.settings import Settings
from monitor.detector import Detector
from monitor.grouping import Rules as GroupRules
from monitor.grouping.model import Incident, IncidentFound
from monitor.scan import Progress, ScanReport, scan_file
from monitor.signals import Cause
from state.codec import default_state

_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Scanned:
    """A log's report with the switches that it would have led to: at which line, from where to where."""

    report: ScanReport
    switches: tuple[tuple[int, str], ...]


def settings_for_scan(config: str | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings that a scan goes by; no fleet is needed for it."""
    return load_settings(find_config(config, environ, Path.cwd()), environ)


def scan_log(name: str, settings: Settings, progress: Progress | None = None) -> Scanned:
    """Return what a log holds; raise FleetError if it cannot be read.

    Every model counts as the rung's own, since a log alone does not say whose it was.
    """
    causes = frozenset(Cause(cause) for cause in settings.policy.causes)
    rules = GroupRules(incident_gap=settings.policy.incident_gap, causes=causes)
    try:
        report = scan_file(name, rules, Detector(), progress=progress)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FleetError(
            f"{name} cannot be read: {reason}", hint="Name a log file, or - for input."
        ) from error
    return Scanned(report, tuple(_switches(report, Rules(settings.ladder, settings.policy))))


def _switches(report: ScanReport, rules: Rules) -> Iterator[tuple[int, str]]:
    """Yield the downgrades that the policy would have decided on, each carried out at once."""
    found = [outcome.incident for outcome in report.outcomes if isinstance(outcome, IncidentFound)]
    state = default_state(rules.ladder, found[0].first if found else 0.0)
    for incident in found:
        now = incident.last
        state = decide(state, _seen(incident), now, rules).state
        if state.switch is not None:
            text = f"{state.switch.kind.value} to {rules.ladder[state.switch.target].label}"
            yield incident.last_line, f"{text} ({state.switch.why})"
            state = _arrived(state, now, rules)
        elif _held(state.events):
            yield incident.last_line, f"hold: {rules.ladder[rules.ladder.last].label} fails too"
        state = replace(state, events=())


def _held(events: tuple[Event, ...]) -> bool:
    return any(event.kind is EventKind.HELD for event in events)


def _seen(incident: Incident) -> IncidentSeen:
    return IncidentSeen(
        id=incident.id,
        time=incident.first,
        cause=incident.cause.value,
        kind=incident.kind.value,
        counts=incident.counts,
        reason=incident.reason,
        load_began=incident.load_began,
    )


def _arrived(state: FleetState, now: float, rules: Rules) -> FleetState:
    """Return the state with its switch done: a log cannot tell how long one would have taken."""
    while state.switch is not None:
        number, phase = state.switch.number, state.switch.phase
        step = ModelHere(number) if phase is Phase.PULL else Restarted(number)
        if phase is Phase.VERIFY:
            return decide(state, CallEnded(now, state.switches, answered=True), now, rules).state
        state = decide(state, step, now, rules).state
    return state


def scan_lines(scanned: Scanned, *, explain: bool) -> list[str]:
    """Return a scan as a person reads it."""
    report = scanned.report
    counting = sum(incident.counts for incident in report.incidents)
    counts = f"{len(report.signals)} signals, {len(report.incidents)} incidents, {counting} of them count"
    lines = [f"{report.file}: {report.lines} lines, {counts}"]
    for incident in report.incidents:
        mark = click.style("counts", fg="yellow") if incident.counts else f"does not count: {incident.reason}"
        where = f"lines {incident.first_line} to {incident.last_line}"
        lines.append(f"  {where:<22} {incident.kind.value:<7} {incident.cause.value:<14} {mark}")
    if explain:
        for found in report.signals:
            row = f"{found.signal.kind.value:<7} {found.signal.pattern}"
            lines.append(f"  {found.line:>8}  {row:<34} {plain_text(found.text[:_SHOWN])}")
    lines += [f"  line {line}: {text}" for line, text in scanned.switches]
    return lines
