"""The click commands of `fleet_cli.py`: parse, call, print, exit code.

Each command imports its own modules, so that `status` starts fast. The commands are in a module because Python caches
its bytecode, and compiles a script at each start.
"""

import itertools
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cli.console import (
    EXIT_SAVED,
    Chosen,
    Root,
    colour,
    fleet_command,
    is_dumb,
    lane_option,
    lanes_command,
    print_json,
    pull_bar,
    show,
    width,
)
from cli.planning.commands import ladder, lanes, scan
from cli.target import Fleet, any_fleet
from generator.cli.finite_range import FiniteRange

SORTS = ("fitness", "sharpe", "turnover", "returns", "drawdown", "margin", "time")
_LONGEST_PAUSE = 366 * 86400.0
SOURCES = ("brain", "panel", "synthetic", "stand-in")


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", metavar="FILE", help="The configuration file; default: that of the last start.")
@click.option("--lane", metavar="NAME", help="The lane, where fleet.toml has [[lane]] entries.")
@click.option("--debug", is_flag=True, help="Print the log of the command, and tracebacks.")
@click.pass_context
def main(ctx: click.Context, config: str | None, lane: str | None, debug: bool) -> None:
    """Watch a fleet and control it.

    The fleet is the one in FLEET_HOME, by default `var` beside this program. With lanes, `status`, `watch`, `history`,
    `report`, `doctor`, `pause` and `resume` concern all of them. Other commands need --lane.

    Exit codes: 0 done; 1 failed; 2 usage, configuration, or no fleet here; 3 saved until supervisord runs again.

    Shell completion: eval "$(_FLEET_CLI_PY_COMPLETE=bash_source fleet_cli.py)" for a fleet_cli.py on the PATH.
    """
    ctx.obj = Chosen(config, lane)
    ctx.color = colour()
    if debug:
        from fleet.runtime.logging import configure_command

        configure_command(debug=True)


@main.command()
@click.option("--check", is_flag=True, help="Exit 0 while all is well, else 1 with the reasons in one line.")
@lanes_command
def status(fleet: Fleet, as_json: bool, check: bool) -> None:
    """Show what the fleet is doing; with lanes a line for each."""
    from cli.parallel_checks import LONG_PATIENCE, PATIENCE

    patience = LONG_PATIENCE if check else PATIENCE
    if fleet.has_lanes:
        _status_of_lanes(fleet, patience, as_json=as_json, check=check)
        return
    from cli.status import collect_status

    row = collect_status(fleet, within=patience)
    if check:
        _check([f"{fault['part']}: {fault['detail']}" for fault in row["faults"]], as_json=as_json)
        return
    if as_json:
        print_json(row)
        return
    from cli.render import status_lines

    show(status_lines(row, time.time()))


def _status_of_lanes(fleet: Fleet, patience: float, *, as_json: bool, check: bool) -> None:
    from cli.lanes import fleet_reasons, lane_lines, statuses

    rows = statuses(fleet, patience=patience)
    if check:
        _check(fleet_reasons(rows), as_json=as_json)
    elif as_json:
        print_json({"lanes": rows})
    else:
        show(lane_lines(rows, time.time()))


def _check(reasons: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": not reasons, "reasons": reasons})
    else:
        click.echo("; ".join(reasons) or "ok")
    if reasons:
        click.get_current_context().exit(1)


@main.command()
@click.option(
    "--interval", type=FiniteRange(0.1, 86400), default=1.0, show_default=True, help="Seconds between views."
)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1),
    help="Number of views; default: until Ctrl-C, or one into a pipe.",
)
@lanes_command
def watch(fleet: Fleet, interval: float, count: int | None, as_json: bool) -> None:
    """Show status and events live; into a pipe, print --count views or lines of JSON."""
    from cli.watch.plain import redraw, view

    terminal = sys.stdout.isatty() and not as_json
    try:
        if terminal and not is_dumb():
            if count is None and _full_screen(fleet, interval):
                return
            redraw(fleet, interval=interval, count=count, colour=colour() is None)
            return
        # A terminal without a cursor to move gets one view below the other.
        for number in itertools.count() if terminal and count is None else range(count or 1):
            if number:
                time.sleep(interval)
            if as_json:
                _watch_line(fleet)
            else:
                click.echo("\n".join([*view(fleet), ""] if terminal else view(fleet)))
    except KeyboardInterrupt:
        pass


def _watch_line(fleet: Fleet) -> None:
    from cli.status import collect_status

    if fleet.has_lanes:
        from cli.lanes import statuses

        print_json({"lanes": statuses(fleet)}, indent=None)
    else:
        print_json(collect_status(fleet), indent=None)


def _full_screen(fleet: Fleet, interval: float) -> bool:
    """Run the full view until it is ended; return False for lanes, and where its package or terminal is missing."""
    if fleet.has_lanes:
        return False
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        from cli.watch.app import WatchApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"textual", "rich"}:
            raise
        return False
    WatchApp(fleet, interval=interval, actions=list(main.commands)).run()
    return True


def _switch(fleet: Fleet, kind: str, *, wait: bool, as_json: bool) -> None:
    from fleet.policy.facts import Command
    from fleet.policy.state import SwitchKind

    _outcome(_operator(fleet).switch(Command(SwitchKind(kind)), wait=wait), as_json=as_json)


def _operator(fleet: Fleet) -> Any:
    import signal

    from cli.operator import OperatorCommands
    from fleet.runtime.logging import configure_command

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends a trial as Ctrl-C does
    if not click.get_current_context().find_root().params["debug"]:
        configure_command()
    return OperatorCommands(fleet, bar=pull_bar())


def _outcome(outcome: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(outcome))
    else:
        click.echo(f"{outcome.model} (rung {outcome.index}): {outcome.sentence}")
    if outcome.saved:
        click.get_current_context().exit(EXIT_SAVED)


_WAIT = click.option("--wait", is_flag=True, help="Wait until the new model has answered once.")


@main.command()
@_WAIT
@fleet_command
def reset(fleet: Fleet, wait: bool, as_json: bool) -> None:
    """Go to the top of the ladder; clears the count, pin and ceiling."""
    _switch(fleet, "reset", wait=wait, as_json=as_json)


@main.command()
@_WAIT
@fleet_command
def downgrade(fleet: Fleet, wait: bool, as_json: bool) -> None:
    """Go one rung down, to a smaller model."""
    _switch(fleet, "downgrade", wait=wait, as_json=as_json)


@main.command()
@_WAIT
@fleet_command
def upgrade(fleet: Fleet, wait: bool, as_json: bool) -> None:
    """Go one rung up, to a larger model, if it can be loaded."""
    _switch(fleet, "upgrade", wait=wait, as_json=as_json)


@main.command()
@click.argument("target", metavar="MODEL|INDEX")
@click.option("--pin", is_flag=True, help="Stay there: no automatic switches until `unpin`.")
@_WAIT
@fleet_command
def use(fleet: Fleet, target: str, pin: bool, wait: bool, as_json: bool) -> None:
    """Go to a named rung, if its model can be loaded."""
    _outcome(_operator(fleet).use(target, pin=pin, wait=wait), as_json=as_json)


@main.command()
@fleet_command
def unpin(fleet: Fleet, as_json: bool) -> None:
    """Lift a pin and a ceiling; automatic switches go on."""
    _outcome(_operator(fleet).unpin(), as_json=as_json)


@main.command()
@click.argument("duration", metavar="[DURATION]", required=False)
@lanes_command
def pause(fleet: Fleet, duration: str | None, as_json: bool) -> None:
    """Free the GPU, for a while such as 2h, or until `resume`; with lanes all GPUs."""
    seconds = None if duration is None else _duration(duration)
    _on_each_lane(fleet, lambda operator: operator.pause(seconds), as_json=as_json)


def _on_each_lane(fleet: Fleet, act: Any, *, as_json: bool) -> None:
    """Act on the lane, or on each lane of the fleet. Exit 1 if a lane refuses, 3 if a command is saved only."""
    if not fleet.has_lanes:
        _outcome(act(_operator(fleet)), as_json=as_json)
        return
    from cli.lanes import for_each_lane

    done, failed = for_each_lane(fleet, lambda lane: act(_operator(lane)))
    if as_json:
        print_json({"lanes": {lane: asdict(one) for lane, one in done.items()}})
    else:
        for lane, one in done.items():
            click.echo(f"{lane}: {one.model} (rung {one.index}): {one.sentence}")
    for lane, error in failed.items():
        click.echo(f"Error: {lane}: {error.message}\nHint: {error.hint}", err=True)
    if failed or any(one.saved for one in done.values()):
        click.get_current_context().exit(1 if failed else EXIT_SAVED)


def _duration(text: str) -> float:
    from fleet.runtime.errors import ConfigError
    from fleet.runtime.units import parse_duration

    hint = 'Write a duration such as "30m", "2h" or "1d", up to a year; without one the pause lasts until `resume`.'
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no duration", hint=hint) from error
    if not 1.0 <= seconds <= _LONGEST_PAUSE:
        raise ConfigError(f"{text!r} is no duration of a pause", hint=hint)
    return seconds


@main.command()
@lanes_command
def resume(fleet: Fleet, as_json: bool) -> None:
    """End a pause: take the GPU back; with lanes all GPUs."""
    _on_each_lane(fleet, lambda operator: operator.resume(), as_json=as_json)


_SINCE = click.option(
    "--since", metavar="TIME", help='From then on: a while ago ("2h", "7d") or a date (UTC).'
)


@main.command()
@click.option("-n", "--last", type=click.IntRange(1), default=50, show_default=True, help="How many events.")
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Only these, such as incident or switch."
)
@_SINCE
@lanes_command
def history(fleet: Fleet, last: int, kinds: tuple[str, ...], since: str | None, as_json: bool) -> None:
    """Show incidents and switches, newest last."""
    from cli.render import select

    if fleet.has_lanes:
        _history_of_lanes(fleet, last, kinds, since, as_json=as_json)
        return
    events = select(fleet.home.history, last=last, kinds=kinds, since=since, now=time.time())
    if as_json:
        print_json([event.row() for event in events])
        return
    from cli.render import history_lines

    show(history_lines(events) if events else ["no such event yet"])


def _history_of_lanes(
    fleet: Fleet, last: int, kinds: tuple[str, ...], since: str | None, *, as_json: bool
) -> None:
    from cli.lanes import lane_event_lines, lane_events, of_each_lane
    from cli.render import select

    now = time.time()
    found = of_each_lane(
        fleet, lambda lane: select(lane.home.history, last=last, kinds=kinds, since=since, now=now)
    )
    events = lane_events(found, last)
    if as_json:
        print_json([{**event.row(), "lane": lane} for lane, event in events])
    else:
        show(lane_event_lines(events) if events else ["no such event yet"])


@main.command()
@_SINCE
@lanes_command
def report(fleet: Fleet, since: str | None, as_json: bool) -> None:
    """Compare the models: time in use, incidents, speed, memory, valid alphas, Sharpe."""
    from cli.lanes import of_each_lane
    from cli.report import collect_report
    from fleet.runtime.clock import parse_since

    start = 0.0 if since is None else parse_since(since, time.time())
    rows = of_each_lane(fleet, lambda lane: collect_report(lane, since=start))
    if as_json:
        print_json({"lanes": rows} if fleet.has_lanes else next(iter(rows.values())))
        return
    from cli.report_table import report_lines

    for lane, row in rows.items():
        lines = [f"Lane {lane}:"] if fleet.has_lanes else []
        click.echo("\n".join([*lines, *report_lines(row, width())]))


@main.group(invoke_without_command=True)
@click.option("--sort", type=click.Choice(SORTS), default="fitness", show_default=True, help="Best first.")
@click.option("--reverse", is_flag=True, help="Worst first.")
@click.option(
    "-n", "--limit", type=click.IntRange(1), help="Number of alphas; default: 20, or all for an export."
)
@click.option("--model", help="Only alphas of this model.")
@click.option("--source", type=click.Choice(SOURCES), help="Only alphas evaluated on this source.")
@click.option("--kept/--not-kept", default=None, help="Only alphas that pass [generator] keep, or fail it.")
@click.option("--contains", metavar="TEXT", help="Only alphas whose expression contains TEXT.")
@_SINCE
@click.option("--min-fitness", type=FiniteRange(), help="At least this fitness.")
@click.option("--min-sharpe", type=FiniteRange(), help="At least this Sharpe ratio.")
@click.option("--max-turnover", type=FiniteRange(), help="At most this turnover.")
@click.option("--export", "path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write them to FILE.csv, FILE.json or FILE.parquet.")  # fmt: skip
@click.option("--diverse", type=click.IntRange(1, 60), metavar="N",
              help="The N of the best that add most to each other, by their daily PnL.")  # fmt: skip
@lane_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def alphas(
    ctx: click.Context,
    /,
    *,
    diverse: int | None,
    as_json: bool,
    path: Path | None,
    sort: str,
    reverse: bool,
    limit: int | None,
    since: str | None,
    contains: str | None,
    **wanted: Any,
) -> None:
    """Show the best alphas so far, or write them to a file; `alphas show ID` has all about one."""
    if ctx.invoked_subcommand is not None:
        return
    fleet = ctx.obj.fleet()
    from cli.alphas.listing import alpha_lines, alpha_rows, export, find_alphas, format_of
    from fleet.runtime.clock import parse_since
    from generator.storage.read import Filters

    if path is not None:
        format_of(path)
    when = None if since is None else parse_since(since, time.time())
    filters = Filters(text=contains, since=when, **wanted)
    if diverse is not None:
        _diverse(fleet, diverse, filters, as_json=as_json)
        return
    found = find_alphas(fleet, filters, sort=sort, reverse=reverse, limit=limit, export=path is not None)
    if path is not None:
        export(found, path)
    if as_json:
        print_json(alpha_rows(found))
    elif path is not None:
        click.echo(f"{len(found)} alphas written to {path}")
    else:
        show(alpha_lines(found, filtered=filters != Filters()))


@main.command()
@click.option("--test", is_flag=True, required=True, help="Send one notice to every place of [notify].")
@lane_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def notify(chosen: Chosen, /, as_json: bool, **_: bool) -> None:
    """Send a test notice to every place of [notify]; exit 1 if one does not take it."""
    import socket

    from fleet.clients.notices import notice_places, send_test
    from fleet.runtime.errors import ConfigError

    fleet = any_fleet(chosen.config, chosen.environ)  # before the first start too
    places = notice_places(fleet.settings.notify.urls, fleet.settings.notify.command)
    if not places:
        hint = 'Set urls = ["ntfy://TOPIC"] or a command under [notify] in fleet.toml.'
        raise ConfigError("[notify] names no place for notices", hint=hint)
    results = send_test(places, socket.gethostname(), time.time())
    if as_json:
        print_json(results)
    else:
        show([f"{one['place']}: {one['reason'] or 'delivered'}" for one in results])
    if any(one["reason"] for one in results):
        click.get_current_context().exit(1)


def _diverse(fleet: Fleet, count: int, filters: Any, *, as_json: bool) -> None:
    from cli.alphas.diverse import diverse_alphas, diverse_lines

    rows = diverse_alphas(fleet, count, filters)
    if as_json:
        print_json(rows)
    else:
        show(diverse_lines(rows))


@alphas.command("show")
@click.argument("number", metavar="ID", type=click.IntRange(1))
@lanes_command
def show_alpha(fleet: Fleet, number: int, as_json: bool) -> None:
    """Show one alpha: prompt, reply, tree, checks, parents, simulations."""
    from cli.alphas.details import detail_lines, find_alpha

    found = find_alpha(fleet, number)
    if as_json:
        print_json(found.row())
    else:
        show(detail_lines(found))


@main.command()
@lanes_command
def doctor(fleet: Fleet, as_json: bool) -> None:
    """Check every part, with a hint for each fault; exit 1 if there is one."""
    from cli.doctor import examine
    from cli.faults import Health

    if fleet.has_lanes:
        from cli.lanes import lane_findings, of_each_lane

        findings = lane_findings(fleet, of_each_lane(fleet, examine))
    else:
        findings = examine(fleet)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        from cli.render import finding_lines

        show(finding_lines(findings))
    if any(finding.health is Health.FAULT for finding in findings):
        click.get_current_context().exit(1)


main.add_command(ladder)
main.add_command(lanes)
main.add_command(scan)
