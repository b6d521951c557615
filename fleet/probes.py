"""Looking at the machine for an Ollama: the shell of `fleet.profile`."""

import http.client
import shutil
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import OllamaError
from fleet.httpwire import HttpWire, UnixConnection, WireError, send
from fleet.ollama import Ollama
from fleet.units import Seconds

_TIMEOUT: Seconds = 1.0


class MachineProbes:
    """Asks this machine's Docker Engine, Ollama and journal."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._docker = environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")

    def container(self, name: str) -> bool:
        """Tell whether the Engine at `DOCKER_HOST` has this container; TLS engines are not asked."""
        path = f"/containers/{name}/json"
        try:
            if self._docker.startswith("unix://"):
                answer = send(UnixConnection(self._docker.removeprefix("unix://"), _TIMEOUT), "GET", path)
            elif self._docker.startswith("tcp://"):
                wire = HttpWire("http://" + self._docker.removeprefix("tcp://"))
                return wire.request("GET", path, timeout=_TIMEOUT).status == http.client.OK
            else:
                return False
            answer.close()
        except (WireError, ValueError):
            return False
        return answer.status == http.client.OK

    def ollama(self, url: str) -> bool:
        """Tell whether an Ollama answers at `url`."""
        try:
            return bool(Ollama(url).version(timeout=_TIMEOUT))
        except OllamaError:
            return False

    def native_log(self) -> str:
        """Return the log file that Ollama's desktop application writes where it exists, else the journal."""
        file = Path.home() / ".ollama" / "logs" / "server.log"
        if file.exists() or shutil.which("journalctl") is None:
            return f"file:{file}"
        return "journal:ollama"
