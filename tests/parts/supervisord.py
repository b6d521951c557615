"""A real supervisord for tests: a small configuration in a folder of its own, reaped whatever happens."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fleet.clients.supervisor import Supervisor
from fleet.runtime.errors import SupervisorError

_HEAD = """\
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
identifier=test-{name}

[unix_http_server]
file={folder}/s.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running supervisord: its folder, its process, and a client of it."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    client: Supervisor

    @property
    def socket(self) -> Path:
        """Return its socket."""
        return self.folder / "s.sock"

    def log(self) -> str:
        """Return its log, to show where a test fails."""
        with suppress(OSError):
            return (self.folder / "supervisord.log").read_text()
        return ""


@contextmanager
def supervisord(programs: str, *, environ: dict[str, str] | None = None) -> Iterator[Daemon]:
    """Run supervisord with these `[program:…]` sections until the block ends.

    `{folder}` in them stands for the daemon's own folder, which has a short name, since the
    path of a unix socket is limited to about a hundred characters.
    """
    folder = Path(tempfile.mkdtemp(prefix="sv-", dir="/tmp"))
    head = _HEAD.format(folder=folder, name=folder.name)
    (folder / "c.conf").write_text(head + programs.replace("{folder}", str(folder)))
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "c.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environ or {}), "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )
    daemon = Daemon(folder, process, Supervisor(folder / "s.sock", timeout=5.0))
    try:
        wait_until(lambda: _answers(daemon), lambda: f"supervisord did not start:\n{daemon.log()}")
        yield daemon
    finally:
        _stop(daemon)
        shutil.rmtree(folder)


def _answers(daemon: Daemon) -> bool:
    """Tell whether it answers; the socket's file is there a moment earlier."""
    try:
        daemon.client.programs()
    except SupervisorError:
        return False
    return True


def wait_until(
    condition: Callable[[], object],
    explain: Callable[[], str] = lambda: "it did not come about",
    seconds: float = 20,
) -> None:
    """Wait for a condition; raise AssertionError with an explanation when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(explain())
        time.sleep(0.01)


def _stop(daemon: Daemon) -> None:
    """End supervisord and its programs, also when it was frozen or does not end by itself."""
    with suppress(ProcessLookupError):
        daemon.process.send_signal(signal.SIGCONT)
        daemon.process.terminate()
    try:
        daemon.process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        left = children_of(daemon.process.pid)
        daemon.process.kill()
        daemon.process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(part) for part in text.split()]
