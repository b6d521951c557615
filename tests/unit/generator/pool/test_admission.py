"""The decision about the pool, in tables."""

import math

import pytest

from generator.domain import Admission, AlphaFigures, Candidate, Stretch
from generator.pool.admission import Contender, admission, contender
from generator.pool.checks import failed_checks, hard_failures, weakest_check
from generator.pool.model import Member, Pool

FAIL = {"name": "CONCENTRATED_WEIGHT", "result": "FAIL", "limit": 0.1, "value": 0.5}


def member(name: str, fitness: float = 1.0, correlation: float = -1.0) -> Member:
    return Member(
        Candidate(name, f"rank({name})", f"rank({name})"), Stretch(1.5, 0.2, fitness, 0.1, 300),
        correlation=correlation,
    )  # fmt: skip


ADMITTED = [
    ("nothing stands against it", Contender(0.6), [], ()),
    ("no split: validation is not asked", Contender(0.6, holds=None), [], ()),
    ("it holds on validation", Contender(0.6, holds=True), [], ()),
    ("it correlates with no member", Contender(0.6, holds=True), [(member("a", 9.0), 0.69)], ()),
    ("the reversed sign is no rival", Contender(0.6, holds=True), [(member("a", 9.0), -1.0)], ()),
    ("it beats a member by a tenth", Contender(1.11), [(member("a", 1.0), 0.7)], ("a",)),
    (
        "it beats two members",
        Contender(3.0),
        [(member("a", 1.0), 0.9), (member("b", 2.0), 0.8), (member("c", 2.9), 0.1)],
        ("a", "b"),
    ),
    ("a full pool loses its weakest", Contender(3.0), [(member("a", 2.0), 0.0), (member("b", 1.0), 0.0)], ("b",)),
    ("a replaced member makes room", Contender(3.0), [(member("a", 2.0), 0.9), (member("b", 1.0), 0.0)], ("a",)),
]  # fmt: skip
REFUSED = [
    ("figures that mean nothing", Contender(9.0, reason="it never takes a position"), [], "it never takes a position"),
    ("a hard check", Contender(9.0, hard_failures=("HIGH_TURNOVER",)), [], "it fails HIGH_TURNOVER"),
    ("not good on train", Contender(0.5), [], "its fitness is 0.50; above 0.5 is required"),
    ("no figure", Contender(math.nan), [], "its fitness is nan; above 0.5 is required"),
    ("a copy", Contender(1.0, holds=True), [(member("a", 1.0), 1.0)], "the same positions as rank(a)"),
    (
        "close, and not a tenth better",
        Contender(1.09, holds=True),
        [(member("a", 1.0), 0.7)],
        "its daily PnL correlates 0.70 with that of rank(a), and its fitness is less than a tenth better",
    ),
    (
        "one of two close members is not beaten",
        Contender(2.0, holds=True),
        [(member("a", 1.0), 0.9), (member("b", 1.9), 0.8)],
        "its daily PnL correlates 0.80 with that of rank(b), and its fitness is less than a tenth better",
    ),
    ("validation", Contender(9.0, holds=False), [], "it does not hold on the validation days"),
    (
        "a full pool of better ones",
        Contender(0.9),
        [(member("a", 2.0), 0.0), (member("b", 1.0), 0.0)],
        "the pool is full, and its 2 members are better",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("alpha", "rivals", "replaced"), [row[1:] for row in ADMITTED], ids=[row[0] for row in ADMITTED]
)
def test_admitted(alpha: Contender, rivals: list[tuple[Member, float]], replaced: tuple[str, ...]) -> None:
    assert admission(alpha, rivals, most=2 if len(rivals) == 2 else 200) == Admission(
        admitted=True, replaced=replaced
    )


@pytest.mark.parametrize(
    ("alpha", "rivals", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused(alpha: Contender, rivals: list[tuple[Member, float]], reason: str) -> None:
    found = admission(alpha, rivals, most=2)
    assert (found.admitted, found.reason, found.replaced) == (False, reason, ())
    assert bool(found.rival) == ("positions as" in reason or "correlates" in reason)


@pytest.mark.parametrize(
    ("fitness", "holds"), [(0.26, True), (0.25, False), (-1.0, False), (math.nan, False)]
)
def test_one_bit_of_the_validation_counts(fitness: float, holds: bool) -> None:
    figures = AlphaFigures(
        1.5, 0.2, 0.9, 0.1, 0.1, 0.001, 10, 11, 300, checks=[FAIL],
        validation=Stretch(1.0, 0.2, fitness, 0.1, 100), test=Stretch(-9.0, 0.2, -9.0, -1.0, 100),
    )  # fmt: skip
    assert contender(figures) == Contender(0.9, "", ("CONCENTRATED_WEIGHT",), holds)


def test_failed_checks_count_and_some_are_hard() -> None:
    checks = [
        FAIL,
        {"name": "LOW_SHARPE", "result": "FAIL", "limit": 1.25, "value": 1.0},
        {"name": "HIGH_TURNOVER", "result": "PASS", "limit": 0.7, "value": 0.2},
        {"name": "LOW_TURNOVER", "result": "PENDING", "limit": 0.01, "value": None},
    ]
    assert failed_checks(checks) == ("CONCENTRATED_WEIGHT", "LOW_SHARPE")
    assert hard_failures(checks) == ("CONCENTRATED_WEIGHT",)
    assert hard_failures([{**FAIL, "hard": False}]) == ()


def test_the_weakest_check_is_a_failed_one_or_the_nearest_to_its_limit() -> None:
    near = {"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": 1.3}
    far = {"name": "HIGH_TURNOVER", "result": "PASS", "limit": 0.7, "value": 0.1}
    pending = {"name": "LOW_SUB_UNIVERSE_SHARPE", "result": "PENDING", "limit": None, "value": None}
    assert weakest_check([pending, far, near]) == near
    assert weakest_check([near, FAIL]) == FAIL
    assert weakest_check([pending]) is None


def test_members_stand_by_train_fitness() -> None:
    pool = Pool().with_member(member("a", 1.0)).with_member(member("b", 2.0)).with_member(member("c", 2.0))
    assert [one.digest for one in pool.members] == ["b", "c", "a"]
    pool = pool.with_member(member("a", 3.0), replaced=("c",)).with_correlations({"a": 0.5, "b": -0.2})
    assert [(one.digest, one.score) for one in pool.members] == [("a", 1.5), ("b", 2.0)]
