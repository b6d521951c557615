"""The connection to the workers of a dask scheduler, kept by its own thread.

A ready worker runs `python3 -m generator worker`, computes as this generator does, and has the panel. Only a ready
worker gets batches. Without a ready worker every batch fails at once, and the caller evaluates it.
"""

import asyncio
import contextlib
import logging
import operator
import pkgutil
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from fleet.runtime.clock import Clock
from fleet.runtime.errors import GeneratorError
from fleet.runtime.logging import with_sentence
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import printable
from generator.domain import ClusterState

if TYPE_CHECKING:
    from concurrent.futures import Future

    from distributed import Client
    from distributed.security import Security

    from generator.backtest.panel import Panel

_LOOK: Seconds = 1.0
_ANSWER: Seconds = 10.0
# The first batch of a worker compiles the kernels.
_BATCH: Seconds = 300.0
_TASK: Seconds = 60.0
_RETRY: Seconds = 5.0
_RETRY_WORKER: Seconds = 30.0
_TRIES = 20
_CERTIFICATES = {"ca-file": "tls_ca_file", "{role}.cert": "tls_{role}_cert", "{role}.key": "tls_{role}_key"}
INSTALL = "Install Model Fleet with its extra: pip install '.[dask]'"

_log = logging.getLogger(__name__)


class Cluster:
    """The connection. `submit`, `state` and `close` may be called by any thread."""

    def __init__(
        self,
        address: str,
        content: str,
        panel: "Panel",
        *,
        clock: Clock,
        report: Callable[[ClusterState], None],
    ) -> None:
        self._address = address
        self._content = content
        self._panel = panel
        self._clock = clock
        self._report = report
        self._loop = asyncio.new_event_loop()
        self._client: Client | None = None
        self._ready: set[str] = set()
        self._preparing: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._courses: set[asyncio.Task[str]] = set()
        self._state = ClusterState()
        self._main = self._loop.create_task(self._keep_connected())
        threading.Thread(target=self._run, name="dask", daemon=True).start()

    @property
    def state(self) -> ClusterState:
        """Return the state at the last check."""
        return self._state

    def submit(self, job: str) -> "Future[str]":
        """Send a job to the workers; the future has the answer's text, or fails when they are away."""
        return asyncio.run_coroutine_threadsafe(self._course(job), self._loop)

    def close(self) -> None:
        """End the connection; jobs that are under way fail."""
        self._loop.call_soon_threadsafe(self._main.cancel)

    # --- the thread

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        left = asyncio.all_tasks(self._loop)
        self._cancel(left)
        self._loop.run_until_complete(asyncio.wait(left, timeout=_LOOK) if left else asyncio.sleep(0))
        self._loop.close()

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._session()
            except GeneratorError as error:
                self._note(0, error.message, error.hint)
            except Exception as error:  # noqa: BLE001  # foreign code on a foreign answer: reported and retried
                reason = f"the dask scheduler {self._address} is away: {cause_in_words(error)}"
                self._note(0, reason, "Start it, or empty [generator] dask.")
            await asyncio.sleep(_RETRY)

    async def _session(self) -> None:
        """Use the scheduler until it is away."""
        connect, security = _dask(self._address, "client")
        async with connect(
            self._address,
            asynchronous=True,
            security=security,
            timeout=_ANSWER,
            set_as_default=False,
            name="model-fleet",
        ) as client:
            self._client = client
            try:
                while True:
                    present = set(await asyncio.wait_for(client.nthreads(), _ANSWER))
                    self._look(present)
                    await asyncio.sleep(_LOOK)
            finally:
                self._client = None
                self._ready.clear()
                self._refused.clear()
                self._cancel([*self._preparing.values(), *self._courses])

    def _look(self, present: set[str]) -> None:
        self._ready &= present
        now = self._clock.monotonic()
        for gone in self._refused.keys() - present:
            del self._refused[gone]
        for worker in present - self._ready - self._preparing.keys():
            if now >= self._refused.get(worker, ("", now))[1]:
                self._preparing[worker] = self._loop.create_task(self._prepared(worker))
        if self._ready:
            self._note(len(self._ready))
            return
        self._cancel([*self._courses])
        start = f"Start some by `python3 -m generator worker {self._address}`."
        if self._refused:
            reason, _ = next(iter(self._refused.values()))
            self._note(0, f"no worker of {len(present)} can be used: {reason}", start)
        elif not present:
            self._note(0, f"the dask scheduler {self._address} has no workers", start)
        elif self._state.workers:
            self._note(0, "its workers are being made ready", "They get the panel; this ends by itself.")

    def _note(self, workers: int, reason: str = "", hint: str = "") -> None:
        """Record the state, and report its changes."""
        before = self._state
        if (workers, reason) == (before.workers, before.reason):
            return
        since = before.since if bool(before.reason) == bool(reason) and before.since else self._clock.time()
        self._state = ClusterState(workers, reason, hint, since)
        self._report(self._state)
        if workers:
            sentence = f"{workers} dask workers evaluate variants"
            _log.info("dask.workers", extra=with_sentence(sentence, workers=workers))
        else:
            sentence = f"the local engine evaluates instead of dask workers: {reason}. {hint}"
            _log.warning("dask.away", extra=with_sentence(sentence, reason=reason))

    def _cancel(self, tasks: "Iterable[asyncio.Task[Any]]") -> None:
        for task in tasks:
            task.cancel()

    # --- a worker

    async def _prepared(self, worker: str) -> None:
        """Make a worker ready, or note why it cannot be used."""
        try:
            await self._prepare(worker)
            self._ready.add(worker)
            self._refused.pop(worker, None)
        except Exception as error:  # noqa: BLE001  # another machine's program: whatever it raises is its reason
            reason = f"{worker}: {cause_in_words(error)}"
            if self._refused.get(worker, ("", 0.0))[0] != reason:
                _log.warning("dask.worker_refused", extra=with_sentence(reason, worker=worker))
            self._refused[worker] = reason, self._clock.monotonic() + _RETRY_WORKER
        finally:
            self._preparing.pop(worker, None)

    async def _prepare(self, worker: str) -> None:
        from generator.evaluators.remote import VERSIONS  # noqa: PLC0415  # numpy: loaded by now
        from generator.evaluators.shelf import panel_parts  # noqa: PLC0415

        greeting = await self._call(worker, "greet", self._content)
        require_versions(greeting, VERSIONS)
        if greeting.get("has_panel") is True:
            return
        sent = 0
        for file, offset, data in panel_parts(self._panel):
            await self._call(worker, "receive_part", self._content, file, offset, data)
            sent += len(data)
        await self._call(worker, "finish_panel", self._content)
        sentence = f"sent the panel to the dask worker {worker}"
        _log.info("dask.panel_sent", extra=with_sentence(sentence, worker=worker, bytes=sent))

    async def _call(self, worker: str, task: str, *arguments: Any) -> Any:
        """Return the result of a task on one worker."""
        assert self._client is not None
        future = _sent(self._client, task, *arguments, workers=[worker], allow_other_workers=False)
        return await asyncio.wait_for(future, _TASK)

    # --- a batch

    async def _course(self, job: str) -> str:
        task = asyncio.current_task()
        assert task is not None
        self._courses.add(task)
        try:
            return await asyncio.wait_for(self._evaluated(job), _BATCH)
        finally:
            self._courses.discard(task)

    async def _evaluated(self, job: str) -> str:
        """Return the answer to a job.

        A worker that joined meanwhile may take the job and lack the panel: then send it once more.
        """
        from generator.evaluators.remote import LACKS_PANEL  # noqa: PLC0415

        for _ in range(_TRIES):
            if self._client is None or not self._ready:
                raise GeneratorError("no dask worker is ready")
            workers = sorted(self._ready)
            answer = await _sent(
                self._client, "evaluate_batch", job, workers=workers, allow_other_workers=True
            )
            if answer != LACKS_PANEL:
                return str(answer)
            await asyncio.sleep(_LOOK)
        raise GeneratorError("the dask workers lack the panel")


def _sent(
    client: "Client", task: str, *arguments: Any, workers: Sequence[str], allow_other_workers: bool
) -> Any:
    """Return the future of a task of `remote`.

    Only the worker resolves the task's name: the scheduler decodes its messages, and has no Model Fleet.
    """
    key = f"{task}-{uuid.uuid4().hex}"
    find = (pkgutil.resolve_name, f"generator.evaluators.remote:{task}")
    graph = {key: (operator.call, find, *arguments)}
    return client.get(
        graph, key, sync=False, workers=workers, allow_other_workers=allow_other_workers, retries=0
    )


def require_versions(greeting: object, ours: Mapping[str, int]) -> None:
    """Raise GeneratorError unless a worker computes as this generator does."""
    theirs = greeting if isinstance(greeting, Mapping) else {}
    other = [
        f"{name} {theirs.get(name)!r}, here {value}"
        for name, value in ours.items()
        if theirs.get(name) != value
    ]
    if other:
        raise GeneratorError(
            f"it is of another version ({printable('; '.join(other))}): install the same release on both machines"
        )


def cause_in_words(error: BaseException) -> str:
    """Return why a scheduler or worker cannot be used, or has lost a batch. The error of a time-out has no text."""
    message = error.message if isinstance(error, GeneratorError) else str(error)
    if not message and isinstance(error, TimeoutError):
        message = "no answer in time"
    if not message and isinstance(error, CancelledError):
        message = "the connection ended"
    return printable(message or type(error).__name__)


def _dask(address: str, role: str) -> "tuple[type[Client], Security | None]":
    """Return dask's client, and its certificates for a tls:// address; raise GeneratorError if one is missing."""
    try:
        from distributed import Client  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as error:
        raise GeneratorError(f"dask is not installed: {error}", hint=INSTALL) from error
    quiet_dask()
    return Client, security_of(address, role)


def security_of(address: str, role: str) -> "Security | None":
    """Return the certificates that dask's configuration names for a `client` or `worker`; None for tcp://."""
    from distributed.security import Security  # noqa: PLC0415  # an extra

    if not address.startswith("tls://"):
        return None
    security = Security(require_encryption=True)
    names = {key.format(role=role): attribute.format(role=role) for key, attribute in _CERTIFICATES.items()}
    missing = [key for key, attribute in names.items() if not getattr(security, attribute)]
    if missing:
        settings = ", ".join(f"distributed.comm.tls.{key}" for key in missing)
        raise GeneratorError(
            f"{address} needs certificates, and dask's configuration has no {settings}",
            hint="Write them into ~/.config/dask/fleet.yaml; docs/scale.md shows the file.",
        )
    return security


def quiet_dask() -> None:
    """Suppress dask's own log lines: their content is reported as events here."""
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
