"""`make soak`: a real fleet under a steady stream of incidents and commands, and `kill -9` of anything at any moment.

Victims are monitor, generator, the stand-in Ollama, commands in mid-work, and supervisord, which is started again at once,
as systemd or Docker would. The followed log holds only failure lines of ours, each with a time of its own, so that each
is one incident. Whatever is found is told at the end; the exit code is 1 if anything was lost, doubled or left wrong.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.policy.events import Event, EventKind
from fleet.runtime.errors import FleetError
from fleet.runtime.home import ROOT, process_environ
from fleet.runtime.units import Seconds, parse_duration
from state.history import read_history
from tests.processes.fleet import FleetProcess, stamped_failure

CHECK_INTERVAL = 5.0
GRACE = 20.0
MEAN_WAIT = 1.1
SETTINGS = {
    "FLEET_PROFILE": "native",
    "FLEET_POLICY_INCIDENT_GAP": "20ms",
    "FLEET_POLICY_COOL_DOWN": "1s",
    "FLEET_POLICY_CHECK_INTERVAL": f"{CHECK_INTERVAL:g}s",
    "FLEET_POLICY_RECOVER_AFTER": "20s",
    "FLEET_POLICY_ON_EXHAUSTED": "reset",
    "FLEET_POLICY_MAX_SWITCHES_PER_HOUR": "3600",
    "FLEET_STANDIN_VRAM": "64 GB",
}
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("downgrade",),
    ("upgrade",),
    ("reset",),
    ("use", "1"),
    ("use", "2"),
    ("use", "3", "--pin"),
    ("unpin",),
    ("status",),
    ("downgrade", "--wait"),
)
VICTIMS = ("monitor", "generator", "stand-in", "command", "supervisord")


@dataclass(slots=True)
class Seen:
    """What the soak did and saw."""

    printed: list[int] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    unreadable: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Server:
    """The stand-in Ollama: a process of its own at one address, started again whenever it was killed."""

    def __init__(self, environ: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._environ = environ
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ensure(self) -> int:
        """Start it if it does not run; return its process."""
        if self._child is None or self._child.poll() is not None:
            command = [sys.executable, "-m", "standin", "--port", str(self.port)]
            quiet = subprocess.DEVNULL
            self._child = subprocess.Popen(command, cwd=ROOT, env=self._environ, stdout=quiet, stderr=quiet)
        return self._child.pid

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()


class Soak:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.seen = Seen()
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._command: subprocess.Popen[bytes] | None = None
        environ = {**os.environ, **SETTINGS}
        self.server = Server(environ)
        log = folder / "ollama.log"
        log.touch()
        self.fleet = FleetProcess(
            folder / "home", **SETTINGS, FLEET_OLLAMA_URL=self.server.url, FLEET_OLLAMA_LOG=f"file:{log}"
        )
        self._log = log

    # What goes on meanwhile

    def _print_failures(self) -> None:
        """Write a failure line every while, each with a millisecond of its own that is surely one incident."""
        chance = random.Random(self._random.random())
        while not self._stopping.wait(chance.uniform(0.2, 1.6)):
            moment = int(time.time() * 1000)
            with self._log.open("a") as log:
                log.write(stamped_failure(moment / 1000) + "\n")
            self.seen.printed.append(moment)

    def _give_commands(self) -> None:
        chance = random.Random(self._random.random())
        while not self._stopping.wait(chance.uniform(0.2, 2.0)):
            self._command = subprocess.Popen(
                [sys.executable, str(ROOT / "fleet_cli.py"), *chance.choice(COMMANDS)],
                cwd=ROOT,
                env=self.fleet.environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            try:
                _, told = self._command.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                self.seen.faults.append(f"a command did not end: {self._command.args}")
                self._command.kill()
                self._command.communicate()
                continue
            self.seen.codes[str(self._command.returncode)] += 1
            if b"Traceback" in told or b"fault of Model Fleet" in told:
                self.seen.faults.append(told.decode(errors="replace"))

    def _read_state(self) -> None:
        """Read the state as anyone may, all the time: it always parses."""
        while not self._stopping.wait(0.01):
            try:
                json.loads(self.fleet.home.state.read_bytes())
            except (OSError, ValueError) as error:
                self.seen.unreadable.append(repr(error))
            self.seen.reads += 1

    # Killing

    def run(self, duration: Seconds, kills: int | None) -> None:
        """Start, kill until the time is over or the number is reached, let it settle, and look at what came of it."""
        self.server.ensure()
        self.fleet.start()
        _await(self.fleet.home.database.exists, 60)
        threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._print_failures, self._give_commands, self._read_state)
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + duration
        while time.monotonic() < end and (kills is None or self.seen.kills.total() < kills):
            time.sleep(self._random.expovariate(1 / MEAN_WAIT))
            self._kill(self._random.choice(VICTIMS))
            self._keep_up()
        self._stopping.set()
        for thread in threads:
            thread.join(70)
        self._settle()
        self._look()

    def _kill(self, victim: str) -> None:
        pid = self._pid(victim)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.seen.kills[victim] += 1

    def _pid(self, victim: str) -> int:
        if victim == "stand-in":
            return self.server.ensure()
        if victim == "command":
            command = self._command
            return command.pid if command is not None and command.poll() is None else 0
        if victim == "supervisord":
            try:
                return int(self.fleet.home.pid_file.read_text()) if not self.fleet.ended else 0
            except (OSError, ValueError):
                return 0
        try:
            return self.fleet.pid(victim)
        except FleetError:
            return 0

    def _keep_up(self) -> None:
        self.server.ensure()
        if self.fleet.ended:
            self.fleet.launch()

    # Afterwards

    def _settle(self) -> None:
        """Wait until nothing is under way; what does not come about is a fault."""
        began = time.monotonic()
        if not _await(self._runs_as_wanted, CHECK_INTERVAL + GRACE, keep=self._keep_up):
            state = self.fleet.state
            self.seen.faults.append(
                f"the state wants {state.current_model} (switch {state.switches}, under way: {state.switch}), "
                f"and {self.fleet.generator_model() or 'nothing'} runs"
            )
        _say(f"as wanted {time.monotonic() - began:.1f} s after the last kill")
        _await(lambda: not self._lost(), 60, keep=self._keep_up)

    def _runs_as_wanted(self) -> bool:
        state = self.fleet.state
        try:
            info = self.fleet.supervisor.program("generator")
        except FleetError:
            return False
        environ = process_environ(info.pid) if info.pid else {}
        right = environ.get("FLEET_MODEL"), environ.get("FLEET_SWITCHES")
        return state.switch is None and right == (state.current_model, str(state.switches))

    def _told(self) -> Counter[int]:
        """Return how often each incident stands in the history, by the millisecond of its line."""
        return Counter(
            round(event.fields["at"] * 1000)
            for event in read_history(self.fleet.home.history)
            if event.kind is EventKind.INCIDENT
        )

    def _lost(self) -> list[int]:
        told = self._told()
        return [moment for moment in self.seen.printed if moment not in told]

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.fleet.home.database, timeout=10)) as connection:
            yield connection

    def _look(self) -> None:
        """Hold what was told against what was printed, and what was reported against the database."""
        seen, told = self.seen, self._told()
        lost = self._lost()
        doubled = [moment for moment, times in told.items() if times > 1]
        strange = set(told) - set(seen.printed)
        events = read_history(self.fleet.home.history)
        gaps = _gaps(events)
        alphas, missing = self._alphas()
        self.fleet.stop()
        for text, found in (
            ("incidents lost", lost),
            ("incidents doubled", doubled),
            ("incidents that nobody printed", sorted(strange)),
            ("events out of number", gaps),
            ("alphas reported and not stored", missing),
            ("reads of the state that failed", seen.unreadable),
        ):
            if found:
                seen.faults.append(f"{len(found)} {text}: {found[:5]}")
        committed = sum(event.kind is EventKind.SWITCH_COMMITTED for event in events)
        rows = [
            ("killed", ", ".join(f"{name} {times}" for name, times in sorted(seen.kills.items()))),
            ("kills", str(seen.kills.total())),
            ("incidents printed, told", f"{len(seen.printed)}, {told.total()}"),
            ("switches", str(committed)),
            ("commands by exit code", ", ".join(f"{code}: {n}" for code, n in sorted(seen.codes.items()))),
            ("reads of the state", str(seen.reads)),
            ("alphas reported", str(alphas)),
        ]
        _say("\n".join(f"{name:<24} {figure}" for name, figure in rows))

    def _alphas(self) -> tuple[int, list[int]]:
        """Return how many alphas were reported as stored, and which of them the database has not."""
        reported = {
            int(word.removeprefix("id="))
            for path in self.fleet.home.log.glob("generator.log*")
            for line in path.read_text(errors="replace").splitlines()
            if " evaluation.done " in line
            for word in line.split()
            if word.startswith("id=") and word[3:].isdigit()
        }
        with self._database() as database:
            stored = {row[0] for row in database.execute("SELECT id FROM evaluations WHERE state = 'done'")}
        return len(reported), sorted(reported - stored)


def _gaps(events: Sequence[Event]) -> list[int]:
    """Return the numbers that do not follow the one before."""
    numbers = [event.number for event in events]
    return [after for before, after in itertools.pairwise(numbers) if after != before + 1]


def _await(look: Callable[[], object], within: Seconds, *, keep: Callable[[], None] | None = None) -> bool:
    """Return whether something came about in time, keeping things up meanwhile."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if look():
            return True
        if keep is not None:
            keep()
        time.sleep(0.2)
    return bool(look())


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # a program of its own


def main() -> int:
    """Run a soak; return 1 if it found a fault."""
    parser = argparse.ArgumentParser(prog="make soak", description="Kill a fleet's parts at random.")
    parser.add_argument("--duration", default="60s", help="how long (default: %(default)s)")
    parser.add_argument("--kills", type=int, help="end after so many kills")
    parser.add_argument("--seed", type=int, default=None, help="repeat the choices of another run")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    _say(f"soak of {options.duration}, seed {seed}")
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        soak = Soak(Path(folder), seed)
        try:
            soak.run(parse_duration(options.duration), options.kills)
        finally:
            soak.fleet.stop()
            soak.server.stop()
            for pid in soak.fleet.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for fault in soak.seen.faults:
            _say(f"FAULT {fault}")
        if soak.seen.faults:
            _say(f"--- what the fleet told last\n{soak.fleet.output()[-4000:]}")
    return 1 if soak.seen.faults else 0


if __name__ == "__main__":
    sys.exit(main())
