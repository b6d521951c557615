"""Which profile a fleet runs in: where its Ollama is and where that one's log is.

What a person set wins: `FLEET_PROFILE`, then `[ollama]` in the configuration. Then what the home has been:
one that belongs to a real fleet waits for its Ollama and never falls back to the stand-in. Then what is
there: the container, else a server that answers. The stand-in is for where neither is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fleet.clients.ollama import client_url
from fleet.config.schema import OllamaSettings
from fleet.runtime.errors import ConfigError

CONTAINER = "naive-ollma-gpu"
PROFILES = ("docker", "native", "embedded")


@dataclass(frozen=True, slots=True)
class Choice:
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
) -> Choice:
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
        return Choice(profile, "", "", why)
    log = ollama.log or (f"docker:{CONTAINER}" if profile == "docker" else probes.native_log())
    return Choice(profile, client_url(ollama.url, environ), log, why)


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
