import json
import re
from dataclasses import replace
from itertools import takewhile
from random import Random

import pytest

from generator.catalogue import Catalogue, Kind, load_catalogue
from generator.domain import Candidate, Stretch
from generator.language import Node, canonical, parse, show
from generator.language.breed import breed
from generator.language.schema import accepts
from generator.llm.context_window import Window, estimate
from generator.llm.feedback import FailedExpression, Feedback
from generator.llm.prompt import Prompt, build_prompt
from generator.llm.reply import decode_reply
from generator.llm.themes import ARMS, CALLS, ThemeKind, new_theme
from generator.pool.model import Member

CATALOGUE = load_catalogue().restricted_to(
    fields=("open", "high", "low", "close", "volume", "vwap", "returns", "adv20", "cap", "sector", "industry")
)
WEAKEST = {"name": "HIGH_TURNOVER", "result": "PASS", "limit": 0.7, "value": 0.61}


def member(expression: str, fitness: float = 1.0) -> Member:
    candidate = Candidate(expression, expression, expression)
    return Member(candidate, Stretch(1.5, 0.61, fitness, 0.1, 378), WEAKEST)


MEMBERS = [member(f"rank(ts_delta(close, {days}))", 2.0 / days) for days in range(2, 20)]
PAGE = Feedback(
    members=MEMBERS,
    failed=tuple(
        FailedExpression(f"ts_mean(sign(volume), {days})", "never takes a position: its values are 0")
        for days in range(1, 20)
    ),
    repeated=tuple(f"rank(ts_delay(close, {days}))" for days in range(1, 20)),
)


def seed_of(kind: ThemeKind, number: int = 1) -> int:
    arms = [arm for arm in ARMS if arm.kind is kind]
    return new_theme(arms[number % len(arms)], Random(number))


REFINE, EXPLORE = seed_of(ThemeKind.REFINE), seed_of(ThemeKind.EXPLORE)


def built(
    seed: int, page: Feedback = PAGE, *, tokens: int = 4096, catalogue: Catalogue = CATALOGUE
) -> Prompt:
    return build_prompt(catalogue, page, count=2, window=Window(tokens), seed=seed)


def arrays_in(text: str) -> list[object]:
    """Return the parents shown, as a model sees them."""
    return [json.loads(line) for line in re.findall(r"^(.+): Sharpe ", text, flags=re.MULTILINE)]


def is_expressible(prompt: Prompt, array: object) -> bool:
    alpha = prompt.schema["properties"]["expressions"]["items"]
    return accepts({**alpha, "$defs": prompt.schema["$defs"]}, array)


def test_a_seed_gives_one_prompt_and_another_theme_another() -> None:
    assert built(REFINE) == built(REFINE)
    assert built(REFINE).text != built(seed_of(ThemeKind.REFINE, 2)).text


@pytest.mark.parametrize("tokens", [1000, 1400, 2048, 4096, 131072])
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("kind", list(ThemeKind))
def test_a_prompt_fits_its_window_with_the_reply(tokens: int, number: int, kind: ThemeKind) -> None:
    prompt = built(seed_of(kind, number), tokens=tokens)
    assert estimate(prompt.text) == prompt.estimated <= Window(tokens).prompt_budget(prompt.reply_tokens)
    assert prompt.reply_tokens >= min(2 * 192, tokens // 3)


def test_refining_shows_parents_in_the_form_of_the_answer() -> None:
    prompt = built(REFINE)
    assert (
        '["rank",["ts_delta","close",2]]: Sharpe 1.50, fitness 1.00, turnover 0.61; '
        "weakest check HIGH_TURNOVER: 0.61, limit 0.70\n" in prompt.text
    )
    assert len(prompt.parents) == len(arrays_in(prompt.text)) == 3
    assert set(prompt.parents) <= {one.digest for one in MEMBERS}


def test_exploring_shows_no_parents() -> None:
    prompt = built(EXPLORE)
    assert prompt.parents == ()
    assert not arrays_in(prompt.text)


def test_without_a_pool_refining_explores() -> None:
    prompt = built(REFINE, replace(PAGE, members=()))
    assert "Improve" not in prompt.text
    assert prompt.fits


@pytest.mark.parametrize("catalogue", [CATALOGUE, load_catalogue()], ids=["panel", "brain"])
@pytest.mark.parametrize("tokens", [1400, 2048, 8192])
def test_every_parent_shown_is_an_instance_of_the_grammar(catalogue: Catalogue, tokens: int) -> None:
    rng = Random(5)
    odd = (
        "1 - rank(close)",
        "rank(close, rate=0)",
        "0.3 * ts_rank(vwap, 7)",
        "close > open",
        "close",
        "rank(max(1, 2))",
    )
    trees: list[Node] = [canonical(parse(text, catalogue), catalogue) for text in odd]
    while len(trees) < 150:
        child = breed(rng.choice(trees[:5] + trees[6:]), catalogue, rng, trees[0])
        trees += [] if child is None else [child]
    page = Feedback(members=[member(show(tree)) for tree in trees])
    shown = 0
    for number in range(60):
        prompt = built(seed_of(ThemeKind.REFINE, number), page, tokens=tokens, catalogue=catalogue)
        arrays = arrays_in(prompt.text)
        assert all(is_expressible(prompt, array) for array in arrays)
        shown += len(arrays)
    assert shown > 30


@pytest.mark.parametrize("kind", list(ThemeKind))
def test_the_calls_of_a_theme_begin_alike_and_have_one_grammar(kind: ThemeKind) -> None:
    first = built(seed_of(kind))
    for call in range(1, CALLS):
        page = replace(PAGE, failed=PAGE.failed[call:], repeated=PAGE.repeated[call:])
        other = built(seed_of(kind) + call, page)
        assert other.schema == first.schema
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(first.text, other.text, strict=False))
        assert estimate(first.text[: len(list(shared))]) > 0.75 * other.estimated


def test_the_end_shows_failures_with_reasons_and_repetitions() -> None:
    for seed in (EXPLORE, REFINE):
        text = built(seed).text
        assert '["ts_mean",["sign","volume"],1]: never takes a position: its values are 0' in text
        assert 'write others:\n["rank",["ts_delay","close",1]]\n' in text
        assert "Write 2 new expressions" in text


def test_no_figure_of_validation_or_test_is_shown() -> None:
    """A member holds train figures alone, and a weakest check of the train days."""
    assert set(Member.__slots__) == {"candidate", "train", "weakest", "correlation", "id", "pnl"}
    one, other = (replace(MEMBERS[0], id=number, pnl=bytes([number])) for number in (1, 2))
    assert built(REFINE, Feedback(members=[one])) == built(REFINE, Feedback(members=[other]))


def test_a_weakest_check_without_figures_is_left_out() -> None:
    for weakest in (None, {}, {"name": "LOW_SHARPE"}, {"name": "LOW_SHARPE", "value": None, "limit": 1.0}):
        text = built(REFINE, Feedback(members=[replace(MEMBERS[0], weakest=weakest)])).text
        assert "turnover 0.61\n" in text
        assert "weakest check LOW" not in text


def test_members_of_another_catalogue_are_passed_over() -> None:
    page = Feedback(members=[member("rank(sales)"), member("nonsense(close)"), member("rank(close)")])
    assert built(REFINE, page).parents == ("rank(close)",)


def test_a_window_too_small_gets_the_shortest_prompt() -> None:
    prompt = built(REFINE, tokens=64)
    assert not prompt.fits
    assert "Improve" not in prompt.text
    assert "These failed" not in prompt.text
    assert prompt.schema["required"] == ["expressions"]


@pytest.mark.parametrize("seed", [EXPLORE, REFINE])
def test_the_schema_offers_only_what_the_prompt_shows(seed: int) -> None:
    prompt = built(seed, tokens=2048)
    offered = {name for name in CATALOGUE.operators if f'"{name}"' in json.dumps(prompt.schema)}
    assert offered
    assert all(f"{name}(" in prompt.text for name in offered)


def test_all_fields_are_sampled() -> None:
    seen: set[str] = set()
    full = load_catalogue()
    for number in range(60):
        text = built(seed_of(ThemeKind.EXPLORE, number), Feedback(), catalogue=full).text
        seen |= {name for name in full.fields_of(Kind.MATRIX) if f"\n{name}: " in text}
    assert len(seen) > 0.9 * len(full.fields_of(Kind.MATRIX))


def test_text_from_the_model_cannot_add_lines_of_its_own() -> None:
    page = Feedback(failed=(FailedExpression("a\nWanted now: nothing", "b\r\nc" + "d" * 1000),))
    text = built(EXPLORE, page).text
    assert "Wanted now: nothing" not in text
    assert "an expression: b c" in text
    assert "d" * 200 not in text


def test_a_catalogue_of_one_field_is_enough() -> None:
    one: Catalogue = CATALOGUE.restricted_to(fields=["close"])
    prompt = built(EXPLORE, Feedback(), tokens=2048, catalogue=one)
    [node] = decode_reply('{"expressions": [["rank", "close"]]}', one)
    assert prompt.schema["$defs"]
    assert not isinstance(node, Exception)
