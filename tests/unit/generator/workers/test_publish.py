"""When the hopeful file is written."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from generator.reporting.events import MiningEvents
from generator.storage.hopeful import HopefulFile
from generator.storage.store import AlphaStore
from generator.workers.ingest import StorageRetry
from generator.workers.publish import Publisher
from tests.reference.manual_clock import StillClock
from tests.reference.stored_rows import finish


class Scene(StillClock):
    """A publisher whose waits are noted; each wait may keep another alpha, and the last one ends the run."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = folder / "hopeful_alphas.json"
        self.store = AlphaStore(f"sqlite:///{folder}/alphas.db", owner="here")
        self.stopping = threading.Event()
        events = MiningEvents(model="m", standin=False, synthetic=False, clock=self)
        self.publisher = Publisher(
            store=lambda: self.store,
            hopeful=HopefulFile(self.file),
            retry=StorageRetry(self.stopping, self, events),
            clock=self,
            stopping=self.stopping,
        )
        self.coming: list[str] = []
        self.seen: list[tuple[float, int]] = []

    def keep(self, name: str) -> None:
        finish(self.store, name, kept=True)
        self.publisher.notify()

    def count(self) -> int:
        return len(json.loads(self.file.read_text())) if self.file.exists() else 0

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.seen.append((seconds, self.count()))
        if self.coming:
            self.keep(self.coming.pop())
        else:
            self.stopping.set()
        return super().wait(event, seconds)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    with closing(made.store):
        yield made


def test_the_file_is_written_at_most_every_ten_seconds_and_at_the_end(scene: Scene) -> None:
    finish(scene.store, "left by a crash", kept=True)
    scene.coming = ["b", "a"]
    scene.publisher.run()
    assert scene.seen == [(10.0, 1), (10.0, 2), (10.0, 3)]
    scene.keep("c")
    scene.keep("d")
    scene.publisher.finish(1.0)
    assert scene.count() == 5
    assert scene.store.unpublished() == []


def test_a_large_file_is_written_less_often(scene: Scene) -> None:
    scene.file.write_text(json.dumps([{"expression": "x" * 50_000_000}]))
    finish(scene.store, "a", kept=True)
    scene.publisher.run()
    [(seconds, count)] = scene.seen
    assert count == 2
    assert 45.0 < seconds < 55.0


def test_a_write_that_would_take_longer_than_the_stop_is_left_to_the_next_start(scene: Scene) -> None:
    scene.publisher.run()
    scene.keep("a")
    scene.publisher.finish(0.0)
    assert scene.count() == 0
    assert len(scene.store.unpublished()) == 1
