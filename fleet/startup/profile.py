"""The choice of the profile: the Ollama that a fleet uses, and the log that it follows.

The first of these decides:
- `FLEET_PROFILE`;
- `[ollama]` in the configuration;
- the profile of the home's earlier real fleet, which waits for its Ollama and never falls back to the stand-in;
- the container;
- an Ollama that answers;
- the service `ollama` of this host, which may still be starting;
- the stand-in.
"""

import http.client
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleet.clients.http import HttpTransport, Response, TransportError, UnixConnection, send
from fleet.clients.ollama import Ollama, client_url
from fleet.config.schema import OllamaSettings
from fleet.runtime.errors import ConfigError, OllamaError
from fleet.runtime.units import Seconds

CONTAINER = "naive-ollma-gpu"
PROFILES = ("docker", "native", "embedded")


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """A profile with its Ollama and log source, and the reason for the choice."""

    profile: str
    ollama_url: str
    log_source: str
    why: str


class Probes(Protocol):
    """The questions that the choice asks about the machine."""

    def container(self, name: str) -> bool:
        """Return True if a Docker Engine answers and has this container."""

    def ollama(self, url: str) -> bool:
        """Return True if an Ollama answers at `url`."""

    def service(self) -> bool:
        """Return True if this host has the service `ollama`, running or not."""

    def native_log(self) -> str:
        """Return the log source of an Ollama on this host."""


def choose(
    environ: Mapping[str, str], ollama: OllamaSettings, earlier: str | None, probes: Probes
) -> ProfileChoice:
    """Return the profile; raise ConfigError for a profile that is unknown or does not fit home or configuration.

    `earlier` is the profile of the home's earlier real fleet, None if there was none.
    """
    profile, why = _profile(environ, ollama, earlier, probes)
    if profile == "embedded":
        _refuse_real_ollama(ollama)
        if earlier is not None:
            raise ConfigError(
                "this home belongs to a real fleet; the stand-in would mix its files with real ones",
                hint="Give the stand-in a home of its own: FLEET_HOME=DIR FLEET_PROFILE=embedded make run",
            )
        return ProfileChoice(profile, "", "", why)
    log = ollama.log or (f"docker:{CONTAINER}" if profile == "docker" else probes.native_log())
    return ProfileChoice(profile, client_url(ollama.url, environ), log, why)


def _refuse_real_ollama(ollama: OllamaSettings) -> None:
    """Raise ConfigError if `[ollama]` names a server or a log, which the stand-in would ignore."""
    given = [name for name in ("url", "log") if getattr(ollama, name)]
    if given:
        raise ConfigError(
            f"FLEET_PROFILE=embedded starts the stand-in, which would ignore [ollama] {' and '.join(given)}",
            hint="Unset FLEET_PROFILE to use that Ollama. For the stand-in, remove these keys from fleet.toml or "
            "set FLEET_OLLAMA_URL and FLEET_OLLAMA_LOG to empty values.",
        )


def _profile(
    environ: Mapping[str, str], ollama: OllamaSettings, earlier: str | None, probes: Probes
) -> tuple[str, str]:
    asked = environ.get("FLEET_PROFILE", "").strip()
    if asked:
        if asked not in PROFILES:
            raise ConfigError(
                f"there is no profile {asked!r}", hint=f"FLEET_PROFILE is {' or '.join(PROFILES)}."
            )
        return asked, "set by FLEET_PROFILE"
    if ollama.log:
        return ("docker" if ollama.log.startswith("docker:") else "native"), "by [ollama] log"
    if ollama.url:
        return "native", "by [ollama] url"
    if earlier is not None:
        return earlier, "that of this home's earlier fleet"
    if probes.container(CONTAINER):
        return "docker", f"there is a container {CONTAINER}"
    url = client_url(ollama.url, environ)
    if probes.ollama(url):
        return "native", f"Ollama answers at {url}"
    if probes.service():
        return "native", f"this host has the service ollama; nothing answers at {url} yet"
    return "embedded", f"no container {CONTAINER} and no Ollama at {url}"


_TIMEOUT: Seconds = 1.0
_UNITS = tuple(
    Path(folder) / "systemd" / "system" for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)


class MachineProbes:
    """The answers of this machine's Docker Engine, Ollama and journal."""

    def __init__(self, environ: Mapping[str, str], units: Iterable[Path] = _UNITS) -> None:
        self._units = tuple(units)
        self._docker = environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")

    def container(self, name: str) -> bool:
        """Return True if the Engine at `DOCKER_HOST` has this container; Engines over TLS are not asked."""
        try:
            return self._ask(f"/containers/{name}/json", _TIMEOUT) == http.client.OK
        except (TransportError, ValueError):
            return False

    def engine(self, *, timeout: Seconds = _TIMEOUT) -> str:
        """Return why the Engine at `DOCKER_HOST` cannot be used, empty if it answers or has another kind of address."""
        if not self._docker.startswith(("unix://", "tcp://")):
            return ""
        try:
            self._ask("/_ping", timeout)
        except (TransportError, ValueError) as error:
            return f"the Docker Engine at {self._docker} cannot be reached: {error}"
        return ""

    def _ask(self, path: str, timeout: Seconds) -> int:
        if self._docker.startswith("unix://"):
            answer: Response = send(
                UnixConnection(self._docker.removeprefix("unix://"), timeout), "GET", path
            )
        elif self._docker.startswith("tcp://"):
            transport = HttpTransport("http://" + self._docker.removeprefix("tcp://"))
            answer = transport.request("GET", path, timeout=timeout)
        else:
            raise ValueError(self._docker)
        answer.close()
        return answer.status

    def ollama(self, url: str) -> bool:
        """Return True if an Ollama answers at `url`."""
        try:
            return bool(Ollama(url).version(timeout=_TIMEOUT))
        except OllamaError:
            return False

    def service(self) -> bool:
        """Return True if systemd has a unit `ollama.service`; one linked to /dev/null is masked and never starts."""
        # As in systemd, the first folder with that name decides. `Path.is_file` raises where a folder above is closed.
        units = (folder / "ollama.service" for folder in self._units)
        return next((os.path.isfile(unit) for unit in units if os.path.lexists(unit)), False)  # noqa: PTH113

    def native_log(self) -> str:
        """Return the journal of the service `ollama`, or the desktop application's log file where only that exists.

        With neither, return the journal, which may still come to exist; without journalctl, return the file.
        """
        file = Path.home() / ".ollama" / "logs" / "server.log"
        journal = shutil.which("journalctl") is not None
        missing = not os.path.exists(file)  # noqa: PTH110  # as above
        return "journal:ollama" if journal and (self.service() or missing) else f"file:{file}"
