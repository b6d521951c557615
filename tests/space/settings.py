"""The rules that the search is run under: ladders, and the flags of the policy. A new flag is a row of `FLAGS`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from itertools import combinations
from typing import Any

from fleet.config.hours import DAYS, HoursRow
from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import PolicySettings
from fleet.config.values import Reserve
from fleet.policy.rules import Rules
from fleet.runtime.units import GIGABYTE

_BASE: Mapping[str, Any] = {
    "threshold": 2,
    "window": 600.0,
    "cool_down": 30.0,
    "recover_after": 120.0,
    "recover_cap": 480.0,
    "max_switches_per_hour": 2,
}
"""Small bounds, so that all worlds can be visited; the defaults differ in numbers only."""

FLAGS: Mapping[str, Mapping[str, Any]] = {
    "threshold=1": {"threshold": 1},
    "cool_down=0s": {"cool_down": 0.0},
    "min_fail_share=0.5": {"min_fail_share": 0.5},
    "on_spill=report": {"on_spill": "report"},
    "selection=fits": {"selection": "fits"},
    "on_exhausted=cpu": {"on_exhausted": "cpu"},
    "on_exhausted=reset": {"on_exhausted": "reset"},
    "recover_after=0s": {"recover_after": 0.0},
    "max_switches_per_hour=1": {"max_switches_per_hour": 1},
    "canary=false": {"canary": False},
    "dynamic_threshold": {"dynamic_threshold": True},
    "little_memory": {"free": 3 * GIGABYTE},
    "one_model": {"one_model": True},
    "reserve": {"reserve": Reserve(GIGABYTE)},
    "hours": {"hours": True},
}
"""The policy's flags, each with a value that is not the default; `little_memory`, `one_model` and `hours` are properties
of card, ladder and calendar."""


def rules_of(rungs: int, *flags: str) -> Rules:
    """Return the rules of a ladder of so many rungs under some flags."""
    changes: dict[str, Any] = dict(_BASE)
    for flag in flags:
        changes |= FLAGS[flag]
    free, one_model = changes.pop("free", None), changes.pop("one_model", False)
    hours = _calendar(rungs) if changes.pop("hours", False) else ()
    names = ["big:70b"] * rungs if one_model else ["big:70b", "mid:13b", "small:3b"][:rungs]
    sizes = [4 * GIGABYTE, 2 * GIGABYTE, GIGABYTE][:rungs]
    options = [{"num_ctx": 8192 >> index} if one_model else {} for index in range(rungs)]
    rows = zip(names, sizes, options, strict=True)
    ladder = Ladder(
        [Rung(index, name, size, options=option) for index, (name, size, option) in enumerate(rows)]
    )
    needs = tuple(sizes) if free is not None or "selection=fits" in flags else ()
    return Rules(ladder, PolicySettings(**changes), needs=needs, free=free, hours=hours)


def _calendar(rungs: int) -> tuple[HoursRow, ...]:
    """Return the caps of `[[hours]]`, each all week: the last rung, and no model; a move says which is in force."""
    days = frozenset(range(len(DAYS)))
    caps = [("none", None), *([("small", rungs - 1)] if rungs > 1 else [])]
    return tuple(HoursRow("", days, 0, 24 * 60, model, rung, UTC) for model, rung in caps)


def choices(most: int) -> Sequence[tuple[str, ...]]:
    """Return no flag, each flag alone, and up to `most` of them together, without those that exclude each other."""
    found = [names for number in range(most + 1) for names in combinations(FLAGS, number)]
    return [names for names in found if not _exclude(names)]


def _exclude(names: Sequence[str]) -> bool:
    keys = [key for name in names for key in FLAGS[name]]
    return len(keys) > len(set(keys))


def smaller(rules: Rules, threshold: int) -> Rules:
    """Return the rules with another threshold."""
    return replace(rules, policy=replace(rules.policy, threshold=threshold))
