"""The monitor's loop on scripted sources: batches given by the test, no Ollama, no supervisord."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleet.clients.ollama import Ollama
from fleet.config.schema import PolicySettings, Settings
from fleet.policy.state import FleetState
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import Home
from monitor.ingest import LOG, SIGNALS
from monitor.loop import Monitor
from monitor.sources.base import Back, Batch, Cursor, Item, LogLine, LogSource
from state.store import read_state
from tests.reference.ollama_log import DETECTOR

POLICY = replace(PolicySettings(), threshold=100_000, check_interval=1.0)


@dataclass
class Scripted:
    """A source that gives out batches, then waits for its end."""

    batches: Sequence[Batch]
    name: str = "scripted:log"
    closed: threading.Event = field(default_factory=threading.Event)

    def items(self, cursor: Cursor | None = None) -> Iterator[Item]:
        done = int(str(cursor["at"])) if cursor else 0
        yield Back()
        for batch in self.batches:
            if int(str(batch.cursor["at"])) > done:
                yield batch
        self.closed.wait()

    def close(self) -> None:
        self.closed.set()


def batches(texts: Sequence[str], size: int) -> list[Batch]:
    starts = range(0, len(texts), size)
    lines = [tuple(LogLine(text) for text in texts[start : start + size]) for start in starts]
    return [Batch(part, {"at": number}) for number, part in enumerate(lines, start=1)]


def monitor_on(
    folder: Path,
    log: Sequence[Batch] | LogSource = (),
    calls: Sequence[Batch] | LogSource = (),
    *,
    policy: PolicySettings = POLICY,
) -> Monitor:
    """Return a monitor on scripted sources, without an Ollama and a supervisord."""
    home = Home(folder / "home")
    home.create()
    given = {LOG: log, SIGNALS: calls}

    def source(origin: str) -> LogSource:
        one = given[origin]
        return Scripted(one, f"scripted:{origin}") if isinstance(one, Sequence) else one

    return Monitor(
        home=home,
        settings=replace(Settings(), policy=policy),
        ollama=Ollama("http://127.0.0.1:9"),
        open_source=source,
        detector=DETECTOR,
        clock=SystemClock(),
    )


@contextlib.contextmanager
def following(
    folder: Path,
    log: Sequence[Batch] | LogSource = (),
    calls: Sequence[Batch] | LogSource = (),
    *,
    policy: PolicySettings = POLICY,
    monitor: Monitor | None = None,
) -> Iterator[Home]:
    """Run the loop in a thread, by default of a monitor on these sources."""
    running = monitor or monitor_on(folder, log, calls, policy=policy)
    thread = threading.Thread(target=running.run, name="loop")
    thread.start()
    try:
        yield Home(folder / "home")
    finally:
        running.stop()
        thread.join(timeout=30)
    assert not thread.is_alive()


def read_until(home: Home, *, log: int = 0, calls: int = 0, seconds: float = 30.0) -> FleetState:
    """Wait until so many batches are written."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state = read_state(home)
        at = {key: value["at"] for key, value in state.cursors.items()} if state else {}
        if state is not None and at.get(LOG, 0) >= log and at.get(SIGNALS, 0) >= calls:
            return state
        time.sleep(0.02)
    raise AssertionError(f"read to {at}")
