import pytest

from fleet.config.keep_rule import parse_keep
from generator.catalogue import load_catalogue
from generator.domain import AlphaFigures, Candidate
from generator.language import parse, read
from generator.workers.sign_flip import opposite, reversed_candidate


def candidate(text: str, *, tree: bool = False) -> Candidate:
    return Candidate("d", text, text, "c1", "m", parse(text, load_catalogue()) if tree else None)


@pytest.mark.parametrize("tree", [True, False])
@pytest.mark.parametrize(
    ("text", "turned"),
    [("rank(close)", "reverse(rank(close))"), ("-rank(close)", "rank(close)"), ("close", "reverse(close)")],
)
def test_the_opposite_sign(text: str, turned: str, tree: bool) -> None:
    found = reversed_candidate(candidate(text, tree=tree), load_catalogue())
    assert found is not None
    assert parse(found.expression, load_catalogue()) == parse(turned, load_catalogue())
    assert (found.call, found.model) == ("c1", "m")


@pytest.mark.parametrize("text", ["rank(close) - rank(open)", "-close", "close * 2"])
def test_turned_twice_it_is_what_it_was(text: str) -> None:
    once = reversed_candidate(candidate(text), load_catalogue())
    assert once is not None
    twice = reversed_candidate(once, load_catalogue())
    assert twice is not None
    assert twice.digest == read(text, load_catalogue()).digest != once.digest


def test_what_cannot_be_read_is_not_turned() -> None:
    assert reversed_candidate(candidate("nonsense("), load_catalogue()) is None


def test_its_promise_is_judged_by_the_same_rule() -> None:
    bad = AlphaFigures(-1.5, 0.3, -1.1, -0.1, 0.4, -0.001, 10.0, 20.0, 500)
    good = opposite(bad).figures()
    assert parse_keep("fitness > 1 and sharpe > 1.25 and drawdown < 0.2 and long_count > 15").holds(good)
    assert not parse_keep("turnover > 0.5").holds(good)
