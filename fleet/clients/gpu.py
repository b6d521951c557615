"""GPU memory as reported by NVIDIA's library, else by `nvidia-smi` or `rocm-smi`, where one of them is installed."""

import importlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeAlias, cast

from fleet.runtime.errors import FleetError
from fleet.runtime.units import MEGABYTE, Bytes, Seconds
from fleet.runtime.untrusted import LARGEST, parse_json, printable, whole_number

_TIMEOUT: Seconds = 5.0
_LONGEST = 256 * 1024
"""Upper bound of a tool's output in bytes: thousands of cards."""

NO_FIGURES = "the card's tool lists no GPU with figures of its memory"
_GRACE: Seconds = 1.0
_hanging: "dict[str, subprocess.Popen[bytes]]" = {}
"""By program, the process that a hanging driver holds; until it ends, no other is started."""

_NVIDIA = ("--query-gpu=uuid,name,memory.used,memory.total", "--format=csv,noheader,nounits")
_ROCM = ("--showmeminfo", "vram", "--json")
_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU with its memory in use, by all processes, and its total."""

    name: str
    used: Bytes
    total: Bytes
    uuid: str = ""


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

    A GPU without figures of its memory, such as one that shares the machine's, is left out. The library is asked where
    the package nvidia-ml-py is installed, since it starts no process. Where the library fails, the tool is asked: its
    error names the cause.
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
        found = [_card_by_library(library, index) for index in range(library.nvmlDeviceGetCount())]
        return [card for card in found if card is not None]
    except (library.NVMLError, ValueError):
        return None
    finally:
        library.nvmlShutdown()


def _card_by_library(library: Any, index: int) -> Card | None:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    memory = library.nvmlDeviceGetMemoryInfo(handle)
    try:
        uuid = library.nvmlDeviceGetUUID(handle)
    except (AttributeError, library.NVMLError):
        uuid = ""  # the card is read all the same
    name = library.nvmlDeviceGetName(handle)
    return _card(_text(name), memory.used, memory.total, uuid=_text(uuid))


def _text(value: object) -> str:
    """Return a text of the library, which versions before 11.5 return as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _card(name: str, used: object, total: object, *, unit: Bytes = 1, uuid: str = "") -> Card | None:
    """Return a card of figures in `unit`; None if one of them is missing or impossible."""
    taken, whole = whole_number(used), whole_number(total)
    if taken is None or whole is None or taken < 0 or not 0 < whole * unit <= LARGEST:
        return None
    return Card(printable(name), min(taken, whole) * unit, whole * unit, printable(uuid))


def _output(program: str, options: tuple[str, ...]) -> str:
    hint = "Check that the driver is loaded."
    late = FleetError(f"{program} gives no whole answer within {_TIMEOUT:.0f} s", hint=hint)
    if program in _hanging and _hanging[program].poll() is None:
        raise late
    try:
        process = subprocess.Popen(
            [program, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise FleetError(f"{program} does not start: {error.strerror}", hint=hint) from error
    try:
        text = _read(process)
        code = process.wait(_GRACE)
    except (TimeoutError, subprocess.TimeoutExpired):
        _end(program, process)
        raise late from None
    if code:
        reason = next((line for line in text.splitlines() if line.strip()), f"exit code {code}")
        raise FleetError(
            f"{program} fails: {printable(reason.strip())}",
            hint="Reload the driver, or reboot; until then Ollama runs on the CPU.",
        )
    return text


def _read(process: "subprocess.Popen[bytes]") -> str:
    """Return a tool's output; raise TimeoutError if the output is too long or does not end in time."""
    end, found = time.monotonic() + _TIMEOUT, b""
    with cast("IO[bytes]", process.stdout) as pipe:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while len(found) <= _LONGEST and poll.poll(max(0.0, end - time.monotonic()) * 1000):
            part = os.read(pipe.fileno(), _LONGEST)
            if not part:
                return found.decode(errors="replace")
            found += part
    raise TimeoutError


def _end(program: str, process: "subprocess.Popen[bytes]") -> None:
    """Kill a tool with its children, without a wait: no signal ends a tool within a hanging driver."""
    os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        _hanging[program] = process


def parse_nvidia(text: str) -> list[Card]:
    """Return the GPUs of nvidia-smi's CSV, with sizes in MiB; other rows are skipped."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.rsplit(",", 2)]
        if len(parts) != _COLUMNS:
            continue
        uuid, comma, name = parts[0].partition(",")
        if not comma or not uuid.startswith("GPU-"):
            uuid, name = "", parts[0]
        found.append(_card(name.strip(), parts[1], parts[2], unit=MEGABYTE, uuid=uuid))
    return [card for card in found if card is not None]


def parse_rocm(text: str) -> list[Card]:
    """Return the GPUs of rocm-smi's JSON, with sizes in bytes; raise FleetError for any other text.

    rocm-smi prints warnings beside the JSON. A card without figures is left out.
    """
    try:
        value = parse_json(text[text.index("{") : text.rindex("}") + 1])
        rows = {name: row for name, row in value.items() if name.startswith("card")}
        found = [
            _card(name, row.get("VRAM Total Used Memory (B)"), row.get("VRAM Total Memory (B)"))
            for name, row in rows.items()
        ]
        if rows and not any(found):
            raise ValueError("no card has figures")  # noqa: TRY301  # one way to report it
    except (ValueError, AttributeError) as error:
        raise FleetError(
            "the output of rocm-smi is not understood", hint=f"Run it by hand: rocm-smi {' '.join(_ROCM)}"
        ) from error
    return [card for card in found if card is not None]
