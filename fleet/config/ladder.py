"""The ladder: models with their Ollama options, largest first, index 0 the top."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Self

from fleet.runtime.units import MEGABYTE, Bytes

OptionValue = bool | int | float | str | list[str]


@dataclass(frozen=True, slots=True)
class Rung:
    """A place on the ladder.

    `size` is the configured size of the model's weights, None where it is left to Ollama. `threshold` overrides the
    policy's for this rung. `options` are Ollama options, sent with every request on this rung.
    """

    index: int
    model: str
    size: Bytes | None = None
    description: str = ""
    threshold: int | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict)

    @property
    def size_mb(self) -> int | None:
        """Return the size in whole megabytes, as in the original's status."""
        return None if self.size is None else round(self.size / MEGABYTE)

    @property
    def label(self) -> str:
        """Return the model with its options, which distinguish rungs of one model."""
        if not self.options:
            return self.model
        return f"{self.model} ({', '.join(f'{key}={value}' for key, value in sorted(self.options.items()))})"


class Ladder(tuple[Rung, ...]):  # noqa: SLOT001  # `digest` is cached in its __dict__
    """The rungs, largest model first; never empty."""

    def __new__(cls, rungs: Iterable[Rung]) -> Self:
        """Return a ladder of these rungs; raise ValueError without any."""
        ladder = super().__new__(cls, rungs)
        if not ladder:
            message = "a ladder has at least one rung"
            raise ValueError(message)
        return ladder

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def last(self) -> int:
        """Return the index of the bottom rung."""
        return len(self) - 1

    @cached_property
    def digest(self) -> str:
        """Return a short hash of models and options, which changes when the ladder is edited."""
        rows = [[rung.model, dict(sorted(rung.options.items()))] for rung in self]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def below(self, index: int) -> Rung | None:
        """Return the next rung down, None at the bottom."""
        return self[index + 1] if index < self.last else None

    def above(self, index: int) -> Rung | None:
        """Return the next rung up, None at the top."""
        return self[index - 1] if index > 0 else None

    def named(self, model: str, *, near: int = 0) -> Rung | None:
        """Return the rung of a model, of several the nearest to index `near`; None if there is none."""
        same = [rung for rung in self if same_model(rung.model, model)]
        return min(same, key=lambda rung: abs(rung.index - near), default=None)

    def nearest_by_size(self, size: Bytes) -> Rung | None:
        """Return the rung with the nearest size; None if no rung's size is known."""
        sized = [(abs(rung.size - size), rung) for rung in self if rung.size is not None]
        return min(sized, key=lambda pair: (pair[0], pair[1].index))[1] if sized else None


@lru_cache(maxsize=256)  # a long history names few models
def full_name(model: str) -> str:
    """Return the canonical name of a model, as Ollama lists it; all comparisons use it.

    It is in lower case, has a tag, and omits Ollama's own registry and library.
    """
    name = model.strip().lower().removeprefix("https://").removeprefix("http://")
    name = name.removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def same_model(one: str, other: str) -> bool:
    """Return True if two names refer to one model."""
    return full_name(one) == full_name(other)
