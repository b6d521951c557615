"""Prompts: the parents that their grammar can express, the part that calls share, and the replies of a real llama.cpp."""

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, takewhile
from pathlib import Path
from random import Random
from statistics import mean

import pytest

from benchmarks.report import Report
from generator.catalogue import Catalogue, load_catalogue
from generator.catalogue.available import with_fields
from generator.domain import Candidate, Stretch
from generator.evaluators.panel_fields import SYNTHETIC_FIELDS
from generator.language import ExpressionError, Node, canonical, parse, show
from generator.language.breed import breed
from generator.language.schema import accepts
from generator.llm.context_window import Window, estimate
from generator.llm.feedback import FailedExpression, Feedback
from generator.llm.prompt import Prompt, build_prompt
from generator.llm.reply import decode_reply
from generator.llm.themes import ARMS, CALLS, ThemeKind, new_theme
from generator.pool.model import Member
from tests.parts.llama_cpp import MOST_TOKENS, Llama

THEMES = 60
LLAMA_CALLS = 40
# The content of a pool after a day: ideas of the commonest published alphas, and their variants.
IDEAS = (
    "rank(ts_delta(close, 5))",
    "reverse(ts_corr(rank(volume), rank(close), 10))",
    "group_neutralize(reverse(ts_zscore(returns, 20)), industry)",
    "ts_decay_linear(reverse(rank(ts_delta(vwap, 3))), 5)",
    "rank(divide(ts_std_dev(returns, 60), ts_mean(volume, 20)))",
    "group_rank(ts_av_diff(close, 20), sector)",
    "winsorize(ts_zscore(divide(cap, volume), 40))",
    "signed_power(ts_delta(close, 2), 2)",
    "trade_when(volume > adv20, reverse(returns), -1)",
    "group_zscore(ts_covariance(close, volume, 10), industry)",
    "hump(rank(ts_delta(close, 10)))",
    "if_else(volume > ts_mean(volume, 30), 1 - rank(close), 0.3 * ts_rank(vwap, 7))",
)


def pool(catalogue: Catalogue) -> list[Member]:
    """Return a pool of ideas and their variants."""
    rng = Random(1)
    trees: list[Node] = [canonical(parse(idea, catalogue), catalogue) for idea in IDEAS]
    while len(trees) < 8 * len(IDEAS):
        child = breed(rng.choice(trees), catalogue, rng, rng.choice(trees))
        trees += [] if child is None else [child]
    check = {"name": "LOW_SHARPE", "value": 1.31, "limit": 1.25}
    return [
        Member(Candidate(f"{number}", show(tree), show(tree)), Stretch(1.3, 0.4, 0.9, 0.1, 756), check)
        for number, tree in enumerate(trees)
    ]


def calls(catalogue: Catalogue, kind: ThemeKind, tokens: int) -> Iterator[list[Prompt]]:
    """Yield the prompts of each theme; a failure and a repetition are added at each call."""
    rng = Random(2)
    arms = [arm for arm in ARMS if arm.kind is kind]
    feedback = Feedback(members=pool(catalogue))
    for number in range(THEMES):
        seed = new_theme(arms[number % len(arms)], rng)
        prompts = []
        for call in range(CALLS):
            days = 2 + (10 * number + call) % 97
            failed = FailedExpression(
                f"ts_mean(sign(volume), {days})", "never takes a position: its values are 0"
            )
            feedback = replace(
                feedback,
                failed=[failed, *feedback.failed][:24],
                repeated=[f"rank(ts_delay(close, {days}))", *feedback.repeated][:24],
            )
            prompts.append(
                build_prompt(catalogue, feedback, count=2, window=Window(tokens), seed=seed + call)
            )
        yield prompts


def arrays_shown(prompt: Prompt) -> list[object]:
    """Return the parents in a prompt's text, as a model sees them."""
    lines = (line.rpartition(": Sharpe ")[0] for line in prompt.text.splitlines())
    return [json.loads(line) for line in lines if line]


def expressible(prompt: Prompt) -> int:
    """Return the number of shown parents that are instances of the grammar sent with them."""
    alpha = {**prompt.schema["properties"]["expressions"]["items"], "$defs": prompt.schema["$defs"]}
    return sum(accepts(alpha, array) for array in arrays_shown(prompt))


def common(one: Prompt, two: Prompt) -> float:
    """Return the share of the second prompt's tokens that both begin with."""
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one.text, two.text, strict=False))))
    return estimate(one.text[:shared]) / two.estimated


def row(name: str, catalogue: Catalogue, kind: ThemeKind, tokens: int) -> list[str]:
    themes = list(calls(catalogue, kind, tokens))
    prompts = [prompt for theme in themes for prompt in theme]
    shown = sum(len(arrays_shown(prompt)) for prompt in prompts)
    same = all(prompt.schema == theme[0].schema for theme in themes for prompt in theme)
    within = mean(common(one, two) for theme in themes for one, two in pairwise(theme))
    in_all = mean(common(one, two) for one, two in pairwise(prompts))
    return [
        name,
        kind.value,
        str(tokens),
        f"{mean(prompt.estimated for prompt in prompts):.0f}",
        f"{shown / len(prompts):.1f}",
        f"{sum(map(expressible, prompts)) / shown:.0%}" if shown else "none shown",
        f"{within:.0%}",
        f"{in_all:.0%}",
        "yes" if same else "NO",
    ]


def replies(name: str, catalogue: Catalogue, kind: ThemeKind, llama: Llama | str) -> list[str]:
    """Return the row of a real llama.cpp's replies, or with the reason for none."""
    if isinstance(llama, str):
        return [name, kind.value, "", "", "", llama]
    prompts = [theme[0] for theme in calls(catalogue, kind, 4096)][:LLAMA_CALLS]
    expressions, wrong, whole, seconds = 0, 0, 0, 0.0
    for prompt in prompts:
        began = time.perf_counter()
        reply = llama.follow_schema(prompt.schema, prompt.seed)
        seconds += time.perf_counter() - began
        found = decode_reply(reply, catalogue)
        failed = sum(isinstance(one, ExpressionError) for one in found)
        expressions, wrong, whole = expressions + len(found), wrong + failed, whole + (len(found) == 2)
    return [
        name,
        kind.value,
        str(len(prompts)),
        str(whole),
        f"{expressions - wrong} of {expressions}",
        f"{1 - wrong / expressions:.0%}",
    ]


def real_llama(folder: Path) -> Llama | str:
    """Return a llama.cpp with a tiny model of random weights, or why there is none."""
    try:
        return Llama(folder)
    except pytest.skip.Exception as missing:
        return str(missing)


def measure() -> list[Report]:
    """Measure the prompts of both kinds, on a panel's fields and on BRAIN's catalogue."""
    brain = load_catalogue()
    catalogues = {"a panel of 14 fields": with_fields(brain, SYNTHETIC_FIELDS), "BRAIN's fields": brain}
    cases = [(name, catalogue, kind) for name, catalogue in catalogues.items() for kind in ThemeKind]
    rows = [row(*case, tokens) for case in cases for tokens in (2048, 4096)]
    with tempfile.TemporaryDirectory() as folder:
        llama = real_llama(Path(folder))
        answered = [replies(*case, llama) for case in cases]
    return [
        Report(
            "Prompts",
            [
                "catalogue",
                "kind",
                "context",
                "tokens (estimated)",
                "parents shown",
                "expressible",
                "common beginning in a theme",
                "of all calls in a row",
                "one grammar a theme",
            ],
            rows,
            f"{THEMES} themes of {CALLS} calls each, with a new failure and a new repetition at each call. Before"
            " themes, a call's grammar could express 3 % of the alphas shown on BRAIN's fields and 21 % on the panel's,"
            " and two calls in a row had 8 to 9 % of their tokens in common.",
        ),
        Report(
            "Replies of a real llama.cpp",
            ["catalogue", "kind", "calls", "replies that end", "well typed alphas", "share"],
            answered,
            "The model has random weights: the grammar alone makes its replies. A reply without sense may not end"
            f" within {MOST_TOKENS} tokens; its complete expressions count.",
        ),
    ]
