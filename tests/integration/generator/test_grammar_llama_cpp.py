"""The typed grammar against a real llama.cpp: a model without sense still answers in well typed alphas."""

import json
from collections import Counter

import pytest

from generator.catalogue import load_catalogue
from generator.language import Call, ExpressionError, Node, build_schema
from generator.llm.reply import decode_reply
from tests.parts.llama_cpp import Llama
from tests.parts.require import required
from tests.reference.expressions import FUZZ

CATALOGUE = load_catalogue()
COUNT = 2
SEEDS = range(200 if FUZZ or "llama" in required() else 12)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    return Llama(tmp_path_factory.mktemp("model"))


def _is_complete(reply: str) -> bool:
    try:
        json.loads(reply)
    except ValueError:
        return False
    return True


def _operators(tree: Node) -> Counter[str]:
    if not isinstance(tree, Call):
        return Counter()
    return sum(map(_operators, tree.args), Counter({tree.name: 1}))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("depth", [2, 4, 8])
def test_every_complete_reply_is_a_batch_of_alphas(llama: Llama, depth: int) -> None:
    schema = build_schema(CATALOGUE, count=COUNT, depth=depth)
    seen: Counter[str] = Counter()
    complete = 0
    for seed in SEEDS:
        reply = llama.follow_schema(schema, seed)
        found = decode_reply(reply, CATALOGUE)
        wrong = [outcome for outcome in found if isinstance(outcome, ExpressionError)]
        assert not wrong, (seed, reply)
        if _is_complete(reply):
            complete += 1
            assert len(found) == COUNT, (seed, reply)
        seen.update(
            name for tree in found if not isinstance(tree, ExpressionError) for name in _operators(tree)
        )
    assert complete >= len(SEEDS) // 2
    assert len(seen) >= 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_replies_that_are_cut_off_keep_their_complete_alphas(llama: Llama) -> None:
    schema = build_schema(CATALOGUE, count=20, depth=3)
    kept = 0
    for seed in SEEDS:
        reply = llama.follow_schema(schema, seed, 400)
        assert not _is_complete(reply), (seed, reply)
        found = decode_reply(reply, CATALOGUE)
        assert not [outcome for outcome in found if isinstance(outcome, ExpressionError)], (seed, reply)
        kept += len(found)
    assert kept >= len(SEEDS)


@pytest.mark.slow
def test_a_small_selection_is_all_that_comes_up(llama: Llama) -> None:
    fields = ["close", "volume", "sector"]
    small = CATALOGUE.restricted_to(
        fields=fields, operators=["rank", "ts_corr", "group_neutralize", "multiply"]
    )
    schema = build_schema(small, count=COUNT, depth=4, look_backs=(5, 20))
    for seed in SEEDS[:20]:
        for outcome in decode_reply(llama.follow_schema(schema, seed), small):
            assert not isinstance(outcome, ExpressionError)
