"""Makes a catalogue from BRAIN's lists, the rows of `GET /operators` and `GET /data-fields`. Pure.

BRAIN gives an operator's signature as text (`ts_mean(x, d)`, `hump(x, hump = 0.01)`). An operator of the bundled file
keeps its typed parameters if their names still agree. Any other operator is typed from its text by BRAIN's conventions.
`d` and `lookback` are days, `group` is a grouping, and `vec_` reads vectors.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from generator.catalogue.files import load_catalogue
from generator.catalogue.model import Catalogue, DataField, Default, Kind, Operator, Parameter

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLACEHOLDER = re.compile(r"[a-z]")
_DAYS = frozenset({"d", "lookback", "days"})
_MOST_DAYS = 2520
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'"})  # noqa: RUF001 - quotes as BRAIN prints them


def from_brain(operators: Iterable[Any], fields: Iterable[Any], *, date: str = "") -> Catalogue:
    """Return the catalogue of BRAIN's answers.

    `operators` is the list of `/operators`, `fields` the `results` of all pages of `/data-fields`. Rows other than
    operators of regular alphas are left out. `skipped` names the operators whose text cannot be parsed. Fields
    of the bundled file keep their unit.
    """
    known = load_catalogue(higher=True)
    rows = [row for row in operators if _is_regular(row)]
    made = {str(row["name"]): _operator(row, known.operators) for row in rows}
    return Catalogue(
        operators={name: operator for name, operator in made.items() if operator is not None},
        fields={data.id: data for data in (_field(row, known.fields) for row in fields) if data is not None},
        date=date,
        source="brain",
        skipped=tuple(name for name, operator in made.items() if operator is None),
    )


def _is_regular(row: Any) -> bool:
    if not isinstance(row, Mapping):
        return False
    return _NAME.match(str(row.get("name", ""))) is not None and "REGULAR" in (
        row.get("scope") or ("REGULAR",)
    )


def _operator(row: Mapping[str, Any], known: Mapping[str, Operator]) -> Operator | None:
    name, definition = str(row["name"]), str(row.get("definition", "")).translate(_QUOTES)
    parameters, variadic = _signature(name, definition)
    ours = known.get(name)
    if ours is not None and (not parameters or _same_names(ours, parameters)):
        return ours
    if not parameters:
        return None
    return Operator(
        name=name,
        category=str(row.get("category", "")),
        signature=definition,
        parameters=parameters,
        meaning=str(row.get("description") or "")[:200],
        level="base" if row.get("level") == "ALL" else "higher",
        variadic=variadic,
        search=False,
        why_not_searched="listed by BRAIN with a signature that the bundled catalogue lacks",
    )


def _same_names(ours: Operator, listed: Sequence[Parameter]) -> bool:
    """Return True if we know every listed parameter. BRAIN's text often omits some that its page has."""
    return all(parameter.name in ours.by_name for parameter in listed)


def _signature(name: str, definition: str) -> tuple[tuple[Parameter, ...], bool]:
    """Return the parameters of `name(x, d, flag = false)`, and True if variadic; none for text of another form."""
    found = re.search(rf"(?<![A-Za-z0-9_]){name}\s*\(", definition)
    end = definition.find(")", found.end()) if found else -1
    if found is None or end < 0:
        return (), False
    items = [item.strip() for item in _split(definition[found.end() : end])]
    variadic = any(item.strip(". ") == "" for item in items)
    parameters = [_parameter(name, item) for item in items if item.strip(". ")]
    if any(parameter is None for parameter in parameters):
        return (), False
    return tuple(parameter for parameter in parameters if parameter is not None), variadic


def _split(text: str) -> list[str]:
    """Split at commas outside quotes."""
    parts, quoted = [""], ""
    for char in text:
        if char in "\"'":
            quoted = "" if quoted == char else quoted or char
        if char == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _parameter(operator: str, item: str) -> Parameter | None:
    name, equals, value = (part.strip() for part in item.partition("="))
    if not _NAME.match(name.replace(" ", "")):
        return None
    name = name.replace(" ", "")
    if value in _DAYS or (name in _DAYS and not equals):
        return Parameter(name, Kind.INTEGER, minimum=1, maximum=_MOST_DAYS, lookback=True, least=2)
    if not equals:
        return Parameter(name, _kind(operator, name))
    if _PLACEHOLDER.fullmatch(value):  # in `factor = f`, f is no default: the argument is required
        return Parameter(name, Kind.NUMBER)
    kind, default = _default(value)
    return Parameter(name, kind, optional=True, default=default)


def _kind(operator: str, name: str) -> Kind:
    if operator.startswith("vec_"):
        return Kind.VECTOR
    if "group" in name or name in {"g", "g1", "g2"}:
        return Kind.GROUP
    return Kind.INTEGER if name in {"k", "n"} else Kind.MATRIX


def _default(value: str) -> tuple[Kind, Default]:
    if value.lower() in {"true", "false"}:
        return Kind.BOOLEAN, value.lower() == "true"
    try:
        return Kind.NUMBER, float(value)
    except ValueError:
        return Kind.STRING, value.strip("\"'")


def _field(row: Any, known: Mapping[str, DataField]) -> DataField | None:
    if not isinstance(row, Mapping):
        return None
    try:
        name, kind = str(row["id"]), Kind(str(row["type"]).lower())
    except (KeyError, TypeError, ValueError):
        return None
    if not _NAME.match(name):
        return None
    ours, dataset = known.get(name), row.get("dataset")
    return DataField(
        id=name,
        kind=kind,
        unit=ours.unit if ours else "",
        dataset=str(dataset.get("id", "")) if isinstance(dataset, Mapping) else str(dataset or ""),
        meaning=str(row.get("description") or "")[:200],
    )
