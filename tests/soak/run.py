"""One soak: a real fleet under failures, commands, odd lines, a full disk, clock steps and `kill -9` at any moment.

Victims are monitor, generator, the stand-in Ollama, commands in mid-work, and supervisord, which is started again at once,
as systemd or Docker would. Each failure line in the followed log has a time of its own and is one incident. The last part
of the time is without kills, so that a process lives long enough to see whether it grows.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleet.policy.events import EventKind
from fleet.runtime.errors import FleetError
from fleet.runtime.home import ROOT, process_environ, read_json
from fleet.runtime.units import Seconds
from state.history import read_history
from tests.processes.fleet import FleetProcess, stamped_failure
from tests.soak import checker
from tests.soak.parts import Server, await_, end, growth, say
from tests.soak.resources import Resources
from tests.soak.trouble import ODD_CALLS, ODD_FIELDS, FullDisk, SteppingClock, odd_line

CHECK_INTERVAL = 5.0
GRACE = 300.0
MEAN_WAIT = 1.1
MOSTLY = 0.7
UP_WITHIN = 60.0
"""Most kills meet programs that are up: on a busy machine a start takes long, and only starts would be tried."""
CALM = 0.4
"""Part of the time without kills."""
AHEAD = (0.0, 2.0, 60.0, 3600.0)
"""Seconds by which the monitor's clock may be ahead of the log's; it steps both ways, and never falls behind a stamp."""
SAMPLED = ("monitor", "generator")
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
    odd: Counter[str] = field(default_factory=Counter)
    resources: dict[str, Resources] = field(default_factory=lambda: {name: Resources() for name in SAMPLED})
    codes: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    unreadable: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Soak:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.seen = Seen()
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._command: subprocess.Popen[bytes] | None = None
        self._clock, self._disk = SteppingClock(folder), FullDisk()
        environ = {**os.environ, **SETTINGS}
        self.server = Server(environ)
        log = folder / "ollama.log"
        log.touch()
        self.fleet = FleetProcess(
            folder / "home",
            **SETTINGS,
            **self._clock.environ,
            FLEET_OLLAMA_URL=self.server.url,
            FLEET_OLLAMA_LOG=f"file:{log}",
        )
        self._log = log

    # What goes on meanwhile

    def _print_failures(self) -> None:
        """Write a failure line every while, each with a millisecond of its own that is surely one incident."""
        chance = random.Random(self._random.random())
        while not self._stopping.wait(chance.uniform(0.2, 1.6)):
            moment = int(time.time() * 1000)
            line = stamped_failure(moment / 1000)
            if chance.random() < 0.3:
                line += f" {chance.choice(ODD_FIELDS)}"
                self.seen.odd["failure lines with odd fields"] += 1
            with self._log.open("ab") as log:
                log.write(line.encode("utf-8", "surrogatepass") + b"\n")
            self.seen.printed.append(moment)

    def _make_trouble(self) -> None:
        """Print odd lines, fill the monitor's disk for a while, and let its clock step."""
        chance = random.Random(self._random.random())
        while not self._stopping.wait(chance.uniform(0.2, 1.5)):
            roll = chance.random()
            if roll < 0.6:
                with self._log.open("ab") as log:
                    log.write(odd_line(chance) + b"\n")
                self.seen.odd["odd lines"] += 1
            elif roll < 0.8:
                with contextlib.suppress(OSError), self.fleet.home.signals.open("ab") as calls:
                    calls.write(chance.choice(ODD_CALLS).encode() + b"\n")
                self.seen.odd["odd calls"] += 1
            elif roll < 0.9:
                self._disk.fill(self._pid("monitor"))
                self._stopping.wait(chance.uniform(0.1, 4.0))
                self._disk.free()
                self.seen.odd["full disks"] += 1
            else:
                self._clock.step(chance.choice(AHEAD))
                self.seen.odd["clock steps"] += 1
        self._disk.free()
        self._clock.step(0.0)

    def _sample(self) -> None:
        """Look at the processes' memory, descriptors and threads."""
        while not self._stopping.wait(1.0):
            for name in SAMPLED:
                pid = self._pid(name)
                if pid:
                    self.seen.resources[name].look(pid, time.monotonic())

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
                _, told = self._command.communicate(timeout=300)
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
        await_(self.fleet.home.database.exists, 300)
        threads = [
            threading.Thread(target=work, daemon=True)
            for work in (
                self._print_failures,
                self._make_trouble,
                self._give_commands,
                self._read_state,
                self._sample,
            )
        ]
        for thread in threads:
            thread.start()
        threading.excepthook = lambda died: self.seen.faults.append(
            f"{died.thread} ended: {died.exc_value!r}"
        )
        began = time.monotonic()
        calm, over = began + duration * (1 - CALM), began + duration
        while (now := time.monotonic()) < calm and (kills is None or self.seen.kills.total() < kills):
            # Kills that are asked for are spread over the time.
            mean = MEAN_WAIT if kills is None else (calm - now) / (kills - self.seen.kills.total())
            time.sleep(min(self._random.expovariate(1 / mean), calm - now))
            self._kill_one()
            self._keep_up()
            if self._random.random() < MOSTLY:
                await_(self._all_up, UP_WITHIN, keep=self._keep_up)
        while time.monotonic() < max(over, began + 10.0):
            time.sleep(0.5)
            self._keep_up()
        self._stopping.set()
        for thread in threads:
            thread.join(310)
        self._settle()
        self._look()

    def _all_up(self) -> bool:
        """Return True if each program has written its first heartbeat."""
        beats = ((read_json(self.fleet.home.heartbeat(name)) or {}, self._pid(name)) for name in SAMPLED)
        return all(pid and row.get("pid") == pid for row, pid in beats)

    def _kill_one(self) -> None:
        """Kill one of the victims that run now."""
        for victim in self._random.sample(VICTIMS, len(VICTIMS)):
            pid = self._pid(victim)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.seen.kills[victim] += 1
                    return

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
        if not await_(self._runs_as_wanted, CHECK_INTERVAL + GRACE, keep=self._keep_up):
            state = self.fleet.state
            self.seen.faults.append(
                f"the state wants {state.current_model} (switch {state.switches}, under way: {state.switch}), "
                f"and {self.fleet.generator_model() or 'nothing'} runs"
            )
        say(f"as wanted {time.monotonic() - began:.1f} s after the last kill")
        await_(lambda: not self._lost(), 300, keep=self._keep_up)

    def _runs_as_wanted(self) -> bool:
        state = self.fleet.state
        try:
            info = self.fleet.supervisor.program("generator")
        except FleetError:
            return False
        environ = process_environ(info.pid) if info.pid else {}
        right = environ.get("FLEET_MODEL"), environ.get("FLEET_SWITCHES")
        return state.switch is None and right == (state.current_model, str(state.switches))

    def _lost(self) -> list[int]:
        return checker.lost(read_history(self.fleet.home.history), self.seen.printed)

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.fleet.home.database, timeout=10)) as connection:
            yield connection

    def _look(self) -> None:
        """Hold what was reported against what was printed and against the database; see what grew."""
        seen = self.seen
        events = read_history(self.fleet.home.history)
        skipped = self.fleet.state.skipped
        alphas, missing = self._alphas()
        self.fleet.stop()
        seen.faults += checker.faults(events, seen.printed)
        for name in SAMPLED:
            seen.faults += seen.resources[name].faults(name)
        for text, found in (
            ("alphas reported and not stored", missing),
            ("reads of the state that failed", seen.unreadable),
        ):
            if found:
                seen.faults.append(f"{len(found)} {text}: {found[:5]}")
        committed = sum(event.kind is EventKind.SWITCH_COMMITTED for event in events)
        rows = [
            ("killed", ", ".join(f"{name} {times}" for name, times in sorted(seen.kills.items()))),
            ("kills", str(seen.kills.total())),
            ("failures printed, incidents", f"{len(seen.printed)}, {checker.told(events).total()}"),
            ("odd things", ", ".join(f"{name} {times}" for name, times in sorted(seen.odd.items()))),
            ("lines skipped", str(skipped.count if skipped else 0)),
            ("switches", str(committed)),
            ("commands by exit code", ", ".join(f"{code}: {n}" for code, n in sorted(seen.codes.items()))),
            ("reads of the state", str(seen.reads)),
            ("alphas reported", str(alphas)),
            *((f"growth of the {name}", growth(seen.resources[name])) for name in SAMPLED),
        ]
        say("\n".join(f"{name:<24} {figure}" for name, figure in rows))

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


def soak(folder: Path, seed: int, duration: Seconds, kills: int | None) -> list[str]:
    """Run a soak in a folder and return its faults, with the fleet's last output behind them."""
    one = Soak(folder, seed)
    try:
        one.run(duration, kills)
    finally:
        end(one.fleet, one.server)
    found = one.seen.faults
    return [*found, f"--- the fleet's last output\n{one.fleet.output()[-4000:]}"] if found else []
