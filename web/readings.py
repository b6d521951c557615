"""Readings of a fleet: its files, each parsed again only after a change, and Ollama's memory from a thread.

The thread sends `GET /api/ps` and asks for the cards' memory. Neither loads a model nor lengthens its stay in memory.
"""

import json
import logging
import threading
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from cli.target import Fleet
from fleet.clients.gpu import Card, cards
from fleet.clients.ollama import LoadedModel
from fleet.policy.recovery import outlook
from fleet.policy.state import FleetState
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.errors import FleetError
from fleet.runtime.heartbeat import WITH_HEARTBEAT, heartbeat_fault, read_heartbeat
from fleet.runtime.home import ROOT, Home, read_json
from fleet.runtime.logging import fields
from fleet.runtime.units import Bytes, Seconds
from fleet.runtime.untrusted import finite
from state.refit import fit_to_ladder
from state.store import read_state
from web.metrics import Reading

STALE_AFTER = 3
"""A value is stale after this many of its intervals."""

_log = logging.getLogger(__name__)
_LONGEST_INTERVAL: Seconds = 15.0
_PATIENCE: Seconds = 2.0
_MOST_SAMPLES = 7 * 24 * 240
_WRITE_EVERY = 20
_T = TypeVar("_T")


def version() -> str:
    """Return the version in pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        return str(tomllib.load(stream)["project"]["version"])


class CachedFile(Generic[_T]):
    """The parsed content of a file that writers replace; it is parsed again when inode, size or mtime has changed."""

    def __init__(self, path: Path, parse: Callable[[], _T]) -> None:
        self._path = path
        self._parse = parse
        self._known: tuple[object, _T] | None = None

    def read(self) -> _T:
        """Return the content; exceptions of `parse` pass through."""
        try:
            status = self._path.stat()
            found: object = (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            found = None
        if self._known is None or self._known[0] != found or found is None:
            self._known = (found, self._parse())
        return self._known[1]


@dataclass(frozen=True, slots=True)
class MemorySample:
    """GPU memory at a time: that of Ollama's models, and the cards' used and total memory; None if unknown."""

    time: float
    models: Bytes | None = None
    used: Bytes | None = None
    total: Bytes | None = None


@dataclass(frozen=True, slots=True)
class VramReading:
    """The report of Ollama and the cards at a time; `loaded` is None if Ollama did not answer."""

    time: float
    loaded: tuple[LoadedModel, ...] | None
    cards: tuple[Card, ...] | None

    def sample(self) -> MemorySample:
        """Return the reading's sums."""
        models = None if self.loaded is None else sum(one.size_vram for one in self.loaded)
        if not self.cards:
            return MemorySample(self.time, models)
        used, total = sum(card.used for card in self.cards), sum(card.total for card in self.cards)
        return MemorySample(self.time, models, used, total)


class MemoryWatch:
    """A thread that reads GPU memory at an interval and keeps a week of samples, also over restarts."""

    def __init__(self, fleet: Fleet, *, ask_cards: Callable[[], list[Card] | None] = cards) -> None:
        self._fleet = fleet
        self._ask_cards = ask_cards
        self._path = fleet.home.run / "web_memory.json"
        self.interval = min(fleet.settings.policy.check_interval, _LONGEST_INTERVAL)
        self._samples: deque[MemorySample] = deque(read_samples(self._path), maxlen=_MOST_SAMPLES)
        self._last: VramReading | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and write the samples."""
        self._stopping.set()
        self._write()

    def latest(self, now: float) -> VramReading | None:
        """Return the last reading, None if it is stale."""
        last = self._last
        fresh = last is not None and now - last.time <= STALE_AFTER * self.interval + _PATIENCE
        return last if fresh else None

    def samples(self) -> list[MemorySample]:
        """Return the samples, oldest first."""
        with self._lock:
            return list(self._samples)

    def _run(self) -> None:
        count = 0
        while not self._stopping.is_set():
            try:
                self._look()
                count += 1
                if count % _WRITE_EVERY == 0:
                    self._write()
            except Exception:  # noqa: BLE001  # atop the loop: an unforeseen fault is logged and tried again
                _log.exception("memory.broken")
            self._stopping.wait(self.interval)

    def _look(self) -> None:
        try:
            loaded = tuple(self._fleet.ollama().loaded(timeout=_PATIENCE))
        except FleetError:
            loaded = None
        try:
            found = self._ask_cards()
        except FleetError:
            found = None
        self._last = VramReading(time.time(), loaded, None if found is None else tuple(found))
        with self._lock:
            self._samples.append(self._last.sample())

    def _write(self) -> None:
        rows = [list(asdict(sample).values()) for sample in self.samples()]
        try:
            replace_text(self._path, json.dumps(rows) + "\n")
        except OSError as error:
            _log.warning("memory.not_written", extra=fields(reason=error.strerror))


def read_samples(path: Path) -> Iterable[MemorySample]:
    """Return the samples of a file; unreadable ones are left out."""
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    found = []
    for row in rows if isinstance(rows, list) else []:
        values = [finite(value) for value in row] if isinstance(row, list) else []
        if len(values) == len(MemorySample.__slots__) and values[0] is not None:
            amounts = [None if value is None else int(value) for value in values[1:]]
            found.append(MemorySample(values[0], *amounts))
    return found


class Readings:
    """The readings of one home."""

    def __init__(self, fleet: Fleet, memory: MemoryWatch) -> None:
        self.fleet = fleet
        self.memory = memory
        self._version = version()
        home = fleet.home
        self._state = CachedFile(home.state, lambda: _state(home))
        self._generator = CachedFile(home.generator_file, lambda: read_json(home.generator_file) or {})

    def state(self, now: float) -> FleetState | None:
        """Return the state fitted to the ladder; None if there is none or it cannot be read."""
        found = self._state.read()
        return None if found is None else fit_to_ladder(found, self.fleet.settings.ladder, now)

    def generator(self) -> dict[str, Any]:
        """Return the generator's heartbeat file, empty without one."""
        return self._generator.read()

    def now(self) -> Reading:
        """Return a reading for /metrics."""
        now = time.time()
        state, memory = self.state(now), self.memory.latest(now)
        beats = {name: read_heartbeat(self.fleet.home, name) for name in WITH_HEARTBEAT}
        times = {name: finite((beat or {}).get("heartbeat")) for name, beat in beats.items()}
        return Reading(
            now=now,
            version=self._version,
            ladder=self.fleet.settings.ladder,
            up=not heartbeat_fault(beats["monitor"], now),
            state=state,
            next_probe=None if state is None else outlook(state, self.fleet.rules).next,
            generator=self.generator(),
            heartbeats={name: beat for name, beat in times.items() if beat is not None},
            ollama_up=None if memory is None else memory.loaded is not None,
            loaded=None if memory is None else memory.loaded,
            cards=None if memory is None else memory.cards,
        )


def _state(home: Home) -> FleetState | None:
    try:
        return read_state(home)
    except FleetError:
        return None
