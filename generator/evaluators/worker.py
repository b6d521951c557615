"""A worker of a dask scheduler: evaluates the batches of generators until SIGTERM, and reconnects to a lost scheduler."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from pathlib import Path

from fleet.runtime.backoff import doubling_backoff
from fleet.runtime.errors import GeneratorError
from fleet.runtime.logging import fields, with_sentence
from fleet.runtime.units import Seconds
from generator.evaluators.cluster import INSTALL, cause_in_words, quiet_dask, security_of
from generator.evaluators.remote import Bench, serve_tasks
from generator.evaluators.shelf import PanelShelf

_CONNECT: Seconds = 10.0
_CLOSE: Seconds = 1.0
_RETRY: tuple[Seconds, Seconds] = (0.5, 10.0)

_log = logging.getLogger(__name__)


def serve(address: str, folder: Path, *, threads: int) -> None:
    """Serve the scheduler at an address until SIGTERM or SIGINT; `folder` keeps the panels.

    Raise GeneratorError if dask or its certificates are missing.
    """
    try:
        import distributed  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as error:
        raise GeneratorError(f"dask is not installed: {error}", hint=INSTALL) from error
    quiet_dask()
    logging.getLogger(distributed.__name__).propagate = False
    folder.mkdir(parents=True, exist_ok=True)
    serve_tasks(Bench(PanelShelf(folder), threads))
    security_of(address, "worker")
    asyncio.run(_serve(address))


async def _serve(address: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(_keep_serving(address))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError, TimeoutError):
        await asyncio.wait_for(serving, 2 * _CLOSE)
    _log.info("worker.ended")
    logging.shutdown()
    os._exit(0)  # the scheduler gives a batch in work to another worker


async def _keep_serving(address: str) -> None:
    failures = 0
    while True:
        try:
            await _session(address)
            failures = 0
        except Exception as error:  # noqa: BLE001  # foreign code on the network: reported and retried
            failures += 1
            if failures == 1:
                reason = cause_in_words(error)
                sentence = (
                    f"the dask scheduler {address} is away: {reason}; the worker joins it when it is back"
                )
                _log.warning("worker.scheduler_away", extra=with_sentence(sentence, reason=reason))
        await asyncio.sleep(doubling_backoff(_RETRY[0], failures + 1, most=_RETRY[1]))


async def _session(address: str) -> None:
    """Serve until the scheduler is gone."""
    from distributed import Worker  # noqa: PLC0415  # see `serve`

    worker = Worker(
        address,
        nthreads=1,
        name=f"{socket.gethostname()}-{os.getpid()}",
        security=security_of(address, "worker"),
        memory_limit=0,
        dashboard=False,
    )
    try:
        await asyncio.wait_for(worker.start(), _CONNECT)
        _log.info("worker.joined", extra=fields(scheduler=address, address=worker.address))
        await worker.finished()
        _log.info("worker.left", extra=fields(scheduler=address))
    finally:
        await asyncio.wait_for(worker.close(timeout=_CLOSE, executor_wait=False, nanny=False), 2 * _CLOSE)
