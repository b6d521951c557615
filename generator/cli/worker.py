"""`python3 -m generator worker`: evaluates variants for generators, as a worker of a dask scheduler."""

import os

import click

from fleet.config.network import check_dask_address
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import find_home
from fleet.runtime.logging import configure


@click.command()
@click.argument("address", metavar="ADDRESS")
@click.option(
    "--threads", default=2, show_default=True, type=click.IntRange(1, 256), help="Threads of the engine."
)
def worker(address: str, *, threads: int) -> None:
    """Evaluate variants for the generators of a dask scheduler, such as tls://HOST:8786, until SIGTERM.

    Panels stay in the home, by their content. Off this machine the address begins with tls://, with certificates in
    dask's own configuration. A generator uses workers of its own release alone.
    """
    try:
        check_dask_address(address)
    except ValueError as error:
        raise ConfigError(
            f"{address} is no scheduler's address: {error}", hint="docs/scale.md shows both."
        ) from error
    configure()
    from generator.evaluators.worker import serve  # noqa: PLC0415  # numba: --help stays fast

    serve(address, find_home(os.environ).path / "panels", threads=threads)
