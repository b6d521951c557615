"""Inventory of the ladder's models in Ollama: which are present, the memory each needs, and their blobs."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.clients.gpu import Cards, no_cards
from fleet.clients.ollama import LocalModel, ModelDetails, Ollama
from fleet.config.ladder import Ladder, Rung, full_name, same_model
from fleet.config.schema import Settings
from fleet.policy.recovery import can_climb
from fleet.policy.state import FleetState
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.errors import FleetError, OllamaAwayError, OllamaError, OllamaTimeoutError
from fleet.runtime.logging import with_command_sentence
from fleet.runtime.units import Bytes, Seconds
from monitor.inbox import ModelsKnown, Read

_DEFAULT_CONTEXT = 4096
"""Ollama's context on a card of less than 24 GiB, if neither the rung nor the server sets one."""

_MOST_NAMED = 200
"""Upper bound of the models whose weights are looked up for their tags."""


def rungs_here(ladder: Ladder, models: list[LocalModel]) -> tuple[int, ...]:
    """Return the indices of the rungs whose models are among these."""
    names = {full_name(model.name) for model in models}
    return tuple(rung.index for rung in ladder if full_name(rung.model) in names)


def kv_cache_bytes(info: Mapping[str, Any], context: int) -> Bytes | None:
    """Return the size of a model's KV cache in 16-bit floats, None if its figures are unknown.

    The size is 2 · layers · context · KV heads · head size · 2 bytes, as in llama.cpp for plain attention. The first 2
    stands for keys and values. `info` is `/api/show`'s model_info. KV heads given per layer are added up.
    """
    layers, heads, width = (_figure(info, name) for name in _SHAPE)
    if layers is None or heads is None or width is None:
        return None
    kv_heads = _value(info, "attention.head_count_kv")
    if isinstance(kv_heads, list):
        whole = sum(one for one in kv_heads if isinstance(one, int))
    else:
        whole = layers * (_figure(info, "attention.head_count_kv") or heads)
    head_size = _figure(info, "attention.key_length") or width // heads
    return 2 * whole * context * head_size * 2


_SHAPE = ("block_count", "attention.head_count", "embedding_length")


def _value(info: Mapping[str, Any], name: str) -> Any:
    return info.get(f"{info.get('general.architecture')}.{name}")


def _figure(info: Mapping[str, Any], name: str) -> int | None:
    value = _value(info, name)
    return value if isinstance(value, int) and value > 0 else None


def need_of(rung: Rung, weights: Bytes, details: ModelDetails) -> Bytes:
    """Return the bytes of GPU memory that a rung needs for weights and KV cache; 0 on the CPU.

    With `num_gpu` only that many layers are on the GPU, with their part of the cache. The output counts as one layer.
    """
    context = rung.options.get("num_ctx", _DEFAULT_CONTEXT)
    cache = kv_cache_bytes(details.info, context if isinstance(context, int) else _DEFAULT_CONTEXT) or 0
    layers, wanted = _figure(details.info, "block_count"), rung.options.get("num_gpu")
    if not isinstance(wanted, int) or wanted < 0:
        return weights + cache
    if wanted == 0 or layers is None:
        return 0 if wanted == 0 else weights + cache
    return weights * min(wanted, layers + 1) // (layers + 1) + cache * min(wanted, layers) // layers


class Models:
    """The known figures of the ladder's models, a value for each rung; `refresh` asks Ollama.

    Unknown values are None; no method raises. `weights` are the digests of the weights; a missing model keeps its last.
    """

    def __init__(self, ollama: Ollama, ladder: Ladder) -> None:
        self._ollama = ollama
        self._ladder = ladder
        self.needs: tuple[Bytes | None, ...] = (None,) * len(ladder)
        self.sizes: tuple[Bytes | None, ...] = (None,) * len(ladder)
        self.weights: tuple[str | None, ...] = (None,) * len(ladder)
        self._blobs: dict[str, str] = {}
        self._named: set[tuple[str, str]] = set()

    def refresh(self, *, timeout: Seconds = 2.0) -> None:
        """Ask Ollama for the models present and the figures of their needs."""
        try:
            models = self._ollama.tags(timeout=timeout)
            local = [_of_rung(rung, models) for rung in self._ladder]
            shown = [None if one is None else self._details(one.name, timeout) for one in local]
            self._learn_names(models[:_MOST_NAMED], timeout)
        except OllamaError:
            return
        rungs = list(zip(self._ladder, local, shown, strict=True))
        self.sizes = tuple(None if one is None else one.size for one in local)
        self.needs = tuple(
            None if one is None or seen is None else need_of(rung, one.size, seen)
            for rung, one, seen in rungs
        )
        weights = list(self.weights)
        for rung, one, seen in rungs:
            digest = None if one is None else _digest_in_log(one, seen)
            if digest is not None:
                weights[rung.index] = digest
                self._blobs[digest] = rung.model
        self.weights = tuple(weights)

    def _details(self, model: str, timeout: Seconds) -> ModelDetails | None:
        """Return a model's details, None if Ollama refuses it: its files are damaged, or it is gone by now."""
        try:
            return self._ollama.show(model, timeout=timeout)
        except (OllamaAwayError, OllamaTimeoutError):
            raise
        except OllamaError:
            return None

    def _learn_names(self, models: list[LocalModel], timeout: Seconds) -> None:
        """Ask once for the weights of each model, so that another client's failure is reported by its tag."""
        for model in models:
            if (model.name, model.digest) not in self._named:
                details = self._details(model.name, timeout)
                self._named.add((model.name, model.digest))
                digest = _digest_in_log(model, details)
                if digest is not None:
                    self._blobs.setdefault(digest, model.name)

    def named_by_blob(self) -> Mapping[str, str]:
        """Return the tags by the digests (`sha256-…`) of their weights or manifests, which log lines name."""
        return dict(self._blobs)


def _digest_in_log(model: LocalModel, details: ModelDetails | None) -> str | None:
    """Return the digest by which Ollama's log names a model: of its weights, or of the manifest in the MLX engine."""
    if details is None:
        return None
    in_mlx = details.blob is None and details.format == "safetensors"
    return f"sha256-{model.digest}" if in_mlx else details.blob


def _of_rung(rung: Rung, models: list[LocalModel]) -> LocalModel | None:
    return next((model for model in models if same_model(model.name, rung.model)), None)


_log = logging.getLogger(__name__)
_EVERY: Seconds = 600.0
_MEASURE_EVERY: Seconds = 120.0


def memory_known(state: FleetState) -> tuple[bool, Bytes | None]:
    """Return whether the fleet is climbing, and the memory of all GPUs by Ollama's log, None if unknown."""
    total = state.watch.get("gpu_total")
    return can_climb(state), total if isinstance(total, int) else None


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The job that finds the models' needs and the free GPU memory, posts them, and keeps them in `file`.

    `free` is the most that a model can have. A larger model than the memory of all GPUs, by Ollama's log, cannot fit. A
    fleet below its highest permitted rung is climbing. `cards` is then asked too: memory that is free or held by our
    own model is available. `[policy] reserve` is not. The command line reads the same values from `file`.
    """

    settings: Settings
    ollama: Ollama
    models: Models
    read: Read
    post: Callable[[ModelsKnown], None]
    file: Path | None = None
    cards: Cards = no_cards

    def __call__(self) -> Seconds:
        """Ask once; return the seconds until the next time."""
        climbing, total = memory_known(self.read())
        self.models.refresh()
        reserve = self.settings.policy.reserve
        by_log = None if total is None else total - reserve.of(total)
        known = (by_log, self._measured() if climbing else None)
        free = min((amount for amount in known if amount is not None), default=None)
        tags, weights = self.models.named_by_blob(), self.models.weights
        found = ModelsKnown(self.models.needs, self.models.sizes, tags, free, weights)
        self.post(found)
        self._write_file(found)
        some = any(need is not None for need in found.needs)
        patience = _EVERY if some else self.settings.policy.check_interval
        return min(patience, _MEASURE_EVERY) if climbing else patience

    def _measured(self) -> Bytes | None:
        try:
            cards = self.cards()
            ours = sum(model.size_vram for model in self.ollama.loaded(timeout=2.0) if self._ours(model.name))
        except FleetError:
            return None
        if not cards:
            return None
        total = sum(card.total for card in cards)
        return total - sum(card.used for card in cards) + ours - self.settings.policy.reserve.of(total)

    def _ours(self, name: str) -> bool:
        return any(same_model(rung.model, name) for rung in self.settings.ladder)

    def _write_file(self, found: ModelsKnown) -> None:
        if self.file is None:
            return
        row = {
            "ladder": self.settings.ladder.digest,
            "needs": found.needs,
            "sizes": found.sizes,
            "free": found.free,
        }
        try:
            replace_text(self.file, json.dumps(row) + "\n")
        except OSError as error:
            sentence = f"{self.file} cannot be written: {error.strerror}"
            _log.warning("models.not_kept", extra=with_command_sentence(sentence, reason=error.strerror))
