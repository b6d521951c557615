"""Value types of the catalogue: kinds, parameters, operators, fields."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

_T = TypeVar("_T")


class Kind(StrEnum):
    """Kinds of values: BRAIN's kinds of data, and those of plain arguments."""

    MATRIX = "matrix"
    """One number for each day and instrument."""
    VECTOR = "vector"
    """Any number of values for each day and instrument; only `vec_` operators read it."""
    GROUP = "group"
    """A grouping of the instruments; only group parameters accept it."""
    SYMBOL = "symbol"
    """An identifier such as a ticker; no operator accepts it."""
    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"
    ENUM = "enum"


class Offer(StrEnum):
    """Arguments that the typed grammar offers for a matrix parameter; the checker accepts any matrix or number."""

    SERIES = "series"
    """A field or an operator's result."""
    EITHER = "either"
    """A field, an operator's result or a constant."""
    CONSTANT = "constant"
    """A constant only, as for an exponent."""
    CONDITION = "condition"
    """A comparison, or a logical operator's result."""
    EXIT = "exit"
    """A condition, or -1 for never."""


Default = float | bool | str | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. An optional one has a default (None: left out); BRAIN requires its name."""

    name: str
    kind: Kind
    optional: bool = False
    default: Default = None
    minimum: float | None = None
    maximum: float | None = None
    missing: bool = False
    """Accepts `nan` as well as a number."""
    lookback: bool = False
    """Counts trading days back from today."""
    least: int = 1
    """The shortest look-back worth searching; `minimum` is the shortest valid one."""
    values: tuple[str, ...] = ()
    """The values of an enum parameter."""
    form: str = ""
    """Form of a string: `range` (start,end,step), `edges` (rising numbers), `ignore` (NAN, 0)."""
    offer: Offer = Offer.SERIES
    choices: tuple[float | str, ...] = ()
    """Constants that the typed grammar offers; without any, an optional parameter keeps its default."""


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
    """`base`: every account has it; `higher`: some accounts have it."""
    variadic: bool = False
    """The last required parameter may be repeated."""
    commutative: bool = False
    """The first two arguments can be swapped without changing a bit of the result."""
    truth: bool = False
    """The result is 0 or 1."""
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
    """Usable operators and fields by name, as of `date`."""

    operators: Mapping[str, Operator]
    fields: Mapping[str, DataField]
    date: str = ""
    source: str = "bundled"
    """`bundled` or `brain`."""
    skipped: tuple[str, ...] = ()
    """Operators that BRAIN lists with a text that cannot be parsed."""
    words: frozenset[str] = field(init=False, compare=False, repr=False)
    """Bare words that are values: true, false and the values of enums."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", _words(self.operators.values()))

    def restricted_to(
        self, *, fields: Iterable[str] | None = None, operators: Iterable[str] | None = None
    ) -> "Catalogue":
        """Return the catalogue with only these fields and operators; None keeps all."""
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
