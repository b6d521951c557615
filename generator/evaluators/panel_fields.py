"""Fields of the local evaluator's panel, also for a start's first prompts, which do not wait for the panel."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.home import find_home
from fleet.runtime.logging import fields
from generator.catalogue import Kind

if TYPE_CHECKING:
    from generator.backtest.panel import Panel

_log = logging.getLogger(__name__)
# Fields of the synthetic panel; a test compares them with the panel.
SYNTHETIC_FIELDS: Mapping[str, Kind] = {
    **dict.fromkeys(("open", "high", "low", "close", "volume", "vwap", "returns"), Kind.MATRIX),
    **dict.fromkeys(("adv20", "cap", "sharesout"), Kind.MATRIX),
    **dict.fromkeys(("market", "sector", "industry", "subindustry"), Kind.GROUP),
}


def panel_fields(panel: "Panel") -> Mapping[str, Kind]:
    """Return a panel's fields and groupings with their kinds."""
    return {
        **dict.fromkeys(panel.fields, Kind.MATRIX),
        **dict.fromkeys(panel.group_sizes(), Kind.GROUP),
    }


def _fields_file() -> Path:
    return find_home(os.environ).root() / "panels" / "fields.json"


def keep_fields(path: str, names: Mapping[str, Kind]) -> None:
    """Keep a panel's fields for the first prompts of the next start, which do not wait for the panel."""
    row = {"path": path, "fields": {name: kind.value for name, kind in names.items()}}
    file = _fields_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, json.dumps(row) + "\n")
    except OSError as error:
        _log.warning("panel.fields_unkept", extra=fields(file=file, error=error.strerror))


def known_fields(path: str) -> Mapping[str, Kind] | None:
    """Return the fields that `keep_fields` kept of this panel, None if there are none."""
    try:
        row = json.loads(_fields_file().read_bytes())
        return {name: Kind(kind) for name, kind in row["fields"].items()} if row["path"] == path else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
