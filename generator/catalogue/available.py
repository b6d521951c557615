"""What may be used in expressions now: the catalogue, restricted to what the evaluator has data for."""

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace

from generator.catalogue import Catalogue, DataField, Kind

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Scope:
    """The catalogue in force. It changes once the evaluator is up and says what data it really has.

    `known_only`: what the evaluator has and the catalogue has not is not offered, since others have to
    understand it too.
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
        """Offer only these fields from now on; None offers all of the catalogue's."""
        with self._lock:
            self._fields = fields
            self._catalogue = self._offered()

    def adopt(self, catalogue: Catalogue) -> None:
        """Go by another catalogue from now on."""
        with self._lock:
            self._whole = catalogue
            self._catalogue = self._offered()

    def withdraw(self, names: Iterable[str]) -> frozenset[str]:
        """Offer these fields no more, whatever a later listing says; return those that were offered."""
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
    """Return the catalogue with only these fields; those that it has not come in by name and kind.

    A name that no expression could hold, or that means something else there, is left out. None leaves the
    catalogue as it is.
    """
    if fields is None:
        return catalogue
    taken = catalogue.operators.keys() | catalogue.words
    usable = {name: kind for name, kind in fields.items() if _NAME.fullmatch(name) and name not in taken}
    return replace(catalogue, fields={name: _field(catalogue, name, kind) for name, kind in usable.items()})


def _field(catalogue: Catalogue, name: str, kind: Kind) -> DataField:
    known = catalogue.fields.get(name)
    return known if known is not None and known.kind is kind else DataField(name, kind, meaning=name)
