"""`python -m tests.processes.dask_scheduler SCHEME PORT`: a dask scheduler on loopback, until it is killed."""

import asyncio
import sys
from pathlib import Path

from distributed import Scheduler

_ROOT = Path(__file__).resolve().parents[2]


async def main(scheme: str, port: str) -> None:
    place = {"host": "127.0.0.1", "port": int(port), "dashboard_address": "127.0.0.1:0"}
    async with Scheduler(protocol=f"{scheme}://", **place) as scheduler:
        await scheduler.finished()


if __name__ == "__main__":
    # A scheduler is dask's own program, on any machine: it cannot import Model Fleet.
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != _ROOT]
    asyncio.run(main(*sys.argv[1:]))
