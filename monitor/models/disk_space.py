"""Free space on the disk of Ollama's models, if that disk can be seen from here.

The disk can be seen if Ollama is a service of this host. A server in a container or on another machine has its own
disk. A pull onto a full disk fails there with Ollama's own error.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from fleet.runtime.units import GIGABYTE, Bytes, show_size
from monitor.models.pull import DiskCheck, no_limit

RESERVE: Bytes = GIGABYTE
"""Free space that every pull leaves: a full disk does more harm than a missing model."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_here(profile: str, url: str) -> bool:
    """Return True if a real Ollama uses this machine's own cards."""
    return profile in {"native", "docker"} and urlsplit(url).hostname in _LOOPBACK


def models_folder(profile: str, url: str, environ: Mapping[str, str]) -> Path | None:
    """Return the folder of this host's Ollama models, None if Ollama is elsewhere or the folder is not found."""
    if profile != "native" or urlsplit(url).hostname not in _LOOPBACK:
        return None
    named = environ.get("OLLAMA_MODELS")
    home = environ.get("HOME") or "/root"
    places = (
        [Path(named)] if named else [Path(home, ".ollama/models"), Path("/usr/share/ollama/.ollama/models")]
    )
    # `Path.is_dir` raises where a folder above is closed, as the home of Ollama's own user is.
    return next((place for place in places if os.path.isdir(place)), None)  # noqa: PTH112


def disk_check(folder: Path | None) -> DiskCheck:
    """Return the check of a folder's disk."""
    if folder is None:
        return no_limit

    def check(needed: Bytes) -> str:
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            return ""
        if needed + RESERVE <= free:
            return ""
        return f"the disk is too full: {show_size(needed)} are to come and {show_size(free)} are free in {folder}"

    return check
