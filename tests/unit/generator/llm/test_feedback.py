from dataclasses import replace

from generator.domain import Admission, AlphaFigures, Candidate, Evaluated, Source, Stretch
from generator.llm.feedback import Notebook
from generator.pool.model import Member, Pool


def evaluated(name: str, fitness: float) -> Evaluated:
    figures = AlphaFigures(1.0, 0.2, fitness, 0.1, 0.1, 0.1, 5.0, 5.0, 10)
    return Evaluated(Candidate(name, name, name), Source.PANEL, {}, figures)


def test_the_best_are_the_first_members_of_the_pool() -> None:
    members = tuple(
        Member(Candidate(f"a{n}", f"a{n}", f"a{n}"), Stretch(1.0, 0.2, float(-n), 0.1, 9)) for n in range(50)
    )
    notebook = Notebook()
    notebook.note(evaluated("no member", 9.0))
    notebook.show(Pool(members))
    assert [one.fitness for one in notebook.snapshot().best] == [float(-n) for n in range(24)]
    notebook.show(Pool())
    assert notebook.snapshot().best == ()


def test_a_good_alpha_that_the_pool_refuses_is_a_failure_with_the_reason() -> None:
    notebook = Notebook()
    for name, fitness in (("good", 0.6), ("weak", 0.4)):
        refused = Admission(admitted=False, reason="the same positions as rank(close)")
        notebook.note(replace(evaluated(name, fitness), admission=refused))
    notebook.note(replace(evaluated("in", 0.6), admission=Admission(admitted=True)))
    assert [(one.expression, one.reason) for one in notebook.snapshot().failed] == [
        ("good", "the same positions as rank(close)")
    ]


def test_repetitions_displace_no_failure() -> None:
    notebook = Notebook()
    notebook.failed("f", "wrong")
    for number in range(50):
        notebook.repeated(f"r{number % 30}")
    page = notebook.snapshot()
    assert page.repeated[:2] == ("r19", "r18")
    assert len(page.repeated) == 24
    assert [one.expression for one in page.failed] == ["f"]


def test_failures_come_newest_first_once_each_and_bounded() -> None:
    notebook = Notebook()
    for number in range(50):
        notebook.failed(f"f{number}", "wrong")
    notebook.failed("f30", "wrong again")
    notebook.note(Evaluated(Candidate("x", "x", "x"), Source.PANEL, {}, error="no such group"))
    failed = notebook.snapshot().failed
    assert [(one.expression, one.reason) for one in failed[:2]] == [
        ("x", "no such group"),
        ("f30", "wrong again"),
    ]
    assert len(failed) == len({one.expression for one in failed}) == 24
