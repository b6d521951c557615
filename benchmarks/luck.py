"""The share of alphas marked `likely` on panels of noise, and of planted alphas that are found.

Panels of pure noise: prices without memory, heavy-tailed, with volumes that follow the size of moves. Planted panels
have a field that predicts returns. Each panel gets its own sample of one set of random expressions of the grammar. All
seeds are fixed. Beside the mark stand the rule `fitness > 0.5` and the procedure of Benjamini and Yekutieli (2001).
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, repeat
from random import Random
from statistics import NormalDist, variance

import numpy as np
import numpy.typing as npt

from benchmarks.report import Report
from generator.backtest.panel import Panel, with_derived
from generator.backtest.result.evaluate import Evaluation, Performance, engine_for, evaluate
from generator.backtest.result.metrics import daily_moments
from generator.backtest.settings import AlphaSettings, Neutralization
from generator.catalogue import Catalogue, Kind, load_catalogue
from generator.catalogue.available import with_fields
from generator.domain import Moments
from generator.language import ExpressionError, Field, Node, alpha_of, build_schema
from generator.llm.reply import decode_reply
from generator.pool.correlation import distinct
from generator.pool.luck import SAME_TRIAL, Luck, Trials, dsr_of, luck_of
from standin.sampling.grammar import grammar_of
from standin.sampling.sampler import sample

EXPRESSIONS = 1000
POOL = 2400
"""Random expressions; each panel draws from those that take positions on a panel of noise."""
NOISE_PANELS, NOISE_DAYS = 100, 520
PLANTED_PANELS, PLANTED_DAYS = 4, 3600
SIGNALS = tuple(f"signal_{number}" for number in range(10))
INSTRUMENTS = 30
PLANTED_SHARPE = 2.5
KEEP = 0.5
FALSE_DISCOVERIES = 0.05
BATCH = 40
WORKERS = 4
"""Processes; more than the cores of a small machine, whose other work takes its share."""
SETTINGS = AlphaSettings(neutralization=Neutralization.MARKET)
FIELDS = ("open", "high", "low", "close", "volume", "returns", "vwap", "adv20")
_NORMAL = NormalDist()

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Found:
    """Each rule's judgement of the trials of one panel, the planted one first, if any."""

    trials: int
    effective: float
    marks: Mapping[str, Sequence[bool]]


def measure() -> list[Report]:
    """Return the report: rules by kinds of panels."""
    expressions = usable(random_expressions(POOL))
    with ProcessPoolExecutor(WORKERS) as executor:
        planted = list(chain(*executor.map(judged_planted, range(PLANTED_PANELS), repeat(expressions))))
        noise = list(chain(*executor.map(judged_noise, range(NOISE_PANELS), repeat(expressions))))
    rows = [
        [
            rule,
            f"{sum(any(one.marks[rule]) for one in noise)} of {len(noise)}",
            f"{sum(sum(one.marks[rule]) for one in noise) / sum(one.trials for one in noise):.2%}",
            f"{sum(one.marks[rule][0] for one in planted)} of {len(planted)}",
            f"{sum(sum(one.marks[rule][1:]) for one in planted) / len(planted):.1f}",
        ]
        for rule in noise[0].marks
    ]
    effective = [one.effective for one in noise]
    notes = (
        f"{EXPRESSIONS} random expressions a panel of {INSTRUMENTS} instruments. Noise: {NOISE_DAYS} days; of a panel's "
        f"trials {min(effective):.0f} to {max(effective):.0f} differ (correlation below {SAME_TRIAL}). Planted: "
        f"{PLANTED_DAYS} days, and one of the expressions has an annual Sharpe ratio of {PLANTED_SHARPE}; "
        f"{PLANTED_PANELS} panels have {len(SIGNALS)} such fields each, tried one at a time. Aims: *likely* on at most 5 "
        f"of 100 panels of noise, and for at least 95 % of the planted alphas."
    )
    head = (
        "rule",
        "noise: panels with a find",
        "noise: share taken",
        "planted alpha found",
        "planted: others taken",
    )
    return [Report("Luck: what is taken where there is nothing to find", head, rows, notes)]


def random_expressions(count: int) -> list[Node]:
    """Return distinct random expressions of the typed grammar, the same at each call."""
    catalogue = with_fields(
        load_catalogue(), {**dict.fromkeys(FIELDS, Kind.MATRIX), "sector": Kind.GROUP, "market": Kind.GROUP}
    )
    grammar = grammar_of(json.dumps(build_schema(catalogue, count=1, depth=4)))
    rng = Random(1)
    found: dict[str, Node] = {}
    while len(found) < count:
        [tree] = decode_reply(json.dumps(sample(grammar, rng)), catalogue)
        digest = None if isinstance(tree, ExpressionError) else _digest(tree, catalogue)
        if digest is not None and not isinstance(tree, ExpressionError):
            found[digest] = tree
    return list(found.values())


def _digest(tree: Node, catalogue: Catalogue) -> str | None:
    try:
        return alpha_of(tree, catalogue).digest
    except ExpressionError:
        return None


def usable(expressions: Sequence[Node]) -> list[Node]:
    """Return the expressions that take positions on at least half of the days of a panel of noise."""
    found = performances(noise_panel(-1), expressions)
    return [tree for tree, one in zip(expressions, found, strict=True) if one is not None]


def noise_panel(seed: int, *, days: int = NOISE_DAYS) -> Panel:
    """Return a panel whose returns have no memory."""
    rng = np.random.default_rng(1000 + seed)
    return _panel(rng, rng.standard_t(5, (days, INSTRUMENTS)) * 0.012)


def planted_panel(seed: int) -> Panel:
    """Return a panel with fields whose alphas have the planted Sharpe ratio in expectation.

    Positions of a day use the signal of the day before, and earn on the next. The return of day t + 2 therefore
    contains a share of the signal of day t. An alpha of n independent positions has a daily Sharpe ratio of IC sqrt(n).
    """
    rng = np.random.default_rng(5000 + seed)
    moves = rng.standard_t(5, (PLANTED_DAYS, INSTRUMENTS))
    correlation = PLANTED_SHARPE / math.sqrt(252 * (INSTRUMENTS - 1))
    signals = {name: rng.normal(size=moves.shape) for name in SIGNALS}
    for signal in signals.values():
        moves[2:] += correlation * math.sqrt(5 / 3) * signal[:-2]
    panel = _panel(rng, moves * 0.012)
    return replace(panel, fields={**panel.fields, **signals})


def _panel(rng: np.random.Generator, moves: Array) -> Panel:
    close = 50.0 * np.exp(np.cumsum(moves, axis=0))
    sectors = rng.integers(0, 10, INSTRUMENTS).astype(np.int32)
    fields = {
        "open": close * np.exp(rng.normal(0.0, 0.004, moves.shape)),
        "high": close * np.exp(np.abs(rng.normal(0.0, 0.006, moves.shape))),
        "low": close * np.exp(-np.abs(rng.normal(0.0, 0.006, moves.shape))),
        "close": close,
        "volume": rng.lognormal(12.0, 0.4, moves.shape) * np.exp(8.0 * np.abs(moves)),
    }
    return with_derived(
        Panel(
            np.datetime64("2010-01-01") + np.arange(len(moves)),
            tuple(f"S{number:03d}" for number in range(INSTRUMENTS)),
            fields,
            {"sector": np.ascontiguousarray(np.broadcast_to(sectors, moves.shape))},
            {"sector": tuple("abcdefghij")},
        )
    )


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial: its fitness, the moments of its daily PnL, and the PnL."""

    fitness: float
    moments: Moments
    pnl: bytes


def judged_noise(seed: int, expressions: Sequence[Node]) -> list[Found]:
    """Return each rule's judgement of a panel of noise."""
    tried = trials_of(noise_panel(seed), Random(seed).sample(list(expressions), EXPRESSIONS))
    return [judged(tried, distinct([one.pnl for one in tried], SAME_TRIAL))]


def judged_planted(seed: int, expressions: Sequence[Node]) -> list[Found]:
    """Return each rule's judgement of each planted alpha, as one more distinct trial beside the random ones."""
    trees = Random(seed).sample(list(expressions), EXPRESSIONS - 1)
    tried = trials_of(planted_panel(seed), [*(Field(name) for name in SIGNALS), *trees])
    planted, others = tried[: len(SIGNALS)], tried[len(SIGNALS) :]
    different = 1 + distinct([one.pnl for one in others], SAME_TRIAL)
    return [judged([one, *others], different) for one in planted]


def judged(tried: Sequence[Tried], different: int) -> Found:
    """Return each rule's judgement of the trials of one panel, of which `different` do not correlate."""
    moments = [one.moments for one in tried]
    trials = Trials(len(tried), len(tried), different, variance([one.sharpe for one in moments]))
    marks = {
        "fitness > 0.5 (the default of `keep`)": [one.fitness > KEEP for one in tried],
        "Benjamini-Yekutieli, 5 %": benjamini_yekutieli(moments),
        "*likely*": [luck_of(dsr_of(one, trials)) is Luck.LIKELY for one in moments],
    }
    return Found(len(tried), trials.effective, marks)


def trials_of(panel: Panel, trees: Sequence[Node]) -> list[Tried]:
    """Return the trials of expressions that have figures."""
    return [
        Tried(one.figures.fitness, daily_moments(one.pnl), one.pnl.astype(np.float32).tobytes())
        for one in performances(panel, trees)
        if one is not None
    ]


def performances(panel: Panel, trees: Sequence[Node]) -> Iterator[Performance | None]:
    """Yield the backtest of each tree; None for one without figures, or without enough days with positions."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    engine = engine_for(panel, SETTINGS, threads=1)
    try:
        for start in range(0, len(trees), BATCH):
            for outcome in evaluate(trees[start : start + BATCH], panel, SETTINGS, engine=engine):
                usable = isinstance(outcome, Evaluation) and not outcome.performance.reason
                yield outcome.performance if usable and isinstance(outcome, Evaluation) else None
    finally:
        engine.close()


def benjamini_yekutieli(moments: Sequence[Moments]) -> list[bool]:
    """Return True for each alpha with a Sharpe ratio above 0, at 5 % false discoveries under any dependence.

    Y. Benjamini and D. Yekutieli (2001): The control of the false discovery rate in multiple testing under dependency.
    Annals of Statistics 29 (4), 1165-1188.
    """
    values = [
        1.0 - _NORMAL.cdf(one.sharpe * math.sqrt(one.days)) if math.isfinite(one.sharpe) else 1.0
        for one in moments
    ]
    count = len(values)
    harmonic = sum(1.0 / number for number in range(1, count + 1))
    order = sorted(range(count), key=lambda number: values[number])
    bound = 0
    for rank, number in enumerate(order, start=1):
        if values[number] <= rank * FALSE_DISCOVERIES / (count * harmonic):
            bound = rank
    chosen = set(order[:bound])
    return [number in chosen for number in range(count)]
