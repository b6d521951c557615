"""Containers and Compose stacks of a test: run, looked into, and gone afterwards whatever happened."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from fleet.runtime.home import ROOT
from tests.parts.docker_engine import Engine
from tests.processes.fleet import MEMORY_FAILURE, eventually

HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")
OLLAMA = "naive-ollma-gpu"
FLEET = "model-fleet"
PROXY = "model-fleet-log-proxy"


@dataclass(frozen=True, slots=True)
class Docker:
    """The `docker` command of one Engine."""

    engine: Engine

    def __call__(self, *arguments: str, ok: bool = True, text: str | None = None) -> str:
        """Run a command; return what it printed, stripped."""
        done = self.run(*arguments, text=text)
        assert done.returncode == 0 or not ok, (arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    def run(self, *arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command and return how it came out."""
        return subprocess.run(
            ["docker", *arguments],
            env={**os.environ, **self.engine.environ},
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def inspect(self, name: str) -> dict[str, Any]:
        """Return the Engine's description of a container."""
        found = json.loads(self("inspect", name))[0]
        assert isinstance(found, dict)
        return found

    def logs(self, name: str) -> str:
        """Return a container's output so far."""
        done = self.run("logs", name)
        return done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class FleetContainer:
    """A fleet in a container."""

    docker: Docker
    name: str

    def exec(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in it, as a person would with `docker exec`."""
        return self.docker.run("exec", self.name, *command)

    def sh(self, script: str) -> str:
        """Return what a shell script prints in it."""
        done = self.exec("sh", "-c", script)
        return done.stdout.strip()

    def programs(self) -> dict[str, str]:
        """Return each program's state, from `supervisorctl status` with no options."""
        lines = self.exec("supervisorctl", "status").stdout.splitlines()
        parts = [line.split() for line in lines]
        return {part[0]: part[1] for part in parts if len(part) > 1}

    def running(self) -> bool:
        """Tell whether both programs run."""
        states = self.programs()
        return {"monitor", "generator"} <= set(states) and set(states.values()) == {"RUNNING"}

    def status(self) -> dict[str, Any]:
        """Return `fleet_cli.py status --json`; empty while there is none."""
        done = self.exec("python", "fleet_cli.py", "status", "--json")
        row = json.loads(done.stdout) if done.returncode == 0 else {}
        assert isinstance(row, dict)
        return row

    def index(self) -> int | None:
        """Return the rung that the state is on and the generator runs, None while there is none."""
        row = self.status()
        return None if not row or row["switch"] is not None else int(row["current_model"]["index"])

    def model(self) -> str:
        """Return the model in the generator's environment."""
        environ = self.sh('tr "\\0" "\\n" < /proc/$(supervisorctl pid generator)/environ')
        pairs = dict(line.partition("=")[::2] for line in environ.splitlines())
        return pairs.get("FLEET_MODEL", "")

    def history(self) -> list[dict[str, Any]]:
        """Return all events of its history."""
        text = self.sh("cat var/history.jsonl")
        return [json.loads(line) for line in text.splitlines()]

    def await_running(self) -> None:
        """Wait until both programs run."""
        eventually(self.running, within=90, what=f"programs RUNNING\n{self.docker.logs(self.name)}")

    def await_model(self, index: int, model: str) -> None:
        """Wait until the fleet is on a rung, and its generator runs that model."""
        try:
            eventually(lambda: self.index() == index, within=60)
        except AssertionError:
            status = {
                name: self.status().get(name) for name in ("current_model", "switch", "hold", "generator")
            }
            told = "\n".join(json.dumps(row) for row in self.history()[-20:])
            raise AssertionError(
                f"not on rung {index}: {status}\n{told}\n{self.docker.logs(self.name)}"
            ) from None
        eventually(lambda: self.model() == model, within=30, what=f"a generator on {model}")


@contextmanager
def running(
    engine: Engine, image: str, *options: str, command: Sequence[str] = (), home: str | None = None
) -> Iterator[FleetContainer]:
    """Run a hardened container of an image until the block ends, with a volume of its own for its home."""
    docker = Docker(engine)
    name = f"fleet-test-{uuid4().hex[:8]}"
    volume = home or name
    try:
        mount = ("--volume", f"{volume}:/var/lib/fleet")
        docker("run", "--detach", "--name", name, *HARDENED, *mount, *options, image, *command)
        yield FleetContainer(docker, name)
    finally:
        docker("rm", "--force", name, ok=False)
        if home is None:
            docker("volume", "rm", "--force", volume, ok=False)


@dataclass(slots=True)
class Stack:
    """The Compose files with the stand-in in Ollama's place."""

    engine: Engine
    compose: Sequence[str]
    files: Sequence[str]
    environ: dict[str, str]
    project: str = field(default_factory=lambda: f"fleet-test-{uuid4().hex[:6]}")

    @property
    def docker(self) -> Docker:
        """Return the Engine's command."""
        return Docker(self.engine)

    @property
    def fleet(self) -> FleetContainer:
        """Return the fleet's container."""
        return FleetContainer(self.docker, FLEET)

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a Compose command on the stack."""
        files = [part for name in self.files for part in ("-f", name)]
        environ = {**os.environ, **self.engine.environ, **self.environ}
        done = subprocess.run(
            [*self.compose, "-p", self.project, *files, *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done

    def up(self) -> None:
        """Start what does not run, and wait for it."""
        self("up", "-d", "--no-build")
        self.fleet.await_running()

    def down(self, *, volumes: bool = True) -> None:
        """Take it all away."""
        self("down", "--timeout", "10", *(["--volumes"] if volumes else []))

    def fail(self, times: int = 1) -> None:
        """Write failure lines of a real Ollama to its container's output, some time apart."""
        for number in range(times):
            if number:
                time.sleep(0.5)
            self.docker("exec", OLLAMA, "sh", "-c", f"echo '{MEMORY_FAILURE}' > /proc/1/fd/2")


def compose_commands() -> dict[str, list[str]]:
    """Return the Compose of each version that this machine has; FLEET_COMPOSE_V2 names a Compose 2 outside the PATH."""
    found = {}
    if path := shutil.which("docker-compose"):
        done = subprocess.run([path, "version", "--short"], capture_output=True, text=True, check=False)
        found["v1" if done.stdout.startswith("1.") else "v2"] = [path]
    plugin = os.environ.get("FLEET_COMPOSE_V2", "")
    if plugin and Path(plugin).is_file():
        found["v2"] = [plugin]
    elif shutil.which("docker"):
        done = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found["v2"] = ["docker", "compose"]
    return found
