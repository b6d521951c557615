"""The GPU memory of this machine: by the cards' own tool, else by the monitor's reading of Ollama's log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.clients.gpu import NO_FIGURES, Card, cards
from fleet.runtime.errors import FleetError
from fleet.runtime.home import Home
from fleet.runtime.units import Bytes
from fleet.runtime.untrusted import printable, whole_number
from state.store import read_state


@dataclass(frozen=True, slots=True)
class KnownMemory:
    """Bytes of GPU memory, of all cards together, and the origin of the figure."""

    total: Bytes
    origin: str


def each_card(sizes: Sequence[Bytes], ask: Callable[[], list[Card] | None] = cards) -> list[KnownMemory]:
    """Return the memory of each card: of the given sizes, else of the machine's; raise FleetError if there is none."""
    if sizes:
        return [KnownMemory(size, "--gpus") for size in sizes]
    hint = 'Say their memory: lanes --suggest --gpus "8GB,12GB"'
    try:
        found = ask() or []
    except FleetError as error:
        raise FleetError(error.message, hint=f"{error.hint} {hint}".strip()) from error
    if not found:
        raise FleetError("no GPU was found: neither nvidia-smi nor rocm-smi lists one", hint=hint)
    return [KnownMemory(card.total, printable(card.name)) for card in found]


def gpu_memory(home: Home, ask: Callable[[], list[Card] | None] = cards) -> KnownMemory:
    """Return the machine's GPU memory; raise FleetError if it is unknown."""
    try:
        found = ask()
        reason = "neither nvidia-smi nor rocm-smi is here" if found is None else NO_FIGURES
        reason += ", and Ollama's log has not shown it"
    except FleetError as error:
        found, reason = None, error.message
    if found:
        return KnownMemory(
            sum(card.total for card in found), printable(", ".join(card.name for card in found))
        )
    try:
        state = read_state(home)
    except FleetError:
        state = None
    total = whole_number(state.watch.get("gpu_total")) if state is not None else None
    if total:
        return KnownMemory(total, "by Ollama's log")
    raise FleetError(f"the GPU's memory is not known: {reason}", hint="Say it: ladder --suggest --vram 8GB")
