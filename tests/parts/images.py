"""The project's images, built from their real Dockerfiles on a test's Engine.

The base is a minimal Debian with Python in the place of the Dockerfiles' own, so that no image registry is needed. What this
machine's pip is configured with (a certificate, an index) goes into that base, and nowhere else.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fleet.runtime.home import ROOT
from tests.parts import docker_engine as engines
from tests.parts.docker_engine import Engine

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "timeout")

_RECIPE = f"""\
FROM {engines.BASE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv > /dev/null \\
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY ca.crt {_CERTIFICATES}
COPY pip.conf /etc/pip.conf
"""

BASE = "fleet-test/python:latest"
FULL = "fleet-test/model-fleet:full"
SLIM = "fleet-test/model-fleet:slim"
PROXY = "fleet-test/log-proxy:latest"


class BuildError(AssertionError):
    """An image could not be built; the text is the end of what the build said."""


@dataclass(frozen=True, slots=True)
class Images:
    """Builds images on one Engine, each once."""

    engine: Engine

    def base(self) -> str:
        """Return the base image: Debian with Python, and this machine's way to packages."""
        if not self.size(BASE):
            self.engine.base_image()
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                (folder / "pip.conf").write_text(_pip_settings())
                (folder / "ca.crt").write_bytes(_CERTIFICATES.read_bytes())
                (folder / "Dockerfile").write_text(_RECIPE)
                self._build(folder, BASE)
        return BASE

    def full(self) -> str:
        """Return the image with the local backtest; takes some minutes."""
        return self._built(FULL, ROOT)

    def slim(self) -> str:
        """Return the image without the local backtest's libraries."""
        return self._built(SLIM, ROOT, LOCK="slim")

    def proxy(self) -> str:
        """Return the log proxy's image."""
        return self._built(PROXY, ROOT / "container" / "log-proxy")

    def size(self, tag: str) -> int:
        """Return an image's size in bytes, 0 if there is none of this name."""
        done = self._docker("image", "inspect", "--format", "{{.Size}}", tag)
        return int(done.stdout) if done.returncode == 0 else 0

    def _built(self, tag: str, folder: Path, **arguments: str) -> str:
        if not self.size(tag):
            self._build(folder, tag, BASE=self.base(), **arguments)
        return tag

    def _build(self, folder: Path, tag: str, **arguments: str) -> None:
        pairs = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        done = self._docker("build", "--network", "host", "--tag", tag, *pairs, str(folder))
        if done.returncode:
            raise BuildError(f"{tag}:\n{(done.stdout + done.stderr)[-3000:]}")

    def _docker(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environ = {**os.environ, **self.engine.environ, "DOCKER_BUILDKIT": "0"}
        return subprocess.run(
            ["docker", *arguments], env=environ, capture_output=True, text=True, check=False, timeout=900
        )


def _pip_settings() -> str:
    """Return a pip.conf with what this machine's pip needs to reach its index."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    lines = ["[global]", f"cert = {_CERTIFICATES}"]
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2].removeprefix("default-")
        if key in _PIP_KEYS:
            lines.append(f"{key} = {value.strip(chr(39))}")
    return "\n".join(lines) + "\n"
