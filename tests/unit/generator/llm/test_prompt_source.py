from random import Random

from fleet.clients.ollama import Ollama
from generator.catalogue import Kind, load_catalogue
from generator.catalogue.available import Scope
from generator.domain import Assignment, CallRecord, CallVerdict, Candidate, Stretch
from generator.llm.feedback import Notebook
from generator.llm.prompt import Prompt
from generator.llm.prompt_source import PromptSource
from generator.llm.themes import CALLS, theme_of
from generator.pool.model import Member, Pool
from tests.unit.generator.llm.test_client import Wire

ONE = Member(Candidate("d", "rank(close)", "rank(close)"), Stretch(1.5, 0.3, 1.1, 0.1, 378))


def source(notebook: Notebook, scope: Scope, seed: int = 1) -> PromptSource:
    return PromptSource(
        scope=scope,
        notebook=notebook,
        assignment=Assignment("m:1b", {}),
        ollama=Ollama("http://o", Wire()),
        count=2,
        rng=Random(seed),
    )


def whole() -> Scope:
    return Scope(load_catalogue(), None)


def themes(prompts: list[Prompt]) -> list[int]:
    return [theme_of(prompt.seed)[0] for prompt in prompts]


def test_ten_calls_share_a_theme_and_a_grammar_with_seeds_of_their_own() -> None:
    prompts = source(Notebook(), whole())
    first, second = ([prompts.next() for _ in range(CALLS)] for _ in range(2))
    assert len(set(themes(first))) == len(set(themes(second))) == 1
    assert themes(first)[0] != themes(second)[0]
    assert len({prompt.seed for prompt in first}) == CALLS
    assert all(prompt.schema == first[0].schema for prompt in first)


def test_a_member_that_is_admitted_meanwhile_waits_for_the_next_theme() -> None:
    notebook = Notebook()
    notebook.show(Pool((ONE,)))
    prompts = source(notebook, whole())
    first = prompts.next()
    while not first.parents:  # a theme that refines
        first = prompts.next()
    new = Member(Candidate("e", "rank(open)", "rank(open)"), Stretch(2.5, 0.3, 9.0, 0.1, 378))
    notebook.show(Pool((new, ONE)))
    while themes([after := prompts.next()]) == themes([first]):
        assert after.parents == first.parents
    later = [prompts.next() for _ in range(20 * CALLS)]
    assert any("e" in prompt.parents for prompt in later)


def test_another_catalogue_or_window_begins_a_theme() -> None:
    scope = whole()
    prompts = source(Notebook(), scope)
    first = prompts.next()
    scope.restrict({"close": Kind.MATRIX})
    second = prompts.next()
    assert themes([first]) != themes([second])
    assert "\nvolume: " not in second.text
    call = CallRecord("c", 1.0, 2.0, "m:1b", 0, 0, "p", 200, error="exceeds", prompt_tokens=None)
    prompts.learn(second, call, CallVerdict.CONTEXT)
    assert themes([second]) != themes([prompts.next()])


def test_equal_seeds_give_equal_prompts() -> None:
    one, two = (
        [found.next() for _ in range(25)]
        for found in (source(Notebook(), whole()), source(Notebook(), whole()))
    )
    assert one == two
