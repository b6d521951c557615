"""The catalogue's values: kinds, parameters, operators, fields. Reading them from files is `store`'s work."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

_T = TypeVar("_T")


class Kind(StrEnum):
    """What a value is: BRAIN's kinds of data, and the kinds of plain arguments."""

    MATRIX = "matrix"
    """One number for each day and instrument."""
    VECTOR = "vector"
    """Any count of numbers for each day and instrument; only `vec_` operators read it."""
    GROUP = "group"
    """A grouping of the instruments; only group arguments take it."""
    SYMBOL = "symbol"
    """An identifier such as a ticker; no operator takes it."""
    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"
    ENUM = "enum"


class Offer(StrEnum):
    """What the typed grammar puts into a matrix parameter; the checker takes more (any matrix or number)."""

    SERIES = "series"
    """A field or an operator's result."""
    EITHER = "either"
    """That, or a constant."""
    CONSTANT = "constant"
    """A constant only, as for an exponent."""
    CONDITION = "condition"
    """A comparison or a combination of such."""
    EXIT = "exit"
    """A condition, or -1 for never."""


Default = float | bool | str | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; an optional one has a default (None: left out) and goes by its name on BRAIN."""

    name: str
    kind: Kind
    optional: bool = False
    default: Default = None
    minimum: float | None = None
    maximum: float | None = None
    missing: bool = False
    """A number parameter that takes `nan` too."""
    lookback: bool = False
    """It counts trading days back from today."""
    least: int = 1
    """The shortest look-back that is worth searching; `minimum` is the shortest that means anything."""
    values: tuple[str, ...] = ()
    """What an enum parameter may be."""
    form: str = ""
    """What a string holds: `range` (start,end,step), `edges` (rising numbers), `ignore` (NAN, 0)."""
    offer: Offer = Offer.SERIES
    choices: tuple[float | str, ...] = ()
    """The constants that the typed grammar offers; an optional parameter without is left at its default."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator as BRAIN documents it."""

    name: str
    category: str
    signature: str
    parameters: tuple[Parameter, ...]
    meaning: str
    result: Kind = Kind.MATRIX
    level: str = "base"
    """`base`: every account has it; `higher`: only some do."""
    variadic: bool = False
    """The last required parameter may be repeated."""
    commutative: bool = False
    """Its first two arguments may change places: the result is the same to the last bit."""
    truth: bool = False
    """Its result is 0 or 1."""
    one_of: tuple[str, ...] = ()
    """Exactly one of these optional parameters must be given."""
    search: bool = True
    """The typed grammar offers it by default."""
    why_not_searched: str = ""
    required: tuple[Parameter, ...] = field(init=False, compare=False, repr=False)
    optional: tuple[Parameter, ...] = field(init=False, compare=False, repr=False)
    by_name: Mapping[str, Parameter] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "required", tuple(p for p in self.parameters if not p.optional))
        put(self, "optional", tuple(p for p in self.parameters if p.optional))
        put(self, "by_name", {p.name: p for p in self.parameters})


@dataclass(frozen=True, slots=True)
class DataField:
    """One data field; `unit` is price, share, money, ratio, count, a product of them, or empty."""

    id: str
    kind: Kind
    unit: str = ""
    dataset: str = ""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The operators and fields that may be used, by name; `date` tells when that was so."""

    operators: Mapping[str, Operator]
    fields: Mapping[str, DataField]
    date: str = ""
    source: str = "bundled"
    """`bundled` or `brain`."""
    skipped: tuple[str, ...] = ()
    """Operators that BRAIN listed and that could not be understood."""
    words: frozenset[str] = field(init=False, compare=False, repr=False)
    """The bare identifiers that may stand as values: true, false and the enums' own."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", _words(self.operators.values()))

    def restricted_to(
        self, *, fields: Iterable[str] | None = None, operators: Iterable[str] | None = None
    ) -> "Catalogue":
        """Return a catalogue of those of these fields and operators that it has; None keeps all."""
        kept_fields = self.fields if fields is None else _only(self.fields, fields)
        kept_operators = self.operators if operators is None else _only(self.operators, operators)
        return replace(self, fields=kept_fields, operators=kept_operators)

    def fields_of(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of all fields of a kind, in the catalogue's order."""
        return tuple(name for name, row in self.fields.items() if row.kind is kind)


def _only(rows: Mapping[str, _T], names: Iterable[str]) -> dict[str, _T]:
    wanted = frozenset(names)
    return {name: row for name, row in rows.items() if name in wanted}


def _words(operators: Iterable[Operator]) -> frozenset[str]:
    own = (
        value
        for operator in operators
        for p in operator.parameters
        for value in (*p.values, p.default)
        if isinstance(value, str) and value.isidentifier()
    )
    return frozenset(("true", "false", "True", "False", "NAN", "NaN", "nan", *own))
