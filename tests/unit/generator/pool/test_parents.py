from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from generator.domain import Candidate, Stretch
from generator.pool.model import Member
from generator.pool.parents import choose_parents


def member(name: str, fitness: float) -> Member:
    return Member(Candidate(name, name, name), Stretch(1.0, 0.2, fitness, 0.1, 300))


MEMBERS = [member("a", 3.0), member("b", 1.0), member("c", 0.0), member("d", float("nan"))]


def chosen(children: dict[str, int], count: int = 1, rounds: int = 2000) -> Counter[str]:
    rng = Random(1)
    return Counter(one.digest for _ in range(rounds) for one in choose_parents(MEMBERS, rng, count, children))


def test_chances_follow_the_train_fitness() -> None:
    found = chosen({})
    assert found["a"] / found["b"] == pytest.approx(3.0, rel=0.2)
    assert set(found) == {"a", "b"}


def test_a_member_with_children_is_chosen_less_often() -> None:
    found = chosen({"a": 2})
    assert found["a"] / found["b"] == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize(("count", "names"), [(0, []), (1, 1), (2, ["a", "b"]), (5, ["a", "b"])])
def test_members_differ(count: int, names: list[str] | int) -> None:
    found = [one.digest for one in choose_parents(MEMBERS, Random(1), count)]
    assert len(found) == (names if isinstance(names, int) else len(names))
    if isinstance(names, list):
        assert sorted(found) == names


def test_no_members_give_no_parents() -> None:
    assert choose_parents([], Random(1), 2) == []


def test_only_train_figures_count() -> None:
    others = [replace(one, pnl=b"other", id=7) for one in MEMBERS]
    one, two = ([p.digest for p in choose_parents(pool, Random(3), 2)] for pool in (MEMBERS, others))
    assert one == two
