"""The catalogue in force: restricted to the fields that the evaluator has data for."""

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

from generator.catalogue import Catalogue, DataField, Kind

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Scope:
    """The catalogue in force. It changes when the evaluator has started and reports its fields. Thread-safe.

    With `known_only`, fields of the evaluator that the catalogue lacks are not offered: BRAIN must know them too.
    """

    def __init__(
        self, catalogue: Catalogue, fields: Mapping[str, Kind] | None, *, known_only: bool = False
    ) -> None:
        self._whole = catalogue
        self._known_only = known_only
        self._fields = fields
        self._unusable: frozenset[str] = frozenset()
        self._catalogue = self._offered()
        self._lock = threading.Lock()

    @property
    def catalogue(self) -> Catalogue:
        """Return the catalogue in force."""
        with self._lock:
            return self._catalogue

    def restrict(self, fields: Mapping[str, Kind] | None) -> None:
        """Restrict the catalogue to these fields; None removes the restriction."""
        with self._lock:
            self._fields = fields
            self._catalogue = self._offered()

    def adopt(self, catalogue: Catalogue) -> None:
        """Replace the catalogue, and keep the restriction to fields."""
        with self._lock:
            self._whole = catalogue
            self._catalogue = self._offered()

    def withdraw(self, names: Iterable[str]) -> frozenset[str]:
        """Offer these fields no more, also after a later listing; return those that were offered."""
        with self._lock:
            offered = self._catalogue.fields.keys() & names
            self._unusable |= frozenset(names)
            self._catalogue = self._offered()
        return frozenset(offered)

    def _offered(self) -> Catalogue:
        fields = self._fields
        if fields is None and self._unusable:
            fields = {name: field.kind for name, field in self._whole.fields.items()}
        if fields is not None and self._known_only:
            fields = {name: kind for name, kind in fields.items() if name in self._whole.fields}
        if fields is not None:
            fields = {name: kind for name, kind in fields.items() if name not in self._unusable}
        return with_fields(self._whole, fields)


def with_fields(catalogue: Catalogue, fields: Mapping[str, Kind] | None) -> Catalogue:
    """Return the catalogue with only these fields; a field that it lacks is added by name and kind.

    Left out is a name that is no identifier, or that is an operator or a word. None changes nothing.
    """
    if fields is None:
        return catalogue
    reserved = catalogue.operators.keys() | catalogue.words
    usable = {name: kind for name, kind in fields.items() if _NAME.fullmatch(name) and name not in reserved}
    return replace(catalogue, fields={name: _field(catalogue, name, kind) for name, kind in usable.items()})


def _field(catalogue: Catalogue, name: str, kind: Kind) -> DataField:
    known = catalogue.fields.get(name)
    return known if known is not None and known.kind is kind else DataField(name, kind, meaning=name)
