"""`python -m tests.processes.dask_scheduler SCHEME PORT`: a dask scheduler on loopback, until it is killed."""

import asyncio
import sys

from distributed import Scheduler


async def main(scheme: str, port: str) -> None:
    place = {"host": "127.0.0.1", "port": int(port), "dashboard_address": "127.0.0.1:0"}
    async with Scheduler(protocol=f"{scheme}://", **place) as scheduler:
        await scheduler.finished()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
