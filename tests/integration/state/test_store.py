"""The store on a real file system: damage, locks held by others, folders and disks that refuse."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import pytest
from filelock import FileLock

from fleet.config.schema import SEED_LADDER
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.errors import StateError
from fleet.runtime.home import Home
from state.history import HistoryFile, read_history, rotated
from state.store import StateStore, backup_of, read_state

NOW = 1_800_000_000.0


@dataclass
class FixedClock:
    """A clock that stands still."""

    now: float = NOW

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.is_set()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


@pytest.fixture
def store(home: Home) -> StateStore:
    return StateStore(home, SEED_LADDER, FixedClock(), timeout=0.2)


def counted(number: int) -> Callable[[FleetState], FleetState]:
    return lambda state: replace(state, vram_error_count=number)


def reporting(reason: str) -> Callable[[FleetState], FleetState]:
    return lambda state: state.with_event(NOW, EventKind.LADDER_CHANGED, reason=reason)


def reasons(home: Home) -> list[str]:
    return [event.fields["reason"] for event in read_history(home.history)]


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_first_start_begins_at_the_top_and_writes(home: Home, store: StateStore) -> None:
    assert read_state(home) is None
    assert store.update(lambda state: state).current_model == "llama3.2:3b"
    assert json.loads(home.state.read_text())["current_model_index"] == 0


def test_the_last_good_file_stays_as_its_copy(home: Home, store: StateStore) -> None:
    store.update(counted(1))
    store.update(counted(2))
    assert json.loads(home.state.read_text())["vram_error_count"] == 2
    assert json.loads(backup_of(home.state).read_text())["vram_error_count"] == 1


def test_nothing_is_written_where_nothing_changed(home: Home, store: StateStore) -> None:
    store.update(reporting("once"))
    store.update(lambda state: state)
    before = content(home.path)
    store.update(lambda state: state)
    assert content(home.path) == before


def test_what_a_change_raises_leaves_the_state_as_it_was(home: Home, store: StateStore) -> None:
    store.update(counted(1))
    before = content(home.path)

    def fail(state: FleetState) -> FleetState:
        raise KeyError(state.current_model)

    with pytest.raises(KeyError):
        store.update(fail)
    assert content(home.path) == before
    assert store.update(counted(2)).vram_error_count == 2


def test_reading_takes_no_lock_and_writes_nothing(home: Home, store: StateStore) -> None:
    store.update(counted(1))
    store.update(counted(2))
    home.state.write_text("{ damaged")
    before = content(home.path)
    with FileLock(f"{home.state}.lock"):
        for _ in range(3):
            read_state(home)
            store.read()
    assert content(home.path) == before


DAMAGE = {
    "empty": b"",
    "cut off": b'{"current_model_index": 1, "vram_error_c',
    "not text": b"\xff\xfe\x00\x80",
    "foreign": b'{"name": "something else"}',
    "wrong types": b'{"current_model_index": "two"}',
    "not a number": b'{"current_model_index": 0, "timestamp": NaN}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_set_aside_and_its_copy_taken(home: Home, store: StateStore, damage: bytes) -> None:
    for number in range(3):
        store.update(counted(number))
        store.update(reporting(f"{number}"))
    home.state.write_bytes(damage)
    found = read_state(home)
    assert found is not None
    assert found.vram_error_count == 2
    assert store.update(lambda state: state).vram_error_count == 2
    aside = home.state.with_name(f"{home.state.name}.corrupt-{NOW:.0f}")
    assert aside.read_bytes() == damage
    events = read_history(home.history)
    assert [event.number for event in events] == [1, 2, 3, 4]
    assert events[-1].kind is EventKind.STATE_REPAIRED
    assert "last good copy" in events[-1].fields["reason"]


def test_with_the_copy_damaged_too_the_defaults_are_taken_and_it_is_reported(
    home: Home, store: StateStore
) -> None:
    for number in range(3):
        store.update(reporting(f"{number}"))
    home.state.write_text("")
    backup_of(home.state).write_text("{")
    with pytest.raises(StateError, match="damaged and there is no good copy"):
        read_state(home)
    state = store.update(lambda state: state)
    assert (state.current_model_index, state.vram_error_count) == (0, 0)
    events = read_history(home.history)
    assert [event.number for event in events] == [1, 2, 3, 4]
    assert "defaults" in events[-1].fields["reason"]


def test_damage_again_and_again_is_each_time_kept_and_reported_once(home: Home, store: StateStore) -> None:
    for number in range(3):
        store.update(counted(number))
        home.state.write_text(f"damage {number}")
        store.update(counted(9))
        store.update(counted(10))
    kept = sorted(path.read_text() for path in home.path.glob("*.corrupt-*"))
    assert kept == ["damage 0", "damage 1", "damage 2"]
    assert len(read_history(home.history)) == 3


def test_damage_that_cannot_be_mended_yet_is_not_set_aside_again_and_again(
    home: Home, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update(counted(1))
    home.state.write_text("damage")
    with monkeypatch.context() as full:
        full.setattr("state.store.replace_text", _no_room)
        for _ in range(5):
            with pytest.raises(StateError, match="No space left"):
                store.update(counted(2))
    assert len(list(home.path.glob("*.corrupt-*"))) == 1
    assert store.update(counted(3)).vram_error_count == 3


def _no_room(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_lost_file_is_replaced_by_its_copy(home: Home, store: StateStore) -> None:
    store.update(counted(1))
    store.update(counted(2))
    home.state.unlink()
    found = read_state(home)
    assert found is not None
    assert found.vram_error_count == store.update(lambda state: state).vram_error_count == 1


@pytest.mark.parametrize("unreadable", [False, True], ids=["damaged", "unreadable"])
def test_a_lost_file_whose_copy_cannot_be_read_is_reported(
    home: Home, store: StateStore, *, unreadable: bool
) -> None:
    if unreadable:
        backup_of(home.state).mkdir()
    else:
        backup_of(home.state).write_text("{")
    with pytest.raises(StateError, match="no good copy"):
        read_state(home)
    [event] = store.update(lambda state: state).events
    assert event.kind is EventKind.STATE_REPAIRED
    assert "no good copy, the defaults are used" in event.fields["reason"]
    assert store.read().current_model_index == 0


def test_a_lost_file_of_a_fleet_with_a_history_is_reported_once(home: Home, store: StateStore) -> None:
    assert store.update(lambda state: state).events == ()  # a first start
    store.update(reporting("one"))
    for path in (home.state, backup_of(home.state)):
        path.unlink()
    for _ in range(2):
        store.update(lambda state: state)
    _, event = read_history(home.history)
    assert event.kind is EventKind.STATE_REPAIRED
    assert event.fields["reason"].endswith("the file is gone; no good copy, the defaults are used")


def test_an_originals_file_is_taken_over_and_kept_as_the_copy(home: Home, store: StateStore) -> None:
    original = {
        "current_model_index": 2,
        "vram_error_count": 1,
        "current_model": "tinyllama:1.1b",
        "timestamp": NOW - 60,
    }
    home.state.write_text(json.dumps(original))
    state = store.update(lambda state: state)
    assert (state.current_model, state.vram_error_count) == ("tinyllama:1.1b", 1)
    assert json.loads(backup_of(home.state).read_text()) == original
    row = json.loads(home.state.read_text())
    assert {key: row[key] for key in ("current_model_index", "vram_error_count", "current_model")} == {
        key: original[key] for key in ("current_model_index", "vram_error_count", "current_model")
    }


def test_a_lock_that_another_holds_is_reported_after_the_time_out(home: Home, store: StateStore) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, f"{home.state}.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match=r"was held for more than 0\.2s") as caught:
            store.update(counted(1))
        assert caught.value.hint
        holder.kill()
        holder.wait()
        assert store.update(counted(1)).vram_error_count == 1
    finally:
        holder.kill()
        holder.communicate()


_HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_reported(home: Home, store: StateStore) -> None:
    store.update(counted(1))
    home.path.chmod(0o500)
    try:
        with pytest.raises(StateError) as caught:
            store.update(counted(2))
        assert caught.value.hint
    finally:
        home.path.chmod(0o700)
    assert store.update(lambda state: state).vram_error_count == 1


@pytest.mark.parametrize(("what", "hint"), [("state", "Move that folder away."), ("lock", "check the owner")])
def test_a_folder_in_a_files_place_is_reported(home: Home, store: StateStore, what: str, hint: str) -> None:
    (home.state if what == "state" else Path(f"{home.state}.lock")).mkdir()
    with pytest.raises(StateError, match="directory") as caught:
        store.update(counted(1))
    assert hint in caught.value.hint


def test_a_history_that_takes_nothing_does_not_let_the_state_grow_without_end(
    home: Home, store: StateStore
) -> None:
    home.history.mkdir()
    for _ in range(3):
        store.update(lambda state: reduce(lambda one, n: reporting(str(n))(one), range(600), state))
    kept = store.read().events
    assert (len(kept), kept[-1].number) == (1600, 1800)
    home.history.rmdir()
    store.update(reporting("last"))
    assert len(reasons(home)) == 1001
    assert reasons(home)[-1] == "last"


def test_all_events_of_one_write_reach_the_history(home: Home, store: StateStore) -> None:
    """A portion of 1000 failing lines gives an incident each, and a switch."""
    store.update(lambda state: reduce(lambda one, n: reporting(str(n))(one), range(1500), state))
    store.update(counted(1))
    assert reasons(home) == [str(n) for n in range(1500)]
    assert store.read().events == ()


def test_a_folder_that_cannot_be_flushed_is_no_failed_write(
    home: Home, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is written: an error would make the caller repeat its change."""
    store.update(counted(1))

    def refuse(_: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("fleet.runtime.atomic_write.sync_folder", refuse)
    assert store.update(counted(2)).vram_error_count == 2
    assert store.read().vram_error_count == 2


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Make every write past `size` bytes fail, as on a full disk but with another errno (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_breaks_off_leaves_the_old_state_and_nothing_else(home: Home, store: StateStore) -> None:
    store.update(counted(1))
    before = {path.name for path in home.path.iterdir()} | {backup_of(home.state).name}
    with no_file_longer_than(200), pytest.raises(StateError, match="cannot be written"):
        store.update(lambda state: replace(state, cursors={"file:x": {"text": "x" * 5000}}))
    assert {path.name for path in home.path.iterdir()} == before
    assert store.update(lambda state: state).vram_error_count == 1
    assert store.update(counted(2)).vram_error_count == 2


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(b"x" * 4096):
            pass


def test_a_full_disk_is_reported_and_healed_by_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "fleet-test", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system of one's own needs root")
    try:
        home = Home(disk / "home")
        home.create()
        store = StateStore(home, SEED_LADDER, FixedClock())
        store.update(reporting("first"))
        ballast = disk / "ballast"
        fill_up(ballast)
        with pytest.raises(StateError, match="No space left") as caught:
            store.update(reporting("lost"))
        assert "Free disk space" in caught.value.hint
        found = read_state(home)
        assert found is not None
        assert found.last_event_number == 1
        ballast.unlink()
        store.update(reporting("second"))
        assert reasons(home) == ["first", "second"]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_what_a_killed_writer_left_is_swept_up(home: Home, store: StateStore) -> None:
    left = home.path / f".{home.state.name}.abcdef"
    left.write_text("half a st")
    store.update(counted(1))
    assert not left.exists()


def test_threads_share_a_store(home: Home) -> None:
    store = StateStore(home, SEED_LADDER, FixedClock())

    def add() -> None:
        for _ in range(20):
            store.update(lambda state: replace(state, switches=state.switches + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read().switches == 80


# Events and the history


def test_an_event_whose_append_failed_comes_with_the_next_write(
    home: Home, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update(reporting("one"))
    with monkeypatch.context() as broken:
        broken.setattr(HistoryFile, "append", _no_room)
        store.update(reporting("two"))
        store.update(reporting("three"))
        assert reasons(home) == ["one"]
    again = StateStore(home, SEED_LADDER, FixedClock())
    again.update(lambda state: state)
    again.update(reporting("four"))
    assert reasons(home) == ["one", "two", "three", "four"]
    assert [event.number for event in read_history(home.history)] == [1, 2, 3, 4]


def test_a_state_keeps_its_events_until_the_history_has_them_on_the_disk(
    home: Home, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = HistoryFile.sync

    def counting(history: HistoryFile) -> None:
        synced.append(history.last_number())
        sync(history)

    monkeypatch.setattr(HistoryFile, "sync", counting)
    for reason in ("one", "two"):
        store.update(
            lambda state, reason=reason: state.with_event(NOW, EventKind.LADDER_CHANGED, reason=reason)
        )  # type: ignore[misc]
    assert synced == []
    assert len(json.loads(home.state.read_text())["events"]) == 2
    home.history.write_text("")  # as a power cut leaves it
    store.update(lambda state: state.with_event(NOW, EventKind.LADDER_CHANGED, reason="three"))
    store.update(counted(1))
    assert synced == [3]
    assert json.loads(home.state.read_text())["events"] == []
    assert [event.fields["reason"] for event in read_history(home.history)] == ["one", "two", "three"]


def test_a_line_that_a_crash_cut_off_is_written_again_whole(home: Home, store: StateStore) -> None:
    store.update(reporting("one"))
    store.update(reporting("two"))
    text = home.history.read_bytes()
    home.history.write_bytes(text[:-9])
    store.update(reporting("three"))
    assert reasons(home) == ["one", "two", "three"]


@pytest.mark.parametrize(
    "line",
    [b"5", b'"text"', b"[]", b"null", b"\xff\x00", b"{}", b"[" * 5000, b'{"number": 1e999, "time": 1}'],
)
def test_foreign_lines_in_the_history_are_passed_over(home: Home, store: StateStore, line: bytes) -> None:
    store.update(reporting("one"))
    with home.history.open("ab") as stream:
        stream.write(line + b"\n")
    store.update(reporting("two"))
    assert reasons(home) == ["one", "two"]


def test_an_event_longer_than_what_is_read_at_once_is_written_once(home: Home, store: StateStore) -> None:
    store.update(reporting("x" * 300_000))
    store.update(reporting("two"))
    assert [len(reason) for reason in reasons(home)] == [300_000, 3]


def test_a_history_that_cannot_be_read_stops_no_switch_and_loses_no_event(
    home: Home, store: StateStore
) -> None:
    home.history.mkdir()
    store.update(reporting("one"))
    store.update(reporting("two"))
    home.history.rmdir()
    store.update(lambda state: state)
    assert reasons(home) == ["one", "two"]


def test_a_history_that_was_removed_goes_on_where_it_stood(home: Home, store: StateStore) -> None:
    store.update(reporting("one"))
    store.update(lambda state: state)
    home.history.unlink()
    store.update(reporting("two"))
    assert [(event.number, event.fields["reason"]) for event in read_history(home.history)] == [(2, "two")]


def test_the_history_is_rotated_and_read_on_across_its_halves(
    home: Home, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("state.history._ROTATE_AT", 2000)
    for number in range(60):
        store.update(reporting(f"{number}"))
    assert rotated(home.history).exists()
    numbers = [event.number for event in read_history(home.history)]
    assert numbers == list(range(numbers[0], 61))
    assert [event.number for event in read_history(home.history, last=2)] == [59, 60]
    assert read_history(home.history, last=0) == []
    home.history.replace(rotated(home.history))  # as a crash between rotation and append leaves it
    store.update(reporting("after"))
    assert read_history(home.history)[-1].number == 61
