"""Looking at the machine for an Ollama: the shell of `fleet.startup.profile`."""

import http.client
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleet.clients.http import Answer, HttpWire, UnixConnection, WireError, send
from fleet.clients.ollama import Ollama
from fleet.runtime.errors import OllamaError
from fleet.runtime.units import Seconds

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
