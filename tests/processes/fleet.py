"""A whole fleet in a home of its own: the real start, supervisord, stand-in and command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from fleet.clients.supervisor import ProgramState, Supervisor
from fleet.policy.state import FleetState
from fleet.runtime.errors import SupervisorError
from fleet.runtime.home import ROOT, Home, process_environ, read_fleet_file
from state.store import read_state
from tests.processes.generator import no_account, rest

T = TypeVar("T")


def stamped_failure(moment: float) -> str:
    """Return a failure line of a real Ollama's that bears its own time, here in UTC to the millisecond."""
    stamp = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        f'time={stamp} level=ERROR source=sched.go:455 msg="error loading llama server" '
        'error="llama runner process has terminated: cudaMalloc failed: out of memory"'
    )


MEMORY_FAILURE = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 2013.25 MiB on device 0: "
    "cudaMalloc failed: out of memory"
)


def eventually(look: Callable[[], T | None], *, within: float = 60.0, what: str = "") -> T:
    """Return the first true thing that `look` sees; fail after `within` seconds."""
    end = time.monotonic() + within
    while (began := time.monotonic()) < end:
        seen = look()
        if seen:
            return seen
        rest(began, least=0.05)
    raise AssertionError(f"did not happen within {within:g}s: {what or look}")


class FleetProcess:
    """A fleet that a test started; every wait has an end."""

    def __init__(self, home: Path, **environ: str) -> None:
        self.home = Home(home)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("FLEET_", "OLLAMA_"))
        }
        ours = {"FLEET_HOME": str(home), "FLEET_PROFILE": "embedded", **no_account(home)}
        self.environ = {**kept, **ours, **environ}
        self.supervisor = Supervisor(self.home.socket, timeout=2.0)
        self._child: subprocess.Popen[bytes] | None = None
        self._output = home.parent / f"{home.name}.out"

    # Life

    def start(self) -> None:
        """Start it and wait until all programs run."""
        self.launch()
        eventually(self._all_running, within=300, what=f"all programs RUNNING\n{self.output()}")

    def launch(self) -> None:
        """Start it."""
        with self._output.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "fleet"], cwd=ROOT, env=self.environ, stdout=output, stderr=output
            )

    @property
    def ended(self) -> bool:
        """Tell whether its supervisord has ended."""
        return self._child is None or self._child.poll() is not None

    def _all_running(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            raise AssertionError(f"the fleet ended with {self._child.returncode}\n{self.output()}")
        try:
            programs = self.supervisor.programs()
        except SupervisorError:
            return False
        return bool(programs) and all(one.state is ProgramState.RUNNING for one in programs)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End supervisord by a signal and return its exit code."""
        if self._child is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)
        try:
            return self._child.wait(120)
        finally:
            self._child.kill()
            self._child = None

    def processes(self) -> list[int]:
        """Return the processes that belong to this home, however they came to be."""
        mine = []
        for entry in Path("/proc").iterdir():
            environ = process_environ(int(entry.name)) if entry.name.isdigit() else {}
            if environ.get("FLEET_HOME") == str(self.home.path) and int(entry.name) != os.getpid():
                mine.append(int(entry.name))
        return mine

    def output(self) -> str:
        """Return what a person who watches has been told."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    # Looking in

    @property
    def state(self) -> FleetState:
        """Return the state as it is now."""
        state = read_state(self.home)
        assert state is not None
        return state

    def pid(self, program: str) -> int:
        """Return a program's process."""
        return self.supervisor.program(program).pid

    def generator_model(self) -> str:
        """Return the model in the running generator's environment, empty while there is none."""
        try:
            return process_environ(self.pid("generator")).get("FLEET_MODEL", "")
        except SupervisorError:
            return ""

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command line in this home."""
        return subprocess.run(
            [sys.executable, str(ROOT / "fleet_cli.py"), *arguments],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """Return `status --json`."""
        done = self.cli("status", "--json")
        assert done.returncode == 0, done.stderr
        row = json.loads(done.stdout)
        assert isinstance(row, dict)
        return row

    # Making trouble

    @property
    def log(self) -> Path:
        """Return the log file that the monitor follows."""
        started = read_fleet_file(self.home)
        assert started is not None
        return Path(started.log_source.removeprefix("file:"))

    def fail(self, times: int = 1, *, apart: float = 0.0) -> None:
        """Append failure lines of a real Ollama to the followed log, some seconds apart.

        Each is stamped, as Docker does: a busy machine may read several at once, however far apart they came.
        """
        for number in range(times):
            if number:
                time.sleep(apart)
            stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            self.write(f"{stamp} {MEMORY_FAILURE}")

    def write(self, line: str) -> None:
        """Append a line to the followed log, in one write."""
        with self.log.open("a") as log:
            log.write(line + "\n")


@contextlib.contextmanager
def running_fleet(**environ: str) -> Iterator[FleetProcess]:
    """Run a fleet in a short temporary path (a unix socket's is limited), and leave no process behind."""
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        fleet = FleetProcess(Path(folder) / "home", **environ)
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()
            for pid in fleet.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
