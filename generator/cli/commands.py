"""The generator's command line: `schema`, `check`, `evaluate`, `vary`, `panel`, `refresh`, `worker` and `run`.

Results go to standard output, errors with a hint to standard error. Exit codes: 0 success · 1 a wrong expression
or a failure · 2 wrong usage or configuration.
"""

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from fleet.runtime.errors import FleetError
from generator.cli.account_lists import Lists, account_lists
from generator.cli.evaluate import FILE, evaluate
from generator.cli.expression_text import ExpressionCommand, error_row, error_sentence, expressions_of
from generator.cli.panel import panel
from generator.cli.worker import worker
from generator.language import ExpressionError, build_schema, read
from generator.language.check import brain_refusals, operator_names
from generator.llm.prompt import DEPTH

_LATE = ("refresh", "vary")
_DEPTH = click.IntRange(1, 16)
_COUNT = click.IntRange(1, 100)


class _Group(click.Group):
    """Prints a FleetError of a command with its hint, and exits with its exit code.

    `refresh` and `vary` are imported on use: importing BRAIN's client and the pool takes time.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LATE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _LATE:
            command: click.Command = getattr(import_module(f"generator.cli.{cmd_name}"), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FleetError as error:
            click.echo(f"Error: {error.message}", err=True)
            if error.hint:
                click.echo(f"Hint: {error.hint}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # The reader has closed the pipe. The interpreter flushes stdout at exit and would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Mine alphas (the default), print the reply schema, check, evaluate or vary expressions, split a panel, fetch lists."""


@cli.command()
def run() -> None:
    """Mine alphas until SIGTERM; the default without a command."""
    from generator.service import run as mine  # noqa: PLC0415  # slow to import, and only needed here

    mine(os.environ)


@cli.command()
@click.option("--depth", default=DEPTH, show_default=True, type=_DEPTH, help="Maximum nesting of operators.")
@click.option("--count", default=2, show_default=True, type=_COUNT, help="Expressions in one reply.")
def schema(depth: int, count: int) -> None:
    """Print the `format` of a request: the JSON schema of the replies."""
    lists = account_lists()
    lists.report()
    click.echo(json.dumps(build_schema(lists.catalogue, count=count, depth=depth), separators=(",", ":")))


@cli.command(cls=ExpressionCommand)
@click.argument("expressions", nargs=-1, metavar="EXPR...")
@FILE
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def check(ctx: click.Context, expressions: Sequence[str], *, files: Sequence[Path], as_json: bool) -> None:
    """Parse and type-check expressions; `-` reads standard input.

    In standard input and files, an alpha may take several lines; a `;` or an empty line ends it. An expression
    that begins with `-` must follow `--`.
    """
    lists = account_lists()
    lists.report()
    wrong = False
    for text in expressions_of(expressions, files=files):
        row = _checked(text, lists)
        wrong = wrong or "error" in row
        click.echo(json.dumps(row) if as_json else _sentence(row))
    ctx.exit(1 if wrong else 0)


cli.add_command(evaluate)
cli.add_command(panel)
cli.add_command(worker)


def _checked(text: str, lists: Lists) -> dict[str, Any]:
    try:
        alpha = read(text, lists.readable)
    except ExpressionError as error:
        return {"expression": text, "error": error_row(error)}
    row: dict[str, Any] = {"expression": text, "canonical": alpha.expression, "digest": alpha.digest}
    notes = brain_refusals(alpha.tree, lists.readable)
    rare = sorted(operator_names(alpha.tree) - lists.catalogue.operators.keys())
    if rare:
        notes.append(f"only some accounts have {', '.join(rare)}")
    if brain_only := sorted(operator_names(alpha.tree) - _computed()):
        notes.append(f"BRAIN alone evaluates {', '.join(brain_only)}: a backtest on a panel cannot")
    return {**row, "notes": notes} if notes else row


def _computed() -> frozenset[str]:
    """Return the names of the operators that a backtest on a panel computes."""
    from generator.backtest.plan import operators_more  # noqa: F401, PLC0415  # it adds to OPERATORS
    from generator.backtest.plan.operators import OPERATORS  # noqa: PLC0415  # --help stays fast

    return frozenset(OPERATORS)


def _sentence(row: dict[str, Any]) -> str:
    error = row.get("error")
    if error is not None:
        return error_sentence(row["expression"], error)
    return "\n  note: ".join([f"ok: {row['canonical']}", *row.get("notes", ())])
