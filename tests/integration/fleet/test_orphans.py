"""A program's lock that an orphan holds: its successor ends the orphan, and nobody else."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.runtime.home import ROOT
from fleet.runtime.process import lock_holder, parent_of
from tests.parts.supervisord import wait_until

HOLD = """
import signal, sys, time
from pathlib import Path
from fleet.runtime.process import hold_program_lock
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = hold_program_lock(Path(sys.argv[1]), "generator")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    lock = tmp_path / "generator.lock"
    yield lock
    holder = lock_holder(lock)
    if holder is not None and holder != os.getpid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, signal.SIGKILL)


def command(path: Path, seconds: float) -> list[str]:
    return [sys.executable, "-c", HOLD, str(path), str(seconds)]


def run(path: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Let a program that supervisord might have started ask for the lock."""
    return subprocess.run(
        command(path, 0),
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def orphan(path: Path) -> int:
    """Leave a holder behind whose parent is gone, and return its process."""
    leave = "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)"
    subprocess.run([sys.executable, "-c", leave, *command(path, 300)], cwd=ROOT, check=True, timeout=60)
    wait_until(lambda: path.exists() and lock_holder(path))
    holder = lock_holder(path)
    assert holder is not None
    wait_until(lambda: parent_of(holder) != os.getpid())
    return holder


def test_a_lock_on_a_file_of_another_disk_with_the_same_inode_number_is_no_holder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder has nothing to do with the fleet, and would be killed as an orphan."""
    with path.open("w"):
        row = "{}: FLOCK  ADVISORY  WRITE {} 00:99:" + str(path.stat().st_ino) + " 0 EOF\n"
        locks = tmp_path / "locks"
        monkeypatch.setattr("fleet.runtime.process._LOCKS", locks)
        locks.write_text(row.format(1, os.getppid()))
        assert lock_holder(path) is None
        locks.write_text(row.format(1, os.getppid()) + row.format(2, os.getpid()))
        assert lock_holder(path) == os.getpid()


@pytest.mark.slow
def test_a_deaf_orphan_is_ended_by_its_successor(path: Path) -> None:
    left = orphan(path)
    os.kill(left, signal.SIGTERM)
    done = run(path, SUPERVISOR_ENABLED="1")
    assert done.stdout == "held\n", done.stderr
    wait_until(lambda: parent_of(left) is None or lock_holder(path) != left)


@pytest.mark.slow
def test_one_that_no_supervisord_started_ends_nobody(path: Path) -> None:
    left = orphan(path)
    done = run(path)
    assert "another generator holds" in done.stderr
    assert lock_holder(path) == left


def test_a_sibling_under_the_same_supervisord_is_left_alone(path: Path) -> None:
    sibling = subprocess.Popen(command(path, 300), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert sibling.stdout is not None
        assert sibling.stdout.readline() == "held\n"
        done = run(path, SUPERVISOR_ENABLED="1")
        assert "another generator holds" in done.stderr
        assert sibling.poll() is None
    finally:
        sibling.kill()
        sibling.communicate()


def test_nobody_holds_a_lock_that_is_free(path: Path) -> None:
    assert lock_holder(path) is None
    path.touch()
    assert lock_holder(path) is None
    assert parent_of(os.getpid()) == os.getppid()
