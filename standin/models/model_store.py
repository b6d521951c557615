"""The models on the server's disk, and those that its registry has."""

import threading
import time
from collections.abc import Iterable

from standin.forms.go_format import timestamp
from standin.models.specs import SEED_MODELS, ModelSpec, canonical, made_thinking


class ModelStore:
    """The models on disk, the models of the registry, and the progress of broken pulls."""

    def __init__(
        self,
        models: Iterable[ModelSpec],
        missing: frozenset[str],
        thinking: frozenset[str] = frozenset(),
    ) -> None:
        self._thinking = thinking
        given = {canonical(spec.name): spec for spec in models}
        began = time.time_ns()
        self._lock = threading.Lock()
        self._registry = {spec.name: spec for spec in SEED_MODELS} | given
        self._here = {
            name: (spec, timestamp(began - place * 10**9))
            for place, (name, spec) in enumerate(given.items())
            if name not in missing
        }
        self.partial: dict[str, int] = {}

    def find(self, name: str) -> tuple[ModelSpec, str] | None:
        """Return a model that is here, with the time it came, by any form of its name."""
        with self._lock:
            found = self._here.get(canonical(name))
        return None if found is None else (made_thinking(found[0], self._thinking), found[1])

    def listed(self) -> list[tuple[ModelSpec, str]]:
        """Return the models that are here, the newest first."""
        with self._lock:
            rows = sorted(self._here.values(), key=lambda each: each[1], reverse=True)
        return [(made_thinking(spec, self._thinking), since) for spec, since in rows]

    def offered(self, name: str) -> ModelSpec | None:
        """Return the registry's model of a name: any host and namespace offer the same models."""
        known = canonical(name)
        return self._registry.get(known) or self._registry.get(known.rsplit("/", 1)[-1])

    def add(self, name: str, spec: ModelSpec) -> None:
        """Put a model here under a name."""
        with self._lock:
            self._registry.setdefault(canonical(spec.name), spec)
            self._here[canonical(name)] = (spec, timestamp(time.time_ns()))

    def remove(self, name: str) -> bool:
        """Take a model away; return whether it was here."""
        with self._lock:
            return self._here.pop(canonical(name), None) is not None
