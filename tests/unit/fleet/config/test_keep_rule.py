import re

import pytest

from fleet.config.keep_rule import parse_keep

FIGURES = {"fitness": 0.6, "sharpe": 1.3, "turnover": 0.3, "returns": -0.1, "margin": None, "days": 500}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("fitness > 0.5", True),
        ("fitness>0.5", True),
        ("fitness > 0.6", False),
        ("fitness >= 0.6", True),
        ("returns < -.05", True),
        ("days == 500", True),
        ("days != 500", False),
        ("sharpe <= 1.3e0", True),
        ("margin > 0", False),
        ("margin < 0", False),
        ("margin != 0", False),
        ("drawdown < 1", False),
        ("fitness > 0.5 and turnover < 0.2", False),
        ("fitness > 0.5 and turnover < 0.7", True),
        ("fitness > 9 or sharpe > 1", True),
        ("fitness > 9 or sharpe > 1 and turnover > 9", False),
        ("(fitness > 9 or sharpe > 1) and turnover < 9", True),
        ("((fitness > 0.5))", True),
    ],
)
def test_a_rule_holds_for_figures(rule: str, *, holds: bool) -> None:
    assert parse_keep(rule).holds(FIGURES) is holds


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("", "a metric's name is expected"),
        ("fitness", "a comparison after fitness"),
        ("fitness >", "a number after fitness >"),
        ("fitness > sharpe", "a number after fitness >"),
        ("fitnes > 1", '"fitnes" is no metric'),
        ("fitness = 1", "belongs to no comparison"),
        ("fitness > 0.5 and", "a metric's name is expected"),
        ("fitness > 0.5 sharpe > 1", "comes after its end"),
        ("(fitness > 0.5", "a bracket is not closed"),
        ("fitness > 0.5)", "comes after its end"),
        ("__import__('os')", "belongs to no comparison"),
        ("(" * 400, "nested too deeply"),
        ("fitness > 1 or " * 100, "longer than"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_reason(rule: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_keep(rule)
