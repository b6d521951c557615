"""Counts of trials. A trial is an expression evaluated under the user's settings, once a panel and source.

The counts only grow: they hold after rows are deleted.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from generator.domain import BASIS
from generator.storage.schema import DONE, EvaluationRow, TrialCountRow


def panel_name(settings: Mapping[str, Any]) -> str:
    """Return the panel that the settings name; empty for BRAIN."""
    return str(settings.get("panel", ""))


def trial_of(digest: str, settings: Mapping[str, Any]) -> str:
    """Return what tells a trial from others on its panel: the digest and the user's settings."""
    chosen = {name: value for name, value in settings.items() if name not in (*BASIS, "panel")}
    return f"{digest} {json.dumps(chosen, sort_keys=True)}"


def count_old_trials(connection: Connection) -> None:
    """Insert the counts of a database that has none: its distinct trials with figures."""
    row = EvaluationRow
    statement = select(row.source, row.digest, row.settings).where(row.state == DONE)
    trials = {
        (source, panel_name(settings), trial_of(digest, settings))
        for source, digest, settings in connection.execute(statement)
    }
    for (source, panel), count in Counter((source, panel) for source, panel, _ in trials).items():
        values = {"source": source, "panel": panel, "trials": count, "sampled": 0, "distinct_sampled": 0}
        connection.execute(insert(TrialCountRow).values(values))
