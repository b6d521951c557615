"""Real generator processes for tests: started through the launcher, watched through files, always reaped."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODEL = "qwen2.5:0.5b"
OURS = ("FLEET_", "OLLAMA_", "SUPERVISOR_")


def rest(began: float, *, least: float) -> None:
    """Pause after a look that began then: it takes a fifth of the time at most, since others run beside this test."""
    time.sleep(max(least, 4 * (time.monotonic() - began)))


def no_account(home: Path) -> dict[str, str]:
    """Return what keeps a developer's own BRAIN account out of a test: only the home's credentials count."""
    return {"FLEET_BRAIN_CREDENTIALS": str(home / "credential.txt"), "FLEET_BRAIN_URL": "http://127.0.0.1:9"}


class GeneratorProcess:
    """One generator in a home, with its output kept in files of that home."""

    def __init__(self, home: Path, environ: Mapping[str, str], arguments: tuple[str, ...] = ()) -> None:
        self.home = home
        (home / "run").mkdir(parents=True, exist_ok=True)
        clean = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
        command = [sys.executable, "-S", "-I", str(ROOT / "generator/launcher.py"), *arguments]
        with (home / "stdout").open("ab") as stdout, (home / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=home,
                env={**clean, "FLEET_HOME": str(home), **no_account(home), **environ},
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def log(self) -> str:
        return (self.home / "stdout").read_text()

    @property
    def told(self) -> str:
        return (self.home / "stderr").read_text()

    def until(self, ready: Callable[[], Any], *, what: str, seconds: float = 280.0) -> Any:
        """Poll until something holds; fail with the process's output if it ends or time does."""
        deadline = time.monotonic() + seconds
        while (began := time.monotonic()) < deadline:
            if value := ready():
                return value
            if self.process.poll() is not None:
                break
            rest(began, least=0.02)
        raise AssertionError(
            f"waited for {what} (exit {self.process.poll()})\n{self.log[-4000:]}\n{self.told}"
        )

    def end(self, number: int = signal.SIGTERM, seconds: float = 10.0) -> tuple[int, float]:
        """Send a signal; return the exit code and how long the end took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(seconds), time.monotonic() - began

    def heartbeat(self) -> dict[str, Any]:
        return json_file(self.home / "run/generator.json")

    def signals(self) -> list[dict[str, Any]]:
        try:
            lines = (self.home / "signals.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement; none while the database is not there."""
        path = self.home / "alphas.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
            try:
                return connection.execute(statement, values).fetchall()
            except sqlite3.OperationalError:
                return []

    def count(self, table: str, where: str = "1") -> int:
        rows = self.query(f"SELECT count(*) FROM {table} WHERE {where}")
        return rows[0][0] if rows else 0


def json_file(path: Path) -> dict[str, Any]:
    """Return a small JSON file's object, an empty one while it is not there."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


@contextmanager
def generating(home: Path, url: str, **environ: str) -> Iterator[GeneratorProcess]:
    """Run a generator for the length of a `with` block; it is killed at the end if it is still there."""
    state = home / "model_fleet_state.json"
    if not state.exists():
        home.mkdir(parents=True, exist_ok=True)
        state.write_text(json.dumps({"current_model": MODEL, "current_model_index": 3, "switches": 7}))
    started = GeneratorProcess(home, {"FLEET_OLLAMA_URL": url, **environ})
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait(10)


def embed(home: Path, url: str) -> None:
    """Make the home that of a running fleet on the embedded profile."""
    (home / "run").mkdir(parents=True, exist_ok=True)
    row = {
        "profile": "embedded",
        "ollama_url": url,
        "log_source": "file:x",
        "config": "",
        "socket": "",
        "started": 1,
    }
    (home / "run/fleet.json").write_text(json.dumps(row))
