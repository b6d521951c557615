"""Catalogue files: the bundled one, and the one saved from BRAIN's lists."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from functools import cache
from pathlib import Path
from typing import Any

from fleet.runtime.errors import GeneratorError
from generator.catalogue.model import Catalogue, DataField, Kind, Offer, Operator, Parameter

_FLAGS = ("variadic", "commutative", "truth")


def decode_operators(rows: Iterable[Mapping[str, Any]]) -> dict[str, Operator]:
    """Return the operators of a file's rows by name; raise GeneratorError with the row at fault."""
    return {operator.name: operator for operator in map(_operator, rows)}


def decode_fields(rows: Iterable[Mapping[str, Any]]) -> dict[str, DataField]:
    """Return the fields of a file's rows by id; raise GeneratorError with the row at fault."""
    return {data.id: data for data in map(_field, rows)}


def encode(catalogue: Catalogue) -> dict[str, Any]:
    """Return the JSON document that `decode_catalogue` reads as the same catalogue."""
    return {
        "date": catalogue.date,
        "source": catalogue.source,
        "skipped": list(catalogue.skipped),
        "operators": [_operator_row(operator) for operator in catalogue.operators.values()],
        "fields": [_plain(data) for data in catalogue.fields.values()],
    }


def decode_catalogue(document: Mapping[str, Any]) -> Catalogue:
    """Return the catalogue of a JSON document; raise GeneratorError if it is none."""
    try:
        return Catalogue(
            operators=decode_operators(document["operators"]),
            fields=decode_fields(document["fields"]),
            date=str(document.get("date", "")),
            source=str(document.get("source", "bundled")),
            skipped=tuple(map(str, document.get("skipped", ()))),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise GeneratorError(f"this is no catalogue: {type(error).__name__} at {error}") from error


def _operator(row: Mapping[str, Any]) -> Operator:
    try:
        return Operator(
            name=row["name"],
            category=row["category"],
            signature=row["signature"],
            parameters=tuple(map(_parameter, row["parameters"])),
            meaning=row["meaning"],
            result=Kind(row.get("result", "matrix")),
            level=row.get("level", "base"),
            one_of=tuple(row.get("one_of", ())),
            search=bool(row.get("search", True)),
            why_not_searched=row.get("why_not_searched", ""),
            **{flag: bool(row.get(flag, False)) for flag in _FLAGS},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GeneratorError(f"not an operator of a catalogue: {str(row)[:80]} ({error})") from error


def _parameter(row: Mapping[str, Any]) -> Parameter:
    return Parameter(
        name=row["name"],
        kind=Kind(row["kind"]),
        optional="default" in row,
        default=row.get("default"),
        minimum=row.get("minimum"),
        maximum=row.get("maximum"),
        missing=bool(row.get("missing", False)),
        lookback=bool(row.get("lookback", False)),
        least=int(row.get("least", 1)),
        values=tuple(row.get("values", ())),
        form=row.get("form", ""),
        offer=Offer(row.get("offer", "series")),
        choices=tuple(row.get("choices", ())),
    )


def _field(row: Mapping[str, Any]) -> DataField:
    try:
        texts = {key: str(row.get(key, "")) for key in ("unit", "dataset", "meaning")}
        return DataField(id=row["id"], kind=Kind(row["kind"]), **texts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GeneratorError(f"not a field of a catalogue: {str(row)[:80]} ({error})") from error


def _operator_row(operator: Operator) -> dict[str, Any]:
    row = _plain(operator)
    row["parameters"] = [_parameter_row(parameter) for parameter in operator.parameters]
    return row


def _parameter_row(parameter: Parameter) -> dict[str, Any]:
    row = _plain(parameter)
    if not row.pop("optional"):
        row.pop("default")
    return row


def _plain(value: Operator | Parameter | DataField) -> dict[str, Any]:
    names = (item.name for item in dataclass_fields(value) if item.init)
    return {name: _simple(getattr(value, name)) for name in names}


def _simple(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


_HERE = Path(__file__).parent


@cache
def load_catalogue(*, higher: bool = False) -> Catalogue:
    """Return the bundled catalogue: the 66 operators of every account, with `higher` all 115."""
    operators = json.loads((_HERE / "operators.json").read_text(encoding="utf-8"))
    fields = json.loads((_HERE / "fields.json").read_text(encoding="utf-8"))
    rows = [row for row in operators["operators"] if higher or row["level"] == "base"]
    return Catalogue(
        operators=decode_operators(rows),
        fields=decode_fields(fields["fields"]),
        date=operators["date"],
    )


def save(catalogue: Catalogue, path: Path) -> None:
    """Write a catalogue atomically: to a temporary file beside `path`, which then replaces it."""
    text = json.dumps(encode(catalogue), ensure_ascii=False, separators=(",", ":"))
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: Path) -> Catalogue:
    """Return the catalogue of a file of `save`; raise GeneratorError with the path if it cannot be read."""
    try:
        return decode_catalogue(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, GeneratorError) as error:
        hint = "delete the file: the bundled catalogue is used until the next fetch from BRAIN"
        raise GeneratorError(f"cannot read the catalogue {path}: {error}", hint=hint) from error
