"""`ladder --suggest`: a ladder for a card, of models that Ollama has and of a table; the choice is pure.

A rung needs its weights and the KV cache at its context. A tenth of the card, and at least half a gigabyte, is left to
the runner's own buffers.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.planning.memory import KnownMemory
from fleet.clients.ollama import LocalModel, ModelDetails, Ollama
from fleet.config.ladder import same_model
from fleet.runtime.errors import FleetError, OllamaError
from fleet.runtime.logging import plain_text
from fleet.runtime.units import GIGABYTE, MEGABYTE, Bytes, show_size
from monitor.models.inventory import kv_cache_bytes

TABLE = Path(__file__).with_name("models.toml")

_BUFFERS = 0.1
_LEAST_BUFFERS = GIGABYTE // 2
_LARGE_CARD = 10 * GIGABYTE
_CONTEXT, _LARGE_CONTEXT = 4096, 8192
_STEP = 0.7
"""Largest need of a rung, as a share of the rung above: a smaller step frees too little."""
_NEAR = 0.75
"""Least need of a model in Ollama, as a share of a larger missing one's, to be preferred."""
_MOST = 5
_MOST_ASKED = 50
_LEAST_WEIGHTS = 50 * MEGABYTE
"""Smaller entries are no weights: models that run in Ollama's cloud."""


@dataclass(frozen=True, slots=True)
class ModelOption:
    """A model with the figures of its need; `info` is in the form of `/api/show`'s model_info."""

    name: str
    weights: Bytes
    info: Mapping[str, Any]
    present: bool = False

    def context(self, wanted: int) -> int:
        """Return the context, at most the model's own."""
        own = self.info.get(f"{self.info.get('general.architecture')}.context_length")
        return min(wanted, own) if isinstance(own, int) and own > 0 else wanted

    def cache(self, wanted: int) -> Bytes | None:
        """Return the size of the KV cache, None if the model's figures are unknown."""
        return kv_cache_bytes(self.info, self.context(wanted))


@dataclass(frozen=True, slots=True)
class SuggestedRung:
    """A rung with its need and the rest of the card's memory, in bytes."""

    model: str
    context: int
    weights: Bytes
    cache: Bytes
    need: Bytes
    free: Bytes
    present: bool


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A ladder for this much memory, known from `origin`; `buffers` is the part that no rung takes."""

    memory: Bytes
    origin: str
    buffers: Bytes
    rungs: tuple[SuggestedRung, ...]


def suggest(memory: KnownMemory, candidates: Iterable[ModelOption], reserve: Bytes = 0) -> Suggestion:
    """Return a ladder of at most five rungs, largest first; raise FleetError if no model fits.

    `reserve` is left to other programs, in addition to the buffers of a model.
    """
    total = memory.total
    buffers = max(round(total * _BUFFERS), _LEAST_BUFFERS) + reserve
    wanted = _LARGE_CONTEXT if total >= _LARGE_CARD else _CONTEXT
    able = [rung for one in candidates if (rung := _rung(one, total, wanted)) and rung.free >= buffers]
    rungs = tuple(_steps(sorted(able, key=lambda rung: rung.need, reverse=True)))
    if not rungs:
        raise FleetError(
            f"no known model fits into {show_size(total)} with {show_size(buffers)} left free",
            hint="On so small a card let Ollama run a model on the CPU: options = { num_gpu = 0 }.",
        )
    return Suggestion(total, memory.origin, buffers, rungs)


def _rung(one: ModelOption, memory: Bytes, wanted: int) -> SuggestedRung | None:
    cache = one.cache(wanted)
    if cache is None:
        return None
    need = one.weights + cache
    return SuggestedRung(one.name, one.context(wanted), one.weights, cache, need, memory - need, one.present)


def _steps(able: Sequence[SuggestedRung]) -> Iterator[SuggestedRung]:
    """Yield the rungs: each the largest real step down, or a similar model that Ollama has."""
    limit: float = float("inf")
    for _ in range(_MOST):
        below = [rung for rung in able if rung.need <= limit]
        if not below:
            return
        here = [rung for rung in below if rung.present and rung.need >= _NEAR * below[0].need]
        chosen = (here or below)[0]
        yield chosen
        limit = chosen.need * _STEP


def table() -> list[ModelOption]:
    """Return the models of the table that ships."""
    rows = tomllib.loads(TABLE.read_text("utf-8"))["model"]
    return [ModelOption(row["name"], row["bytes"], _info(row)) for row in rows]


def _info(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "general.architecture": "table",
        "table.block_count": row["layers"],
        "table.attention.head_count": row["kv_heads"],
        "table.attention.head_count_kv": row["kv_heads"],
        "table.attention.key_length": row["head_size"],
        "table.embedding_length": row["kv_heads"] * row["head_size"],
        "table.context_length": row["context"],
    }


def candidates_of(ollama: Ollama | None) -> list[ModelOption]:
    """Return the models that Ollama has, and the others of the table. Without Ollama return the table alone."""
    here: list[ModelOption] = []
    if ollama is not None:
        try:
            models = [model for model in ollama.tags() if model.size >= _LEAST_WEIGHTS][:_MOST_ASKED]
            here = [one for model in models if (one := _present(ollama, model))]
        except OllamaError:
            here = []
    return here + [one for one in table() if not any(same_model(one.name, other.name) for other in here)]


def _present(ollama: Ollama, model: LocalModel) -> ModelOption | None:
    try:
        details: ModelDetails = ollama.show(model.name)
    except OllamaError:
        return None
    embeds = "bert" in str(details.info.get("general.architecture"))  # it writes no text
    return None if embeds else ModelOption(model.name, model.size, details.info, present=True)


def suggestion_row(suggestion: Suggestion) -> dict[str, Any]:
    """Return the suggestion for `--json`, sizes in bytes."""
    return asdict(suggestion)


def suggestion_toml(suggestion: Suggestion) -> str:
    """Return the ladder as TOML, to be pasted into fleet.toml in place of its own."""
    memory, buffers = show_size(suggestion.memory), show_size(suggestion.buffers)
    head = [
        f"# A ladder for {memory} of GPU memory ({plain_text(suggestion.origin)}); {buffers} of it stay free on every rung.",
        "# Paste it into fleet.toml in place of its [[ladder]] entries.",
    ]
    return "\n".join([*head, *(line for rung in suggestion.rungs for line in _entry(rung))])


def _entry(rung: SuggestedRung) -> Iterator[str]:
    here = "Ollama has it" if rung.present else "Ollama pulls it when it is needed"
    yield ""
    yield (
        f"# {plain_text(rung.model)}: {show_size(rung.weights)} of weights + {show_size(rung.cache)} of KV cache = "
        f"{show_size(rung.need)}; {show_size(rung.free)} stay free; {here}"
    )
    yield "[[ladder]]"
    yield f"model = {json.dumps(rung.model, ensure_ascii=False)}"
    yield f'size = "{show_size(rung.weights)}"'
    yield f"options = {{ num_ctx = {rung.context} }}"
