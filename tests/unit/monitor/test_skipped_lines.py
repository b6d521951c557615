"""What a line costs that raises: itself, counted and reported; and that one write is bounded, and its lock free."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from fleet.config.schema import SEED_LADDER
from fleet.policy.events import EventKind, sentence
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Skipped
from monitor import ingest
from monitor.detection import detector
from monitor.ingest import LOG, SIGNALS, Context
from monitor.loop import Monitor
from monitor.skipped_lines import absorb_each
from monitor.sources.base import MOST_LINES, Batch, LogLine
from monitor.sources.file.source import FileSource
from monitor.sources.thread import SourceThread, Stream
from state.codec import decode_state, default_state, encode_state
from state.history import read_history
from state.store import StateStore
from tests.reference.ollama_log import DETECTOR
from tests.sources.scripted import POLICY, Scripted, batches, following, read_until

NOW = 1_795_000_000.0
OOM = "CUDA error: out of memory"
POISON = "CUDA error: poison \x1b[31m" + "x" * 500
CONTEXT = Context(NOW, Rules(SEED_LADDER, POLICY), DETECTOR)


@pytest.fixture
def poisonous(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the grouper raise on the poison, as an unknown fault would."""
    real = ingest.advance

    def advance(state: object, seen: object, *rest: object) -> object:
        if getattr(seen, "text", "") == POISON:
            raise ZeroDivisionError("an unknown\nfault")
        return real(state, seen, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "advance", advance)


def each(*texts: str, origin: str = LOG, state: FleetState | None = None) -> FleetState:
    state = state or default_state(SEED_LADDER, NOW)
    return absorb_each(state, origin, [LogLine(text) for text in texts], CONTEXT, source="file:/x")


@pytest.mark.usefixtures("poisonous")
def test_a_line_that_raises_is_skipped_counted_and_reported_and_the_others_count() -> None:
    state = each(POISON, OOM, POISON)
    assert state.vram_error_count == 1
    assert state.skipped == Skipped(2, NOW)
    event = next(one for one in state.events if one.kind is EventKind.LINE_SKIPPED)
    assert (event.fields["source"], event.fields["lines"]) == ("file:/x", 2)
    assert event.fields["error"] == "ZeroDivisionError: an unknown fault"
    assert len(event.fields["line"]) == 200
    assert sentence(event).isprintable()
    assert "2 unreadable lines of file:/x" in sentence(event)
    assert each(POISON, state=state).skipped == Skipped(3, NOW)


def test_a_line_after_which_the_state_cannot_be_written_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    line = 'time=2026-11-23T22:22:42.331Z level=INFO source=types.go:32 msg="inference compute" library=CUDA total="8.0 GiB"'
    monkeypatch.setattr(detector, "_memory", lambda _: float("nan"))  # as without a guard of numbers
    state = each(line, OOM)
    assert state.skipped == Skipped(1, NOW)
    assert state.vram_error_count == 1
    assert decode_state(encode_state(state, NOW)).skipped == state.skipped


def test_what_is_no_call_is_skipped() -> None:
    state = each("{", '{"id": "1"}', origin=SIGNALS)
    assert state.skipped == Skipped(2, NOW)


def test_nothing_skipped_stays_out_of_the_file() -> None:
    assert "skipped" not in encode_state(default_state(SEED_LADDER, NOW), NOW)
    assert each(OOM).skipped is None


# The loop


@pytest.mark.usefixtures("poisonous")
def test_the_loop_lives_on_and_the_next_failure_counts(tmp_path: Path) -> None:
    log = batches([OOM, POISON, "CUDA error: out of memory, once more"], 1)
    with following(tmp_path, log, batches(["no call"], 1)) as home:
        state = read_until(home, log=3, calls=1)
        assert state.skipped is not None
        assert state.skipped.count == 2
        assert state.vram_error_count == 1
    kinds = [event.kind for event in read_history(home.history)]  # which follows the state's write
    assert kinds.count(EventKind.LINE_SKIPPED) == 2


def test_a_fault_of_the_loop_itself_is_logged_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, left = Monitor._write_batches, [None]

    def write(monitor: Monitor) -> None:
        if left:
            left.clear()
            raise ZeroDivisionError
        real(monitor)

    monkeypatch.setattr(Monitor, "_write_batches", write)
    with following(tmp_path, batches([OOM], 1)) as home, caplog.at_level(logging.ERROR):
        assert read_until(home, log=1).vram_error_count == 1
    assert "loop.broken" in caplog.text


@pytest.mark.parametrize("size", [1, 7, 400, 1000])
def test_a_backlog_is_written_in_parts_and_absorbed_without_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    free, held, written = [], [], list[int]()
    real, put = ingest.read_batch, StateStore.update

    def reading(
        state: FleetState, origin: str, lines: Sequence[LogLine], context: Context
    ) -> ingest.Findings:
        lock = FileLock(f"{tmp_path}/home/model_fleet_state.json.lock", timeout=0)
        try:
            with lock:
                free.append(len(lines))
        except TimeoutError:
            held.append(len(lines))
        return real(state, origin, lines, context)

    def update(store: StateStore, change: object) -> FleetState:
        written.append(sum(free) + sum(held))
        return put(store, change)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "read_batch", reading)
    monkeypatch.setattr(StateStore, "update", update)
    with following(tmp_path, batches(["[GIN] nothing"] * 3500, size)) as home:
        read_until(home, log=-(-3500 // size))
    steps = [after - before for before, after in zip(written, [*written[1:], sum(free)], strict=True)]
    assert max(steps) <= 2 * MOST_LINES  # absorbed again where another thread wrote meanwhile
    assert sum(free) + sum(held) >= 3500
    assert sum(free) > 2000  # elsewhere another thread wrote at that moment


def test_a_portion_is_at_most_one_writes_fill() -> None:
    thread = SourceThread(LOG, Scripted(()), None, lambda _: None)
    stream = Stream(thread, None, pending=batches(["x"] * 2500, 400))
    assert [len(batch.lines) for batch in stream.portion()] == [400, 400]
    stream = Stream(thread, None, pending=batches(["x"] * 3000, 3000))
    assert [len(batch.lines) for batch in stream.portion()] == [3000]


def test_a_file_is_read_in_batches_of_bounded_size_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{number}\n" for number in range(25_000)) + "cut")
    source = FileSource(path, since="start")
    found: list[str] = []
    for item in source.items():
        if isinstance(item, Batch):
            assert len(item.lines) <= MOST_LINES
            found += [line.text for line in item.lines]
            if len(found) == 25_000:
                source.close()
    assert found == [str(number) for number in range(25_000)]
