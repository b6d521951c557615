"""The journal source where journald, journalctl or its permissions are not what one would wish."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fleet.startup.launch import plan
from fleet.startup.profile import MachineProbes
from monitor.sources.base import Away, Back
from monitor.sources.journal import source
from monitor.sources.journal.source import JournalSource
from tests.parts.journal import JournalWorld
from tests.parts.supervisord import wait_until
from tests.processes.fleet import eventually
from tests.processes.monitor import running_monitor
from tests.reference.ollama_log import failed_load
from tests.sources.following import Following


@pytest.fixture
def world(tmp_path: Path) -> Iterator[JournalWorld]:
    made = JournalWorld(tmp_path)
    yield made
    made.close()


def numbered(first: int, last: int) -> list[str]:
    return [f"line {n}" for n in range(first, last)]


def encoded(texts: list[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def aways(following: Following) -> list[Away]:
    return [item for item in following.items if isinstance(item, Away)]


def test_a_child_that_is_killed_is_replaced_and_nothing_is_lost_or_repeated(world: JournalWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        for n in range(6):
            world.write(encoded(numbered(n * 10, n * 10 + 10)))
            world.kill()
        following.until_texts(numbered(0, 60))
    assert not aways(following)
    assert not list(world.children())


def test_only_the_unit_s_lines_come(world: JournalWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        world.journal.write({"MESSAGE": b"CUDA error: out of memory"}, unit="other.service")
        world.write(b"ours\n")
        following.until_texts(["ours"])


def test_rotation_and_vacuum_lose_nothing_that_was_read_in_time(world: JournalWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        for n in range(4):
            world.write(encoded(numbered(n * 5, n * 5 + 3)))
            world.journal.rotate()
            world.write(encoded(numbered(n * 5 + 3, n * 5 + 5)))
            following.until_texts(numbered(0, n * 5 + 5))
            world.journal.vacuum()
    assert not aways(following)


def test_a_cursor_whose_entry_was_vacuumed_leads_to_the_first_that_was_not(world: JournalWorld) -> None:
    with Following(world.source()) as first:
        first.until_back()
        world.write(encoded(numbered(0, 5)))
        first.until_texts(numbered(0, 5))
    world.journal.rotate()
    world.write(encoded(numbered(5, 8)))
    world.journal.vacuum()
    with Following(world.source(), first.cursor) as second:
        second.until_texts(numbered(5, 8))


def test_a_cursor_that_journald_refuses_leads_on_by_time(world: JournalWorld) -> None:
    with Following(world.source()) as first:
        first.until_back()
        world.write(encoded(numbered(0, 3)))
        first.until_texts(numbered(0, 3))
    assert first.cursor is not None
    world.write(encoded(numbered(3, 5)))
    with Following(world.source(), {**first.cursor, "cursor": "nonsense"}) as second:
        second.until_texts(numbered(3, 5))


def test_a_child_that_hangs_is_noticed(world: JournalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "CHECK", 0.5)
    monkeypatch.setattr(source, "CATCH_UP", 0.3)
    with Following(world.source()) as following:
        following.until_back()
        world.write(b"one\n")
        following.until_texts(["one"])
        for pid in world.children():
            os.kill(pid, signal.SIGSTOP)
        world.write(b"two\n")
        following.until_texts(["one", "two"])


def test_a_unit_that_has_logged_nothing_is_told_and_waited_for(world: JournalWorld) -> None:
    with Following(JournalSource("olama")) as following:
        following.until_away()
        assert "no entry of the unit olama" in aways(following)[0].reason
        world.journal.write({"MESSAGE": b"at last"}, unit="olama.service")
        following.until_texts(["at last"])
        assert following.count(Back) == 1


def test_no_child_outlives_a_monitor_that_is_killed(world: JournalWorld) -> None:
    program = (
        "from monitor.sources.open import open_source\nfor i in open_source('journal:ollama').items(): pass"
    )
    monitor = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(lambda: list(world.children()), lambda: "no journalctl was started")
    finally:
        monitor.kill()
        monitor.wait()
    wait_until(lambda: not list(world.children()), lambda: "journalctl lives on")


def replace(world: JournalWorld, script: str) -> None:
    """Put another program in journalctl's place."""
    world.program.write_text(f"#!/bin/sh\n{script}\n")


@pytest.mark.parametrize(
    ("script", "reason", "hint"),
    [
        (
            "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
            "no permission to read the journal",
            "group systemd-journal",
        ),
        (
            "echo 'Hint: You are currently not seeing messages from other users and the system.' >&2",
            "no permission to read the journal",
            "group systemd-journal",
        ),
        ("echo 'No journal files were found.' >&2", "there is no journal here", "journald"),
        ("echo 'Failed to add match: Invalid argument' >&2; exit 1", "Failed to add match", "file:PATH"),
        ("exit 3", "exit status 3", "file:PATH"),
    ],
    ids=["closed", "own messages only", "no journal", "failure", "silent failure"],
)
def test_what_is_in_the_way_is_told_with_what_to_do(
    world: JournalWorld, script: str, reason: str, hint: str
) -> None:
    working = world.program.read_text()
    replace(world, script)
    with Following(world.source()) as following:
        following.until_away()
        assert following.count(Back) == 0
        world.program.write_text(working)
        following.until_back()
        world.write(b"new\n")
        following.until_texts(["new"])
    assert reason in aways(following)[0].reason
    assert hint in aways(following)[0].hint


def test_without_journalctl_the_hint_names_another_way(world: JournalWorld) -> None:
    world.vanish()
    with Following(world.source()) as following:
        following.until_away()
    assert aways(following)[0].reason == "journalctl is not installed here"
    assert "file:PATH" in aways(following)[0].hint


@pytest.mark.slow
def test_a_journalctl_that_never_stays_is_told_and_not_started_without_end(world: JournalWorld) -> None:
    count = world.program.with_name("starts")
    entry = '{"__CURSOR":"s=1;i=1","__REALTIME_TIMESTAMP":"1"}'
    replace(
        world,
        f"case \"$*\" in *--follow*) echo x >>{count}; echo 'Bus error' >&2; exit 1;; esac; echo '{entry}'",
    )
    with Following(world.source()) as following:
        following.until_away()
        assert "ends again and again: Bus error" in aways(following)[0].reason
        time.sleep(1.0)
        assert count.read_text().count("x") <= 6


def test_the_native_profile_takes_the_journal_of_an_installed_service(
    world: JournalWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    log = tmp_path / ".ollama" / "logs" / "server.log"
    units = tmp_path / "units"
    probes = MachineProbes({}, [units])
    assert probes.native_log() == "journal:ollama"
    log.parent.mkdir(parents=True)
    log.touch()
    assert probes.native_log() == f"file:{log}"
    units.mkdir()
    (units / "ollama.service").touch()
    assert probes.native_log() == "journal:ollama"
    world.program.unlink()
    assert probes.native_log() == f"file:{log}"


def test_a_start_takes_a_journal(world: JournalWorld, tmp_path: Path) -> None:
    environ = {"FLEET_HOME": str(tmp_path / "home"), "FLEET_OLLAMA_LOG": "journal:ollama"}
    choice = plan(None, environ, tmp_path).choice
    assert (choice.profile, choice.log_source) == ("native", "journal:ollama")


@pytest.mark.slow
def test_a_monitor_that_is_killed_counts_each_failure_of_a_journal_once(world: JournalWorld) -> None:
    random = Random(4)
    with running_monitor("journal:ollama") as monitor:
        eventually(monitor.has_joined, what=monitor.findings())
        for n in range(12):
            lines = failed_load(time.time() + n)
            for half in (lines[:6], lines[6:]):
                world.write(encoded(half))
                if random.random() < 0.4:
                    monitor.kill()
                    world.journal.rotate()
                    monitor.start()
        eventually(lambda: len(monitor.incidents()) >= 12, what=monitor.findings())
        time.sleep(1.0)
        assert len(set(monitor.incidents())) == len(monitor.incidents()) == 12
