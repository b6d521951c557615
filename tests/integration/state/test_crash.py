"""Writers that contend and die: nothing that was done is lost, each event is written once and in order."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.config.schema import SEED_LADDER
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.home import Home
from state.codec import decode_state
from state.history import read_history
from state.store import StateStore, backup_of, read_state
from tests.processes.kill_at_call import Killer, in_child

_FUZZ = "FLEET_FUZZ" in os.environ
WRITERS = 8
UPDATES = 1000 if _FUZZ else 100
KILLS = 300 if _FUZZ else 9
_PROGRAM = Path(__file__).resolve().parents[2] / "processes" / "state_writer.py"
NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in memory where there is one: what a process's death does is the same on any disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="fleet-test-", dir=memory))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def home(folder: Path) -> Home:
    made = Home(folder / "home")
    made.create()
    return made


@contextmanager
def writers(home: Home, number: int, updates: int) -> Iterator[list["subprocess.Popen[str]"]]:
    """Start writers that begin together; whatever a test does, none outlives it."""
    started = [
        subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(home.path), str(updates)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(number)
    ]
    try:
        for writer in started:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n", writer.communicate()[1]
        for writer in started:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        yield started
    finally:
        for writer in started:
            writer.kill()
            if writer.returncode is None or not writer.stdout or not writer.stdout.closed:
                writer.communicate()


def reasons_in_history(home: Home) -> list[str]:
    """Return the reasons of the history's events, after holding the history to its numbers."""
    events = read_history(home.history)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    return [event.fields["reason"] for event in events]


@pytest.mark.slow
def test_of_many_updates_by_many_processes_none_is_lost(home: Home) -> None:
    with writers(home, WRITERS, UPDATES) as running:
        for writer in running:
            _, errors = writer.communicate(timeout=110)
            assert writer.returncode == 0, errors
    state = read_state(home)
    assert state is not None
    assert state.switches == WRITERS * UPDATES
    reasons = reasons_in_history(home)
    assert len(reasons) == WRITERS * UPDATES
    assert all(times == 1 for times in Counter(reasons).values())
    for writer in running:
        mine = [reason for reason in reasons if reason.startswith(f"{writer.pid}:")]
        assert mine == [f"{writer.pid}:{number}" for number in range(UPDATES)]


@pytest.mark.slow
def test_writers_that_are_killed_at_random_lose_and_double_nothing(home: Home) -> None:
    chance = random.Random(int(os.environ.get("FLEET_SEED", "7")))
    done: dict[int, int] = {}
    for _ in range(KILLS // 3):
        with writers(home, 3, 100_000) as running:
            for writer in running:
                time.sleep(chance.uniform(0.0, 0.1))
                writer.kill()
                out, errors = writer.communicate()
                assert not errors
                done[writer.pid] = len(out.splitlines())
                decode_state(home.state.read_text()) if home.state.exists() else None
    state = StateStore(home, SEED_LADDER).update(lambda state: state)
    reasons = reasons_in_history(home)
    assert state.last_event_number == state.switches == len(reasons) == len(set(reasons))
    for pid, acknowledged in done.items():
        mine = [reason for reason in reasons if reason.startswith(f"{pid}:")]
        assert mine == [f"{pid}:{number}" for number in range(len(mine))]
        assert acknowledged <= len(mine) <= acknowledged + 1


# A crash at each step of a write


def change(reason: str) -> Callable[[FleetState], FleetState]:
    return lambda state: replace(state, switches=state.switches + 1).with_event(
        NOW, EventKind.LADDER_CHANGED, reason=reason
    )


def _prepared(path: Path, *, damaged: bool) -> Home:
    home = Home(path)
    home.create()
    store = StateStore(home, SEED_LADDER)
    for reason in ("one", "two"):
        store.update(change(reason))
    if damaged:
        store.update(lambda state: replace(state, failed=1))
        home.state.write_text('{"current_model_index": 0, "switch')
    return home


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("damaged", [False, True], ids=["sound", "damaged"])
def test_a_crash_at_any_step_of_a_write_is_made_good(folder: Path, after: bool, damaged: bool) -> None:
    points = 0
    for at in itertools.count(1):
        home = _prepared(folder / f"{at}", damaged=damaged)

        def die(home: Home = home, at: int = at) -> None:
            Killer(at, after=after).arm()
            StateStore(home, SEED_LADDER).update(change("three"))

        status = in_child(die)
        _is_sound(home)
        store = StateStore(home, SEED_LADDER)
        state = store.update(change("four"))
        reasons = [
            reason for reason in reasons_in_history(home) if not reason.startswith("the text is no state")
        ]
        assert reasons in (["one", "two", "three", "four"], ["one", "two", "four"])
        assert state.switches == len(reasons)
        assert len(reasons_in_history(home)) - len(reasons) == damaged
        assert len(list(home.path.glob("*.corrupt-*"))) == damaged
        assert not list(home.path.glob(f".{home.state.name}.*"))
        if status == 0:
            assert reasons == ["one", "two", "three", "four"]
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        points += 1
    assert points >= 10


def _is_sound(home: Home) -> None:
    """Hold a home to what a reader may find at any moment: the state or its copy is whole."""
    assert read_state(home) is not None
    whole = []
    for path in (home.state, backup_of(home.state)):
        try:
            whole.append(json.loads(path.read_text()))
        except ValueError:
            continue
    assert whole
