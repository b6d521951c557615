"""A small fleet for tests of switches: real supervisord and launcher, a stand-in server, a tiny generator.

The generator is a shell script that a test may replace while the fleet runs, so that it can be made to ignore
signals, to die, or to hang. Nobody monitors: what a monitor does is done by the test.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cli.target import Fleet
from fleet.clients.ollama import Ollama
from fleet.clients.supervisor import ProgramState
from fleet.config.schema import Settings
from fleet.policy.rules import Rules
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import ROOT, FleetFile, Home, process_environ
from monitor.switching.executor import Switcher
from monitor.switching.generator_process import Generator
from monitor.switching.reconcile import SwitchJob
from state.store import StateStore
from tests.parts.supervisord import Daemon, children_of, supervisord, wait_until
from tests.reference.direct_owner import posting_to

STEADY = "exec sleep 1000"
DEAF = "trap '' TERM; while :; do sleep 0.2; done"
DIES = "exit 3"
DIES_SOON = "sleep 1.3; exit 3"
DEAF_AND_LATE = "trap 'sleep 1.5; exit 0' TERM; while :; do sleep 0.1; done"

_PROGRAM = """
[program:generator]
command={python} -I -S {root}/generator/launcher.py
directory={root}
autostart=false
autorestart=true
startsecs=1
startretries=1
stopwaitsecs=2
killasgroup=true
environment=FLEET_HOME="{{folder}}/home",FLEET_PYTHON="{{folder}}/generator.sh"
"""


@dataclass(frozen=True, slots=True)
class SmallFleet:
    """Its parts, and what a test looks at."""

    daemon: Daemon
    home: Home
    url: str
    settings: Settings = field(default_factory=Settings)

    @property
    def store(self) -> StateStore:
        """Return a store of the state; a new one at each call, as another process has its own."""
        return StateStore(self.home, self.settings.ladder)

    @property
    def switcher(self) -> Switcher:
        """Return one who carries out switches and writes the state by itself."""
        store = self.store
        return Switcher(
            home=self.home,
            settings=self.settings,
            ollama=Ollama(self.url),
            generator=Generator(self.daemon.client, SystemClock()),
            clock=SystemClock(),
            read=store.read,
            post=posting_to(store, self.rules),
        )

    @property
    def job(self) -> SwitchJob:
        """Return what the monitor's switch thread does."""
        switcher = self.switcher
        return SwitchJob(switcher, posting_to(self.store, self.rules))

    def rules(self) -> Rules:
        """Return the rules by the settings alone."""
        return Rules(self.settings.ladder, self.settings.policy)

    @property
    def fleet(self) -> Fleet:
        """Return the fleet as the command line finds it."""
        started = FleetFile(
            "native", self.url, f"file:{self.home.path}/o.log", "", str(self.home.socket), 1.0
        )
        return Fleet(self.home, self.settings, started)

    def behave(self, script: str) -> None:
        """Let the generator be this script, from its next start on."""
        path = self.home.path.parent / "generator.sh"
        replace_text(path, f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self) -> None:
        """Start the generator and wait until it shows its model and is past supervisord's `startsecs`."""
        self.daemon.client.start("generator")
        wait_until(lambda: self.model and self.state is ProgramState.RUNNING, self.daemon.log)

    def stop(self) -> None:
        """Stop the generator, as a person does."""
        self.daemon.client.stop("generator")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the running generator a signal and return its process; 0 would mean this test's own group."""
        pid = self.pid
        assert pid > 0, self.daemon.log()
        os.kill(pid, number)
        return pid

    def renew(self) -> None:
        """Let the generator start anew, as what it is to be by now."""
        before = self.kill()
        wait_until(lambda: self.pid not in {0, before}, self.daemon.log)
        self.settle()

    def settle(self) -> None:
        """Wait until a generator is RUNNING."""
        wait_until(lambda: self.pid and self.state is ProgramState.RUNNING, self.daemon.log)

    @property
    def pid(self) -> int:
        """Return the generator's process, 0 where there is none."""
        return self.daemon.client.program("generator").pid

    @property
    def state(self) -> ProgramState:
        """Return the generator's state at supervisord."""
        return self.daemon.client.program("generator").state

    @property
    def environ(self) -> dict[str, str]:
        """Return the running generator's environment."""
        return process_environ(self.pid) if self.pid else {}

    @property
    def model(self) -> str:
        """Return the model of the generator that runs, empty where none does."""
        return self.environ.get("FLEET_MODEL", "")

    @property
    def generators(self) -> int:
        """Return how many generators supervisord has."""
        return len(children_of(self.daemon.process.pid))


@contextlib.contextmanager
def small_fleet(settings: Settings | None = None, **standin: str) -> Iterator[SmallFleet]:
    """Run a small fleet whose stand-in has these settings (`vram="1 GB"`); leave nothing behind."""
    program = _PROGRAM.format(python=sys.executable, root=ROOT)
    with _standin(standin) as url, supervisord(program) as daemon:
        home = Home(daemon.folder / "home")
        home.create()
        home.socket.symlink_to(daemon.socket)
        made = SmallFleet(daemon, home, url, settings or Settings())
        made.behave(STEADY)
        try:
            yield made
        finally:
            left = children_of(daemon.process.pid)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _standin(settings: dict[str, str]) -> Iterator[str]:
    """Run a stand-in in a process of its own, so that the test's process has no threads and may fork."""
    chosen = {"vram": "64 GB", "pace": "0", **settings}
    variables = {f"FLEET_STANDIN_{name.upper()}": value for name, value in chosen.items()}
    server = subprocess.Popen(
        [sys.executable, "-m", "standin"],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
    finally:
        server.kill()
        server.communicate()


def log_of(fleet: SmallFleet) -> Path:
    """Return the file that stands for Ollama's log."""
    return fleet.home.path / "o.log"
