"""The command `ladder`."""

import os

import click

from cli.console import print_json, show
from fleet.runtime.units import Bytes, parse_size


def _size(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Bytes | None:
    """Return the bytes of a size, None for none; click reports what is no size."""
    if value is None:
        return None
    try:
        size = parse_size(value)
    except ValueError:
        size = 0
    if size <= 0:
        raise click.BadParameter(f'{value!r} is no size; write it as "8GB"', ctx, parameter)
    return size


@click.command()
@click.option(
    "--suggest",
    is_flag=True,
    help="Print a ladder for the machine's GPU memory, to be pasted into fleet.toml.",
)
@click.option("--vram", callback=_size, metavar="SIZE", help="Suggest for so much GPU memory, such as 8GB.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def ladder(config: str | None, suggest: bool, vram: Bytes | None, as_json: bool) -> None:
    """Show the ladder and what each rung needs, or suggest one for the card."""
    from cli.planning import current
    from cli.planning import suggest as suggesting
    from cli.planning.memory import KnownMemory, gpu_memory
    from cli.target import any_fleet

    fleet = any_fleet(config, os.environ)
    if not suggest and vram is None:
        rows = current.rows(fleet.rules)
        if as_json:
            print_json(rows)
        else:
            show(current.lines(rows))
        return
    memory = KnownMemory(vram, "--vram") if vram is not None else gpu_memory(fleet.home)
    ollama = None if fleet.standin else fleet.ollama()
    found = suggesting.suggest(memory, suggesting.candidates_of(ollama))
    if as_json:
        print_json(suggesting.to_json(found))
    else:
        click.echo(suggesting.to_toml(found))
