"""A soak of three lanes: one sound Ollama, one whose GPU is too small, one that hangs; and `kill -9` of everything.

Victims are the monitors, the generators, the stand-ins and supervisord. A lane must not suffer from another: the sound
one never leaves its top rung, the hanging one is reported and never downgraded, the one out of memory comes to rest on a
rung that fits. The last part of the time is without kills.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.errors import FleetError
from fleet.runtime.home import Home, process_environ
from fleet.runtime.units import Seconds
from state.history import read_history
from state.store import read_state
from tests.processes.fleet import FleetProcess
from tests.soak.parts import Server, await_, say

LANES = ("sound", "small", "hanging")
STANDINS = {
    "sound": {"FLEET_STANDIN_VRAM": "64 GB"},
    "small": {"FLEET_STANDIN_VRAM": "1.2 GB"},
    "hanging": {"FLEET_STANDIN_FAULTS": '[{"kind": "stall", "path": "/api/generate"}]'},
}
SETTINGS = {
    "FLEET_PROFILE": "native",
    "FLEET_OLLAMA_FIRST_TOKEN_TIMEOUT": "5s",
    "FLEET_POLICY_CHECK_INTERVAL": "5s",
    "FLEET_POLICY_COOL_DOWN": "1s",
    "FLEET_POLICY_RECOVER_AFTER": "60s",
    "FLEET_POLICY_CANARY": "true",
}
MEAN_WAIT = 2.0
CALM = 0.4
GRACE: Seconds = 300.0
_SMALL_FITS = 2
"""The first rung of the default ladder that fits into the small GPU."""
_HANGS = (EventKind.OLLAMA_HANGS, EventKind.UNANSWERED)


class LaneSoak:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.faults: list[str] = []
        self.kills: Counter[str] = Counter()
        self.reads = 0
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("FLEET_", "OLLAMA_"))
        }
        self._servers = {lane: Server({**clean, **STANDINS[lane]}, folder / f"{lane}.log") for lane in LANES}
        rows = []
        for lane, server in self._servers.items():
            (folder / f"{lane}.log").touch()
            rows.append(
                f'[[lane]]\nname = "{lane}"\nurl = "{server.url}"\nlog = "file:{folder}/{lane}.log"\n'
            )
        config = folder / "fleet.toml"
        config.write_text("".join(rows))
        self.fleet = FleetProcess(folder / "my home", **SETTINGS, FLEET_CONFIG=str(config))
        self.fleet.home.path.mkdir()

    def home(self, lane: str) -> Home:
        """Return a lane's home."""
        return self.fleet.home.of_lane(lane)

    def run(self, duration: Seconds) -> None:
        """Start, kill, let it settle, and look at what came of it."""
        self._keep_up()
        self.fleet.start()
        reader = threading.Thread(target=self._read_states, daemon=True)
        reader.start()
        began = time.monotonic()
        while time.monotonic() < began + duration * (1 - CALM):
            time.sleep(self._random.expovariate(1 / MEAN_WAIT))
            self._kill_one()
            self._keep_up()
        while time.monotonic() < began + duration:
            time.sleep(0.5)
            self._keep_up()
        self._settle()
        self._stopping.set()
        reader.join(30)
        self._look()

    def end(self) -> None:
        """Leave no process behind."""
        self.fleet.stop()
        for server in self._servers.values():
            server.stop()
        for pid in self.fleet.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _read_states(self) -> None:
        """Read the lanes' states as anyone may, all the time: each always parses."""
        while not self._stopping.wait(0.05):
            for lane in LANES:
                path = self.home(lane).state
                try:
                    json.loads(path.read_bytes())
                    self.reads += 1
                except FileNotFoundError:
                    continue  # before the first write
                except (OSError, ValueError) as error:
                    self.faults.append(f"{lane}: the state cannot be read: {error!r}")

    def _kill_one(self) -> None:
        victims = [
            (f"{part}-{lane}", lane) for part in ("monitor", "generator", "stand-in") for lane in LANES
        ]
        name, lane = self._random.choice([*victims, ("supervisord", "")])
        pid = self._pid(name, lane)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills[name] += 1

    def _pid(self, name: str, lane: str) -> int:
        if name.startswith("stand-in"):
            return self._servers[lane].ensure()
        try:
            return self.fleet.pid(name) if lane else int(self.fleet.home.pid_file.read_text())
        except (FleetError, OSError, ValueError):
            return 0

    def _keep_up(self) -> None:
        for server in self._servers.values():
            server.ensure()
        if self.fleet.ended and self.kills:
            self.fleet.launch()

    def _state(self, lane: str) -> FleetState | None:
        try:
            return read_state(self.home(lane))
        except FleetError:
            return None

    # Afterwards

    def _settle(self) -> None:
        """Wait until each lane is what its Ollama lets it be; what does not come about is a fault."""
        waited = {
            "sound": self._mines("sound"),
            "small": self._mines("small"),
            "hanging": self._hang_reported,
        }
        for lane, look in waited.items():
            if not await_(look, GRACE, keep=self._keep_up):
                state = self._state(lane)
                kinds = [event.kind.value for event in read_history(self.home(lane).history)][-10:]
                self.faults.append(f"{lane} did not come to rest: {state and state.switch}, {kinds}")
        if not await_(self._is_told_apart, GRACE, keep=self._keep_up):
            self.faults.append(f"status --check: {self.fleet.cli('status', '--check').stdout}")

    def _mines(self, lane: str) -> Callable[[], bool]:
        """Return a look that sees the lane's generator on the state's model, with answered calls since now."""
        before = state.finished if (state := self._state(lane)) else 0

        def look() -> bool:
            state = self._state(lane)
            if state is None or state.switch is not None or state.finished <= before:
                return False
            environ = process_environ(self._pid(f"generator-{lane}", lane))
            wanted = (state.current_model, str(state.switches), lane)
            return (
                environ.get("FLEET_MODEL"),
                environ.get("FLEET_SWITCHES"),
                environ.get("FLEET_LANE"),
            ) == wanted

        return look

    def _hang_reported(self) -> bool:
        return any(event.kind in _HANGS for event in read_history(self.home("hanging").history))

    def _is_told_apart(self) -> bool:
        """Return True if the fleet's check names the hanging lane and not the sound one.

        On a machine that is busy, a part may not answer in time; that is no fault of the lane's.
        """
        reasons = self.fleet.cli("status", "--check").stdout.split("; ")
        found = [reason for reason in reasons if "no answer within" not in reason]
        return any(one.startswith("hanging: calls") for one in found) and not any(
            "sound: " in one for one in found
        )

    def _look(self) -> None:
        """Hold the lanes against what their Ollamas are, and the database against what was reported."""
        states = {lane: self._state(lane) for lane in LANES}
        self._count_processes()
        self.fleet.stop()
        for lane in ("sound", "hanging"):
            state = states[lane]
            if state is None or state.switches or state.current_model_index:
                self.faults.append(f"{lane} left its rung: {state}")
        small = states["small"]
        if small is None or small.current_model_index < _SMALL_FITS:
            self.faults.append(f"small is on a rung that does not fit: {small}")
        for lane in LANES:
            numbers = [event.number for event in read_history(self.home(lane).history)]
            if numbers != list(range(1, len(numbers) + 1)):
                self.faults.append(f"{lane}: events out of number: {numbers}")
        if self.fleet.home.state.exists() or self.fleet.home.history.exists():
            self.faults.append("a lane wrote into the files of the lane default")
        self._check_alphas()

    def _count_processes(self) -> None:
        """Find a lane with two monitors or two generators."""
        found: Counter[tuple[str, str]] = Counter()
        for pid in self.fleet.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                for program in ("monitor", "generator"):
                    if words[1:3] == [b"-m", program.encode()]:
                        found[program, process_environ(pid).get("FLEET_LANE", "")] += 1
        wrong = {key: count for key, count in found.items() if count > 1 or key[1] not in LANES}
        if wrong:
            self.faults.append(f"programs that run twice, or for no lane: {wrong}")

    def _check_alphas(self) -> None:
        """Each alpha that a lane reported is stored, and reported by that lane alone."""
        reported = Counter(
            int(word.removeprefix("id="))
            for lane in LANES
            for path in self.home(lane).log.glob("generator.log*")
            for line in path.read_text(errors="replace").splitlines()
            if " evaluation.done " in line
            for word in line.split()
            if word.startswith("id=") and word[3:].isdigit()
        )
        with contextlib.closing(sqlite3.connect(self.fleet.home.database, timeout=10)) as database:
            rows = database.execute(
                "SELECT id, digest, settings_key, source, state FROM evaluations"
            ).fetchall()
        stored = {number for number, *_, state in rows if state == "done"}
        missing, twice = sorted(set(reported) - stored), [one for one, times in reported.items() if times > 1]
        if missing:
            self.faults.append(f"{len(missing)} alphas reported and not stored: {missing[:5]}")
        if twice:
            self.faults.append(f"{len(twice)} alphas reported twice: {twice[:5]}")
        keys = Counter((digest, settings, source) for _, digest, settings, source, _ in rows)
        if any(times > 1 for times in keys.values()):
            self.faults.append("an expression is stored twice")
        say(
            f"kills {self.kills.total()}: {', '.join(f'{name} {times}' for name, times in sorted(self.kills.items()))}\n"
            f"reads of the states {self.reads}, expressions {len(rows)}, alphas reported {len(reported)}"
        )


def soak_lanes(folder: Path, seed: int, duration: Seconds) -> list[str]:
    """Run a soak of three lanes in a folder and return its faults, with the fleet's last output behind them."""
    one = LaneSoak(folder, seed)
    try:
        one.run(duration)
    finally:
        one.end()
    return [*one.faults, f"--- the fleet's last output\n{one.fleet.output()[-4000:]}"] if one.faults else []
