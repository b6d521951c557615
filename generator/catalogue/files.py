"""The catalogue's files: the one that ships, and the one kept of what BRAIN listed."""

import json
import os
import tempfile
from functools import cache
from pathlib import Path

from fleet.runtime.errors import GeneratorError
from generator.catalogue import codec
from generator.catalogue.model import Catalogue

_HERE = Path(__file__).parent


@cache
def load_catalogue(*, higher: bool = False) -> Catalogue:
    """Return the catalogue that ships: the 66 operators of every account, with `higher` all 115 known."""
    operators = json.loads((_HERE / "operators.json").read_text(encoding="utf-8"))
    fields = json.loads((_HERE / "fields.json").read_text(encoding="utf-8"))
    rows = [row for row in operators["operators"] if higher or row["level"] == "base"]
    return Catalogue(
        operators=codec.decode_operators(rows),
        fields=codec.decode_fields(fields["fields"]),
        date=operators["date"],
    )


def save(catalogue: Catalogue, path: Path) -> None:
    """Write a catalogue whole or not at all: to a temporary file beside `path`, then renamed."""
    text = json.dumps(codec.encode(catalogue), ensure_ascii=False, separators=(",", ":"))
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
    """Read a catalogue that `save` wrote; raise GeneratorError naming the path when it cannot be."""
    try:
        return codec.decode(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, GeneratorError) as error:
        hint = "delete the file: the catalogue that ships is used until BRAIN is asked again"
        raise GeneratorError(f"cannot read the catalogue {path}: {error}", hint=hint) from error
