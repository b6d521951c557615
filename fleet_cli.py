"""The command line of a fleet: look in and take over.

    python fleet_cli.py status | reset | downgrade | upgrade | use MODEL | unpin
    python fleet_cli.py history | scan FILE… | doctor

Results go to standard output, errors with a hint to standard error. Exit codes: 0 done, 1 it could not be
done, 2 usage or configuration or no fleet here, 3 saved and takes effect when supervisord runs again.
"""

import os
import sys
from pathlib import Path

_VENV = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
try:
    import click
except ModuleNotFoundError:
    # Asked with a Python that lacks the packages: `make setup` made one beside this file that has them.
    if _VENV.exists() and Path(sys.prefix).resolve() != _VENV.parent.parent:
        os.execv(_VENV, [str(_VENV), *sys.argv])  # noqa: S606  # the same program, by the right interpreter
    sys.exit("The packages of Model Fleet are not installed here; run `make setup` first.")

import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cli.fleet import Fleet, find_fleet
from fleet.errors import FleetError

EXIT_SAVED = 3


class Root(click.Group):
    """The group of commands; shows errors as a sentence with a hint, and their exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a traceback is shown only with --debug."""
        try:
            return super().invoke(ctx)
        except FleetError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"Error: {error.message}", err=True)
            if error.hint:
                click.echo(f"Hint: {error.hint}", err=True)
            ctx.exit(error.exit_code)
        except (BrokenPipeError, KeyboardInterrupt):
            raise
        except Exception as error:
            if ctx.params.get("debug") or isinstance(
                error, (click.ClickException, click.exceptions.Exit, click.Abort)
            ):
                raise
            click.echo(f"Error: {type(error).__name__}: {error}", err=True)
            click.echo("Hint: this is a fault of Model Fleet; --debug shows where it happened.", err=True)
            ctx.exit(1)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", metavar="FILE", help="The configuration file; else that of the last start.")
@click.option("--debug", is_flag=True, help="Show where an error happened.")
@click.pass_context
def main(ctx: click.Context, config: str | None, debug: bool) -> None:
    """Look into a fleet and take it over."""
    ctx.obj = config
    ctx.call_on_close(lambda: None)
    if "NO_COLOR" in os.environ:
        ctx.color = False
    _ = debug


def fleet_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command its fleet and `--json`."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_obj
    @functools.wraps(function)
    def command(config: str | None, /, **options: Any) -> None:
        function(find_fleet(config, os.environ), **options)

    return command


def _print_json(row: object) -> None:
    click.echo(json.dumps(row, indent=2))


@main.command()
@fleet_command
def status(fleet: Fleet, as_json: bool) -> None:
    """Show what the fleet is doing."""
    from cli.status import collect

    row = collect(fleet)
    if as_json:
        _print_json(row)
        return
    from cli.render import status_lines

    click.echo("\n".join(status_lines(row, time.time())))


def _switch(fleet: Fleet, kind: str, *, wait: bool, as_json: bool) -> None:
    from cli.switching import Operator
    from fleet.facts import Command
    from fleet.model import SwitchKind

    operator = Operator(fleet, bar=_pull_bar())
    _report(operator.switch(Command(SwitchKind(kind)), wait=wait), as_json=as_json)


def _report(outcome: Any, *, as_json: bool) -> None:
    if as_json:
        _print_json(asdict(outcome))
    else:
        click.echo(f"{outcome.model} (rung {outcome.index}): {outcome.sentence}")
    if outcome.saved:
        click.get_current_context().exit(EXIT_SAVED)


def _pull_bar() -> Callable[[Any], None] | None:
    """Return what shows a pull's progress to a person who looks; nothing where nobody does."""
    if not sys.stderr.isatty():
        return None

    def show(watch: Any) -> None:
        click.echo(f"\r\x1b[K{watch.status}: {watch.line(time.monotonic())}", err=True, nl=False)
        if watch.status == "success":
            click.echo(err=True)

    return show


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
    from cli.switching import Operator

    _report(Operator(fleet, bar=_pull_bar()).use(target, pin=pin, wait=wait), as_json=as_json)


@main.command()
@fleet_command
def unpin(fleet: Fleet, as_json: bool) -> None:
    """Lift a pin and a ceiling; automatic switches go on."""
    from cli.switching import Operator

    _report(Operator(fleet).unpin(), as_json=as_json)


@main.command()
@click.option("-n", "--last", type=click.IntRange(1), default=50, show_default=True, help="How many events.")
@fleet_command
def history(fleet: Fleet, last: int, as_json: bool) -> None:
    """Show incidents and switches, newest last."""
    from state.history import read_history

    events = read_history(fleet.home.history, last)
    if as_json:
        _print_json([event.row() for event in events])
        return
    from cli.render import history_lines

    click.echo("\n".join(history_lines(events)) if events else "nothing has happened yet")


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--explain", is_flag=True, help="Show each signal's line and the pattern that found it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a file.")
@click.pass_obj
def scan(config: str | None, files: tuple[str, ...], explain: bool, as_json: bool) -> None:
    """Show what the detector makes of logs, and what the policy would have done; - is standard input."""
    from cli.scan import scan_bar, scan_lines, scan_log, settings_for_scan

    settings = settings_for_scan(config, os.environ)
    failures = []
    for name in files:
        try:
            scanned = scan_log(name, settings, scan_bar(name))
        except FleetError as error:
            failures.append(error)
            continue
        if as_json:
            click.echo(json.dumps(scanned.report.to_json()))
        else:
            click.echo("\n".join(scan_lines(scanned, explain=explain)))
    for error in failures[:-1]:
        click.echo(f"Error: {error.message}\nHint: {error.hint}", err=True)
    if failures:
        raise failures[-1]


@main.command()
@fleet_command
def doctor(fleet: Fleet, as_json: bool) -> None:
    """Check every part, with a hint for each fault; exit 1 if there is one."""
    from cli.doctor import Health, examine

    findings = examine(fleet)
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        from cli.render import finding_lines

        click.echo("\n".join(finding_lines(findings)))
    if any(finding.health is Health.FAULT for finding in findings):
        click.get_current_context().exit(1)


if __name__ == "__main__":
    main(prog_name="fleet_cli.py")
