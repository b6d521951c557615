"""The threads of mining and what lies between them.

    askers (max_concurrent) ── finished calls ──▶ intake ── new candidates ──▶ evaluation
              ▲                                      │                            │
              └───── gate: pace, pause, room ◀───────┴────────── backlog ─────────┘

Neither queue has a bound of its own, so that nobody who finished something waits to hand it on; the gate lets
no call begin while too much is waiting.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from generator.context import Shared
from generator.llm.throttle import Gate, GateView
from generator.llm.worker import Asker

if TYPE_CHECKING:
    from generator.workers.evaluate import Evaluation

_log = logging.getLogger(__name__)


class Pipeline:
    """Starts and ends the threads. `broken`: one of them ended by an error, and the program has to."""

    def __init__(
        self, shared: Shared, *, gate: Gate, stopping: threading.Event, wake: Callable[[], None]
    ) -> None:
        self._shared = shared
        self._gate = gate
        self._stopping = stopping
        self._wake = wake
        self._evaluations: Sequence[Evaluation] = ()
        self.broken = False

    def start_asking(self, asker: Asker, threads: int) -> None:
        """Start the threads that call Ollama."""
        for number in range(threads):
            self.start(f"ask-{number}", asker.run)

    def start_evaluating(self, evaluations: "Sequence[Evaluation]") -> None:
        """Start what evaluates."""
        self._evaluations = evaluations
        for number, evaluation in enumerate(evaluations):
            self.start(f"evaluate-{number}", evaluation.run)

    def start(self, name: str, run: Callable[[], None]) -> None:
        """Start a thread whose failure is the program's."""
        threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True).start()

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception:  # noqa: BLE001  # the top of a thread: told, and the program ends to be started again
            _log.exception("thread.failed", extra=fields(thread=threading.current_thread().name))
            self.broken = True
            self._wake()

    def view(self) -> GateView:
        """Return what is in flight."""
        return self._gate.view()

    def stop(self, patience: Seconds) -> bool:
        """End within `patience`: cut what is in flight, store what is finished; tell whether all was stored.

        Threads that wait for the network, import or evaluate are not waited for: they have nothing to store.
        """
        deadline = self._shared.clock.monotonic() + patience
        self._stopping.set()
        self._gate.close()
        self._shared.finished.close()
        self._shared.waiting.close()
        stored = self._shared.finished.settle(patience)
        for evaluation in self._evaluations:
            stored = evaluation.settle(max(0.0, deadline - self._shared.clock.monotonic())) and stored
        return stored
