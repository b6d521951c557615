"""GPU memory as reported by `nvidia-smi`, else by `rocm-smi`, where one of them is installed."""

import shutil
import subprocess
from dataclasses import dataclass

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


def cards() -> list[Card] | None:
    """Return the machine's GPUs, None without a tool; raise FleetError if the tool fails."""
    if nvidia := shutil.which("nvidia-smi"):
        return parse_nvidia(_output(nvidia, _NVIDIA))
    if rocm := shutil.which("rocm-smi"):
        return parse_rocm(_output(rocm, _ROCM))
    return None


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
