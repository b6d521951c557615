"""A fleet that mines on the stand-in Ollama and the stand-in BRAIN, through random faults of both.

A screen on random walks: each expression is evaluated on the panel, the best go to BRAIN. In the first half the
generator is switched and killed too. In the second half it lives on, which shows whether it grows. At the end
database, BRAIN and log must agree.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fleet.runtime.errors import FleetError
from fleet.runtime.units import Seconds
from standin.brain.server import StandinBrain
from standin.brain.settings import BrainStandinSettings
from tests.processes.fleet import FleetProcess
from tests.reference.brain_faults import random_fault
from tests.reference.random_walks import panel
from tests.soak.agreement import Books, disagreements
from tests.soak.parts import Server, await_, end, growth, say
from tests.soak.resources import Resources

SAMPLED = ("monitor", "generator")
DAYS = 520
TOO_MANY = 429
MOST_FAULTS = 6
"""BRAIN's faults in force at a time."""
GOES_ON: Seconds = 1200.0
"""Longest wait for results: kernels to compile, or BRAIN's longest back-off, on a busy machine."""
SETTINGS = {
    "FLEET_PROFILE": "native",
    "FLEET_LOG_FORMAT": "json",
    "FLEET_GENERATOR_EVALUATOR": "screen",
    "FLEET_OLLAMA_FIRST_TOKEN_TIMEOUT": "10s",
    "FLEET_POLICY_COOL_DOWN": "1s",
    "FLEET_POLICY_CHECK_INTERVAL": "5s",
    "FLEET_POLICY_RECOVER_AFTER": "60s",
    "FLEET_POLICY_ON_EXHAUSTED": "reset",
    "FLEET_POLICY_MAX_SWITCHES_PER_HOUR": "3600",
    "FLEET_STANDIN_VRAM": "64 GB",
    "FLEET_STANDIN_PACE": "0.2",
}
COMMANDS: tuple[tuple[str, ...], ...] = (("downgrade",), ("upgrade",), ("reset",), ("use", "2"))
PASSING: tuple[dict[str, Any], ...] = (
    {"kind": "refuse"},
    {"kind": "away", "seconds": 2},
    {"kind": "stall", "path": "/api/generate"},
    {"kind": "error"},
    {"kind": "slow", "first": 1, "each": 0.05},
    {"kind": "break"},
    *({"kind": "rubbish", "what": what} for what in ("text", "cut", "schema", "nested", "html")),
)
OF_MEMORY: tuple[dict[str, Any], ...] = ({"kind": "oom"}, {"kind": "die"}, {"kind": "fail_load"})
"""Faults that lead to switches."""


class LogReader:
    """All lines of a log that supervisord rotates."""

    def __init__(self, path: Path) -> None:
        self.lines: list[bytes] = []
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def read(self) -> None:
        """Read what has come; after a rotation the end of the old file first."""
        if self._file is None and self._path.exists():
            self._file = self._path.open("rb")
        if self._file is None:
            return
        rotated = not self._path.exists() or os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        self.lines += whole
        if rotated:
            self.close()
            self.read()

    def close(self) -> None:
        """Close the file; the next reading begins with the present one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def events(self) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Return the events, and the lines that are none. A kill may cut a line, and the next one follows on it."""
        events, odd = [], []
        for line in self.lines:
            try:
                events.append(json.loads(line[max(0, line.rfind(b'{"time"')) :]))
            except ValueError:
                odd.append(line)
        return events, odd


class Mining:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.faults: list[str] = []
        self.done: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._second_half = threading.Event()
        self._resources = {name: Resources() for name in SAMPLED}
        several = self._random.random() < 0.5
        account = BrainStandinSettings(seconds=0.3, retry_after=0.1, several=several)
        self.brain = StandinBrain(account).start()
        log = folder / "ollama.log"
        log.touch()
        self.server = Server({**os.environ, **SETTINGS}, log)
        self.fleet = FleetProcess(
            folder / "home",
            **SETTINGS,
            FLEET_OLLAMA_URL=self.server.url,
            FLEET_OLLAMA_LOG=f"file:{log}",
            FLEET_PANEL_PATH=str(panel(folder, days=DAYS)),
            FLEET_BRAIN_URL=self.brain.url,
            FLEET_BRAIN_EMAIL=account.email,
            FLEET_BRAIN_PASSWORD=account.password,
        )
        self._log = LogReader(self.fleet.home.log / "generator.log")

    def run(self, duration: Seconds) -> None:
        """Mine through faults until the time is over, let it go on without, and compare what came of it."""
        self.server.ensure()
        self.fleet.start()
        if not await_(lambda: self._stored() > 0, GOES_ON, keep=self._keep_up):
            self.faults.append(f"no result in {GOES_ON:g} s")
        began = time.monotonic()
        threading.excepthook = lambda died: self.faults.append(f"{died.thread} ended: {died.exc_value!r}")
        works = (self._trouble_brain, self._trouble_ollama, self._interrupt)
        threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in threads:
            thread.start()
        while (passed := time.monotonic() - began) < duration:
            if passed > duration / 2:
                self._second_half.set()
            self._keep_up()
            for name in SAMPLED:
                with contextlib.suppress(FleetError):
                    self._resources[name].look(self.fleet.pid(name), time.monotonic())
            time.sleep(0.5)
        self._stopping.set()
        for thread in threads:
            thread.join(310)
        self._calm()
        self._look(time.monotonic() - began)

    # What goes wrong meanwhile

    def _trouble_brain(self) -> None:
        for chance in self._every(4.0):
            fault = random_fault(chance, self.brain, lasting=0.005)
            # A sign-in that BRAIN limits is not repeated for 15 min: nothing else would be tried.
            no_sign_in = fault.path == "/" and fault.status == TOO_MANY
            if not no_sign_in and self.brain.board.left < MOST_FAULTS:
                self.brain.apply(fault)
                self.done["faults of BRAIN"] += 1

    def _trouble_ollama(self) -> None:
        for chance in self._every(6.0):
            kinds = PASSING if self._second_half.is_set() else (*PASSING, *OF_MEMORY)
            self._tell_ollama(
                {"clear": True}
            )  # on a busy machine they would pile up, and no call be answered
            self._tell_ollama({**chance.choice(kinds), "times": chance.choice((1, 1, 2))})
            self.done["faults of Ollama"] += 1

    def _interrupt(self) -> None:
        """Switch and kill the generator."""
        for chance in self._every(20.0):
            if self._second_half.is_set():
                return
            if chance.random() < 0.3:
                with contextlib.suppress(FleetError, ProcessLookupError):
                    os.kill(self.fleet.pid("generator") or 2**22 + 1, signal.SIGKILL)
                    self.done["kills of the generator"] += 1
            else:
                command = self.fleet.cli(*chance.choice(COMMANDS))
                self.done[f"commands with exit code {command.returncode}"] += 1

    def _every(self, mean: Seconds) -> Iterator[random.Random]:
        """Yield a source of chance again and again, after random waits, until the end."""
        chance = random.Random(self._random.random())
        while not self._stopping.wait(chance.expovariate(1 / mean)):
            yield chance

    def _tell_ollama(self, row: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self.server.url}/standin/faults", json.dumps(row).encode(), method="POST"
        )
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5):
            pass

    def _keep_up(self) -> None:
        self.server.ensure()
        self._log.read()

    # Afterwards

    def _calm(self) -> None:
        """Lift all faults and wait until BRAIN's results come again."""
        self.brain.board.clear()
        self._tell_ollama({"clear": True})
        before = self._stored("brain")
        if not await_(lambda: self._stored("brain") > before + 5, GOES_ON, keep=self._keep_up):
            self.faults.append(f"no result of BRAIN's in {GOES_ON:g} s after the last fault")

    def _stored(self, source: str = "") -> int:
        where = "state = 'done'" + (" AND source = 'brain'" if source else "")
        rows = self._rows(f"SELECT count(*) AS number FROM evaluations WHERE {where}")
        return int(rows[0]["number"]) if rows else 0

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a statement; none while the database is not there."""
        path = f"file:{self.fleet.home.database}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(path, uri=True, timeout=10)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(statement)]
        except sqlite3.OperationalError:
            return []

    def _look(self, seconds: Seconds) -> None:
        """Stop the fleet, compare the books, and report."""
        self.fleet.stop()
        self._log.read()
        self._log.close()
        events, odd = self._log.events()
        kills = self.done["kills of the generator"]
        books = Books(
            evaluations=self._rows(
                "SELECT id, digest, settings_key, source, state, expression, alpha_id, sharpe FROM evaluations"
            ),
            simulations=self._rows(
                "SELECT s.id, e.expression, s.state, s.sent, s.status FROM simulations s JOIN evaluations e "
                "ON e.digest = s.digest AND e.settings_key = s.settings_key AND e.source = 'brain'"
            ),
            taken=self.brain.world.taken,
            alphas=self.brain.world.alphas,
            log=events,
            kills=kills,
        )
        self.faults += disagreements(books)
        if len(odd) > kills:
            self.faults.append(f"{len(odd)} odd lines in generator.log: {odd[:5]}")
        self.faults += [f"a traceback in {name}" for name in self._tracebacks()]
        for name in SAMPLED:
            self.faults += self._resources[name].faults(name)
        results = Counter(f"{row['source']} {row['state']}" for row in books.evaluations)
        ended = Counter(row["state"] for row in books.simulations)
        rows = [
            ("seconds", f"{seconds:.0f}"),
            ("evaluations", _shown(results)),
            ("simulations", f"{_shown(ended)}; BRAIN took {len(books.taken)}"),
            ("lines of the log", _shown(Counter(one["event"] for one in events if "." in one["event"]))),
            ("what went wrong", _shown(self.done)),
            *((f"growth of the {name}", growth(self._resources[name])) for name in SAMPLED),
        ]
        say("\n".join(f"{name:<24} {figure}" for name, figure in rows))

    def _tracebacks(self) -> list[str]:
        """Return the logs that have a traceback, and whether the fleet's own output has one."""
        logs = {path.name: path.read_bytes() for path in self.fleet.home.log.iterdir() if path.is_file()}
        logs |= {"generator.log": b"\n".join(self._log.lines), "output": self.fleet.output().encode()}
        return sorted(name for name, text in logs.items() if b"Traceback" in text)


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(counts.items()))


def mine(folder: Path, seed: int, duration: Seconds) -> list[str]:
    """Run a fleet that mines, and return its faults, with the fleet's last output behind them."""
    one = Mining(folder, seed)
    try:
        one.run(duration)
    finally:
        end(one.fleet, one.server)
        one.brain.stop()
    return [*one.faults, f"--- the fleet's last output\n{one.fleet.output()[-4000:]}"] if one.faults else []
