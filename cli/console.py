"""Output of the commands: errors with hint and exit code, JSON, folded lines, progress bars."""

import errno
import functools
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from shutil import get_terminal_size
from typing import Any

import click

from cli.target import Fleet, find_fleet
from fleet.runtime.errors import ConfigError, FleetError

EXIT_SAVED = 3
_BAR = 24


def is_dumb() -> bool:
    """Return True for a terminal that knows no control codes."""
    return os.environ.get("TERM", "dumb") == "dumb"


def colour() -> bool | None:
    """Return False where the environment asks for no colours, else None: a terminal gets colours, a pipe none."""
    return False if is_dumb() or os.environ.get("NO_COLOR") else None


class Root(click.Group):
    """The group of commands. It prints an error as a sentence with a hint, and exits with the error's code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a traceback is shown only with --debug."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(
                errors="backslashreplace"
            )  # as standard error: a terminal may lack a character
        try:
            return super().invoke(ctx)
        except FleetError as error:
            _show_error(ctx, error.message, error.hint)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError, KeyboardInterrupt):
            raise
        except ModuleNotFoundError:  # fleet_cli.py names the remedy
            raise
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            _show_error(ctx, f"{name}{error.strerror or error}", _hint(error))
            ctx.exit(1)
        except Exception as error:  # noqa: BLE001  # top of the program: an unforeseen error becomes a sentence
            hint = "this is a fault of Model Fleet; --debug shows where it happened."
            _show_error(ctx, f"{type(error).__name__}: {error}", hint)
            ctx.exit(1)


def _hint(error: OSError) -> str:
    """Return the remedy of a failed system call."""
    if isinstance(error, PermissionError):
        return "Run the command as the user who may use that file; one user runs a whole fleet."
    if error.errno in {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}:
        return "Correct the path; FLEET_HOME names the home, and fleet.toml other files."
    return "Is there room on the disk, and may this user write there?"


def _show_error(ctx: click.Context, message: str, hint: str) -> None:
    if ctx.params.get("debug"):
        import traceback  # noqa: PLC0415  # only then

        click.echo(traceback.format_exc(), err=True, nl=False)
    click.echo(f"{click.style('Error:', fg='red')} {message}", err=True)
    if hint:
        click.echo(f"Hint: {hint}", err=True)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The fleet that a command line names: a configuration file, and a lane."""

    config: str | None = None
    lane: str | None = None

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment, with the lane that the command line names in place of its own."""
        return {**os.environ, **({} if self.lane is None else {"FLEET_LANE": self.lane})}

    def fleet(self) -> Fleet:
        """Return the fleet or the lane; raise FleetError."""
        return find_fleet(self.config, self.environ)


def _choose_lane(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.obj = replace(ctx.obj or Chosen(), lane=value)


lane_option = click.option(
    "--lane",
    metavar="NAME",
    expose_value=False,
    callback=_choose_lane,
    help="The lane, where fleet.toml has [[lane]] entries.",
)
"""The option of every command, also accepted before the command's name."""


def fleet_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command its fleet, `--lane` and `--json`. In a fleet with lanes it is refused without a lane."""

    def one(fleet: Fleet, **options: Any) -> None:
        if fleet.has_lanes:
            lanes = [lane.home.lane for lane in fleet.lanes()]
            raise ConfigError(
                f"this fleet has the lanes {', '.join(lanes)}, and the command acts on one of them",
                hint=f"Name it: --lane {lanes[0]}",
            )
        function(fleet, **options)

    return lanes_command(functools.update_wrapper(one, function))


def lanes_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command its fleet, `--lane` and `--json`; without a lane it acts on all of them."""

    @lane_option
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_obj
    @functools.wraps(function)
    def command(chosen: Chosen, /, **options: Any) -> None:
        function(chosen.fleet(), **options)

    return command


def print_json(row: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON, on one line without `indent`."""
    click.echo(json.dumps(finite_json(row), indent=indent))


def finite_json(value: object) -> object:
    """Return a value with null for NaN and infinities, which JSON lacks."""
    if isinstance(value, dict):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(lines: list[str]) -> None:
    """Print lines, folded at the width of a terminal."""
    if sys.stdout.isatty():
        from cli.render import folded  # noqa: PLC0415

        lines = [folded(line, width()) for line in lines]
    click.echo("\n".join(lines))


def width() -> int:
    """Return the width of a terminal's lines; a pipe's have no limit."""
    return get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def pull_bar() -> Callable[[Any], None] | None:
    """Return a function that draws the progress of a pull; None where no line can be redrawn."""
    if not can_redraw():
        return None

    def draw(watch: Any) -> None:
        share = min(1.0, watch.done / watch.total) if watch.total else 0.0
        bar = "#" * round(_BAR * share)
        redraw_line(f"[{bar:.<{_BAR}}] {share:4.0%}  {watch.line(time.monotonic())}  {watch.status}")
        if watch.status == "success":
            redraw_line("")

    return draw


def can_redraw() -> bool:
    """Return True if standard error is a terminal on which a line can be replaced."""
    return sys.stderr.isatty() and not is_dumb()


def redraw_line(line: str) -> None:
    """Replace the last line. click.echo would strip the control codes as colours."""
    sys.stderr.write(f"\r\x1b[K{line[: get_terminal_size().columns - 1]}")
    sys.stderr.flush()
