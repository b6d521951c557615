"""GPU memory as reported by NVIDIA's library, else by `nvidia-smi` or `rocm-smi`, where one of them is installed."""

import importlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from fleet.runtime.errors import FleetError
from fleet.runtime.units import MEGABYTE, Bytes, Seconds
from fleet.runtime.untrusted import parse_json, whole_number

_TIMEOUT: Seconds = 5.0
_NVIDIA = ("--query-gpu=name,memory.used,memory.total", "--format=csv,noheader,nounits")
_ROCM = ("--showmeminfo", "vram", "--json")
_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU with its memory in use, by all processes, and its total."""

    name: str
    used: Bytes
    total: Bytes


Cards: TypeAlias = Callable[[], list[Card] | None]
"""Returns the GPUs that Ollama uses, None if they cannot be asked; raises FleetError if a tool fails."""


def is_amd() -> bool:
    """Return True if only AMD's tool is on this machine."""
    return shutil.which("nvidia-smi") is None and shutil.which("rocm-smi") is not None


def no_cards() -> list[Card] | None:
    """Return None: Ollama's GPUs cannot be asked from here."""
    return None


def cards() -> list[Card] | None:
    """Return the machine's GPUs, None where nothing can be asked; raise FleetError if a tool fails.

    The library is asked where the package nvidia-ml-py is installed; it starts no process. Where it fails, the tool says
    why.
    """
    found = _by_library()
    if found:
        return found
    if nvidia := shutil.which("nvidia-smi"):
        return parse_nvidia(_output(nvidia, _NVIDIA))
    if rocm := shutil.which("rocm-smi"):
        return parse_rocm(_output(rocm, _ROCM))
    return None


def _by_library() -> list[Card] | None:
    """Return the GPUs by NVIDIA's library, None without it or if it fails."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
    except library.NVMLError:
        return None  # no driver, or no card
    try:
        return [_card(library, index) for index in range(library.nvmlDeviceGetCount())]
    except (library.NVMLError, ValueError):
        return None
    finally:
        library.nvmlShutdown()


def _card(library: Any, index: int) -> Card:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    memory, name = library.nvmlDeviceGetMemoryInfo(handle), library.nvmlDeviceGetName(handle)
    # Versions before 11.5 return bytes.
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return Card(text, _bytes(memory.used), _bytes(memory.total))


def _output(program: str, options: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [program, *options],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FleetError(
            f"{program} does not answer: {error}", hint="Check that the driver is loaded."
        ) from error
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        reason = lines[0] if lines else f"exit code {done.returncode}"
        raise FleetError(
            f"{program} fails: {reason}",
            hint="Reload the driver, or reboot; until then Ollama runs on the CPU.",
        )
    return done.stdout


def parse_nvidia(text: str) -> list[Card]:
    """Return the GPUs of nvidia-smi's CSV, with sizes in MiB; other rows are skipped."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.rsplit(",", 2)]
        used, total = (whole_number(part) for part in parts[1:]) if len(parts) == _COLUMNS else (None, None)
        if used is not None and total is not None:
            found.append(Card(parts[0], used * MEGABYTE, total * MEGABYTE))
    return found


def parse_rocm(text: str) -> list[Card]:
    """Return the GPUs of rocm-smi's JSON, with sizes in bytes; raise FleetError for any other text."""
    try:
        rows = {name: row for name, row in parse_json(text).items() if name.startswith("card")}
        return [
            Card(name, _bytes(row["VRAM Total Used Memory (B)"]), _bytes(row["VRAM Total Memory (B)"]))
            for name, row in rows.items()
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FleetError(
            "the output of rocm-smi is not understood", hint=f"Run it by hand: rocm-smi {' '.join(_ROCM)}"
        ) from error


def _bytes(value: object) -> Bytes:
    size = whole_number(value)
    if size is None:
        raise ValueError("no number of bytes")
    return size
