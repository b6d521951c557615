from generator.domain import AlphaFigures, Candidate, Evaluated, Source
from generator.llm.feedback import Notebook


def evaluated(name: str, fitness: float) -> Evaluated:
    figures = AlphaFigures(1.0, 0.2, fitness, 0.1, 0.1, 0.1, 5.0, 5.0, 10)
    return Evaluated(Candidate(name, name, name), Source.PANEL, {}, figures)


def test_the_best_are_kept_by_fitness_one_of_each() -> None:
    notebook = Notebook()
    for number in range(100):
        notebook.note(evaluated(f"a{number % 50}", float(number % 50)))
    best = notebook.snapshot().best
    assert [note.fitness for note in best] == [float(number) for number in range(49, 25, -1)]


def test_an_alpha_without_a_fitness_is_not_among_the_best() -> None:
    notebook = Notebook()
    notebook.note(evaluated("a", float("nan")))
    assert notebook.snapshot().best == ()


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
