"""Room on the disk that Ollama keeps its models on, where that disk can be seen from here.

It can where Ollama is a service of this host. A server in a container or on another machine has a disk of its
own: there a pull that finds it full fails with Ollama's own words.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from fleet.runtime.units import GIGABYTE, Bytes, show_size

RESERVE: Bytes = GIGABYTE
"""So much is left free by every pull: a disk that is full to the brim harms more than our models."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Room = Callable[[Bytes], str]
"""Says why so many bytes more have no room, empty if they have (or nobody can say)."""


def no_limit(_needed: Bytes) -> str:
    """Say that there is room: nothing is known of the disk."""
    return ""


def is_here(profile: str, url: str) -> bool:
    """Tell whether a real Ollama works on this machine's own cards."""
    return profile in {"native", "docker"} and urlsplit(url).hostname in _LOOPBACK


def models_folder(profile: str, url: str, environ: Mapping[str, str]) -> Path | None:
    """Return where an Ollama of this host keeps its models, None if it is elsewhere or not to be found."""
    if profile != "native" or urlsplit(url).hostname not in _LOOPBACK:
        return None
    named = environ.get("OLLAMA_MODELS")
    home = environ.get("HOME") or "/root"
    places = (
        [Path(named)] if named else [Path(home, ".ollama/models"), Path("/usr/share/ollama/.ollama/models")]
    )
    return next((place for place in places if place.is_dir()), None)


def room_in(folder: Path | None) -> Room:
    """Return what tells whether there is room in a folder."""
    if folder is None:
        return no_limit

    def lacks(needed: Bytes) -> str:
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            return ""
        if needed + RESERVE <= free:
            return ""
        return f"no room for it: {show_size(needed)} are to come and {show_size(free)} are free in {folder}"

    return lacks
