"""Which profile a fleet runs in: where its Ollama is and where that one's log is.

What a person set wins: `FLEET_PROFILE`, then `[ollama]` in the configuration. Then what the home has been:
one that belongs to a real fleet waits for its Ollama and never falls back to the stand-in. Then what is
there: the container, else a server that answers. The stand-in is for where neither is.
"""

import http.client
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleet.clients.http import Answer, HttpWire, UnixConnection, WireError, send
from fleet.clients.ollama import Ollama, client_url
from fleet.config.schema import OllamaSettings
from fleet.runtime.errors import ConfigError, OllamaError
from fleet.runtime.units import Seconds

CONTAINER = "naive-ollma-gpu"
PROFILES = ("docker", "native", "embedded")


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """A profile with its Ollama and log source, and why it was picked."""

    profile: str
    ollama_url: str
    log_source: str
    why: str


class Probes(Protocol):
    """What is looked for on the machine."""

    def container(self, name: str) -> bool:
        """Tell whether a Docker Engine answers and has this container."""

    def ollama(self, url: str) -> bool:
        """Tell whether an Ollama answers there."""

    def native_log(self) -> str:
        """Return the log source of an Ollama that runs as a service here."""


def choose(
    environ: Mapping[str, str], ollama: OllamaSettings, belongs_to: str | None, probes: Probes
) -> ProfileChoice:
    """Return the profile; raise ConfigError for one that is not known or not this home's.

    `belongs_to` is the profile of the real fleet that the home has been, None if it has been none.
    """
    profile, why = _profile(environ, ollama, belongs_to, probes)
    if profile == "embedded":
        if belongs_to is not None:
            raise ConfigError(
                "this home belongs to a real fleet; the stand-in would mix its files with real ones",
                hint="Give the stand-in a home of its own: FLEET_HOME=DIR FLEET_PROFILE=embedded make run",
            )
        return ProfileChoice(profile, "", "", why)
    log = ollama.log or (f"docker:{CONTAINER}" if profile == "docker" else probes.native_log())
    return ProfileChoice(profile, client_url(ollama.url, environ), log, why)


def _profile(
    environ: Mapping[str, str], ollama: OllamaSettings, belongs_to: str | None, probes: Probes
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
    if belongs_to is not None:
        return belongs_to, "what this home has been so far"
    if probes.container(CONTAINER):
        return "docker", f"the container {CONTAINER} is here"
    url = client_url(ollama.url, environ)
    if probes.ollama(url):
        return "native", f"Ollama answers at {url}"
    return "embedded", f"no container {CONTAINER} and no Ollama at {url}"


_TIMEOUT: Seconds = 1.0
_UNITS = tuple(
    Path(folder) / "systemd" / "system" for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)


class MachineProbes:
    """Asks this machine's Docker Engine, Ollama and journal."""

    def __init__(self, environ: Mapping[str, str], units: Iterable[Path] = _UNITS) -> None:
        self._units = tuple(units)
        self._docker = environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")

    def container(self, name: str) -> bool:
        """Tell whether the Engine at `DOCKER_HOST` has this container; TLS engines are not asked."""
        try:
            return self._ask(f"/containers/{name}/json", _TIMEOUT) == http.client.OK
        except (WireError, ValueError):
            return False

    def engine(self, *, timeout: Seconds = _TIMEOUT) -> str:
        """Return why the Engine at `DOCKER_HOST` cannot be used, empty if it answers or cannot be asked this way."""
        if not self._docker.startswith(("unix://", "tcp://")):
            return ""
        try:
            self._ask("/_ping", timeout)
        except (WireError, ValueError) as error:
            return f"the Docker Engine at {self._docker} cannot be reached: {error}"
        return ""

    def _ask(self, path: str, timeout: Seconds) -> int:
        if self._docker.startswith("unix://"):
            answer: Answer = send(UnixConnection(self._docker.removeprefix("unix://"), timeout), "GET", path)
        elif self._docker.startswith("tcp://"):
            wire = HttpWire("http://" + self._docker.removeprefix("tcp://"))
            answer = wire.request("GET", path, timeout=timeout)
        else:
            raise ValueError(self._docker)
        answer.close()
        return answer.status

    def ollama(self, url: str) -> bool:
        """Tell whether an Ollama answers at `url`."""
        try:
            return bool(Ollama(url).version(timeout=_TIMEOUT))
        except OllamaError:
            return False

    def native_log(self) -> str:
        """Return the journal of the service `ollama` where there is one, else the desktop application's log file.

        Where neither is, the journal, which can be waited for; without journalctl, the file.
        """
        file = Path.home() / ".ollama" / "logs" / "server.log"
        journal = shutil.which("journalctl") is not None
        service = any((folder / "ollama.service").exists() for folder in self._units)
        return "journal:ollama" if journal and (service or not file.exists()) else f"file:{file}"
