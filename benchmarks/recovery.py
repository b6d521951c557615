"""Recovery on a shared GPU: days on a simulated clock, beside an oracle and the original rule."""

from dataclasses import replace
from statistics import mean

from benchmarks.report import Report
from tests.reference.shared_card_day import (
    EVENING,
    OFFICE,
    STEADY,
    Budget,
    Card,
    Day,
    most_in_an_hour,
    originals_rule,
    random_day,
    settled_probes,
)

SEEDS = range(1, 3)
DAYS = range(1, 9)
_HEAD = [
    "day",
    "memory",
    "on the best rung",
    "least",
    "failed probes a day",
    "most in a steady hour",
    "original's rule",
]


def measure() -> list[Report]:
    """Simulate named and random days, with the free memory known and by outcome alone."""
    named: dict[str, list[Budget]] = {
        "office": [OFFICE],
        "evening": [EVENING],
        "steady": [STEADY],
        f"random, {len(DAYS)} days of six changes": [random_day(seed) for seed in DAYS],
    }
    rows = [_row(name, budgets, knows=knows) for name, budgets in named.items() for knows in (True, False)]
    notes = (
        "Share of a day on the largest rung that fits; an oracle that always knows the free memory has 100 %. "
        f"Four rungs that need 3.0, 2.4, 1.5 and 0.6 GB, a call every 20 s, the default settings, {len(SEEDS)} seeds. "
        "*known*: the GPU's tool reports the free memory, so only rungs that fit are probed. *by outcome*: the free memory "
        "is unknown. A rung that failed is probed again after 10 minutes, then after twice as long each time, up to "
        "`recover_cap`. A smaller cap finds free memory sooner and fails more often. The original never upgrades."
    )
    return [Report("A day on a shared card", _HEAD, rows, notes), _caps()]


def _row(name: str, budgets: list[Budget], *, knows: bool) -> list[str]:
    days = [Day(Card(budget), knows) for budget in budgets for _ in SEEDS]
    shares = [day.run(seed) for day, seed in zip(days, [*SEEDS] * len(budgets), strict=True)]
    return [
        name,
        "known" if knows else "by outcome",
        f"{mean(shares):.1%}",
        f"{min(shares):.1%}",
        f"{mean(len(day.failed_probes) for day in days):.1f}",
        f"{max(most_in_an_hour(settled_probes(day)) for day in days)}",
        f"{mean(originals_rule(Card(budget)) for budget in budgets):.1%}",
    ]


def _caps() -> Report:
    """Measure the effect of `recover_cap`, by outcome alone."""
    rows = []
    for minutes in (30, 60, 120, 240):
        days = [_capped(random_day(seed), 60.0 * minutes) for seed in DAYS]
        shares = [day.run(seed) for seed, day in zip(DAYS, days, strict=True)]
        probes = mean(len(day.failed_probes) for day in days)
        steady = max(most_in_an_hour(settled_probes(day)) for day in days)
        rows.append([f"{minutes} min", f"{mean(shares):.1%}", f"{probes:.1f}", f"{steady}"])
    head = ["`recover_cap`", "on the best rung", "failed probes a day", "most in a steady hour"]
    return Report("Effect of `recover_cap`, by outcome alone", head, rows)


def _capped(budget: Budget, cap: float) -> Day:
    day = Day(Card(budget), knows=False)
    day.rules = replace(day.rules, policy=replace(day.rules.policy, recover_cap=cap))
    return day
