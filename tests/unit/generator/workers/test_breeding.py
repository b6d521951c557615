import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from generator.catalogue import Kind, load_catalogue
from generator.catalogue.available import Scope
from generator.context import Shared
from generator.domain import CallRecord, Candidate, Origin, Ruleset, Source, Stretch
from generator.language import check_alpha, parse
from generator.llm.candidates import FinishedCall, read_reply
from generator.pool.model import MOST_MEMBERS, Member, Pool
from generator.reporting.events import MiningEvents
from generator.rules_in_force import RulesInForce
from generator.storage.additions import add_candidate
from generator.storage.schema import PENDING
from generator.storage.store import AlphaStore
from generator.workers.breeding import Breeder, variant
from generator.workers.ingest import IngestWorker, StorageRetry
from tests.reference.manual_clock import StillClock

CATALOGUE = load_catalogue()
PANEL = Ruleset(Source.PANEL, {"panel": "mine.csv", "data": "h"})


def member(expression: str, fitness: float = 1.0) -> Member:
    return Member(Candidate(expression, expression, expression), Stretch(1.5, 0.3, fitness, 0.1, 378))


POOL = Pool((member("reverse(ts_delta(close, 5))"), member("group_rank(volume, sector)")))


class World:
    """A breeder with its surroundings."""

    def __init__(self, folder: Path, rules: Ruleset = PANEL) -> None:
        self.clock = StillClock()
        self.battery = False
        events = MiningEvents(model="m", standin=False, synthetic=False, clock=self.clock)
        self.shared = Shared(
            clock=self.clock, scope=Scope(CATALOGUE, None), events=events, rules=RulesInForce(rules)
        )
        self.shared.pool.replace(POOL)
        self.store = AlphaStore(f"sqlite:///{folder}/alphas.db", owner="here")
        self.retry = StorageRetry(threading.Event(), self.clock, events)
        self.breeder = Breeder(
            self.shared,
            store=lambda: self.store,
            retry=self.retry,
            share=2,
            rng=Random(1),
            battery=lambda: self.battery,
        )

    def close(self) -> None:
        self.store.close()

    def bred(self) -> list[Candidate]:
        """Breed until none is due, and return what is queued."""
        while self.breeder.queue_one():
            pass
        return list(iter(lambda: self.shared.waiting.get(0.0), None))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(World(tmp_path)) as made:
        yield made


def test_two_variants_are_due_for_each_expression_of_the_models(world: World) -> None:
    assert world.bred() == []
    world.breeder.wrote(3)
    assert len(world.bred()) == 6
    assert world.bred() == []
    assert world.store.count(PENDING) == 6


def test_a_variant_has_its_origin_and_parents_in_queue_and_database(world: World) -> None:
    world.breeder.wrote(10)
    queued = world.bred()
    stored = world.store.pending(PANEL, limit=100)
    assert stored == queued
    digests = {one.digest for one in POOL.members}
    for one in stored:
        assert one.origin is Origin.BRED
        assert one.model == ""
        assert one.call is None
        assert {*one.parents} <= digests
        assert 1 <= len(one.parents) <= 2
        check_alpha(parse(one.expression, CATALOGUE), CATALOGUE)
    assert {len(one.parents) for one in stored} == {1, 2}
    assert len({one.digest for one in stored}) == len(stored)


def test_the_models_candidates_come_before_variants(world: World) -> None:
    written = Candidate("w", "rank(close)", "rank(close)", call="c")
    world.shared.waiting.put(written)
    world.breeder.wrote(1)
    assert world.breeder.get(0.0) == written
    bred = world.breeder.get(0.0)
    assert bred is not None
    assert bred.origin is Origin.BRED
    world.shared.waiting.put(written)
    assert world.breeder.get(0.0) == written
    assert world.breeder.get(0.0) is not None
    assert world.breeder.get(0.0) is None
    assert world.shared.waiting.outstanding == 4


def test_only_new_expressions_of_the_models_allow_variants(world: World) -> None:
    reply = json.dumps({"expressions": ["rank(close)", "rank(open)", "rank(open)"]})
    for number in range(2):
        call = CallRecord(f"c{number}", 1.0, 2.0, "m", 0, 0, "p", 200, reply=reply)
        world.shared.finished.put(FinishedCall(call, read_reply(call, CATALOGUE)))
    world.shared.finished.close()
    IngestWorker(
        world.shared,
        store=lambda: world.store,
        retry=world.retry,
        keep_calls=60.0,
        breeder=world.breeder,
    ).run()
    found = world.bred()
    assert [one.origin for one in found] == [Origin.MODEL] * 2 + [Origin.BRED] * 4


@pytest.mark.parametrize("source", [Source.SYNTHETIC, Source.STANDIN, Source.BRAIN])
def test_only_a_panel_of_the_users_own_is_bred_on(tmp_path: Path, source: Source) -> None:
    with closing(World(tmp_path, Ruleset(source, {}))) as world:
        world.breeder.wrote(10)
        assert world.bred() == []


def test_nothing_is_bred_without_a_pool(world: World) -> None:
    world.shared.pool.replace(Pool())
    world.breeder.wrote(10)
    assert world.bred() == []
    world.shared.pool.replace(POOL)
    assert world.bred()


def test_nothing_is_bred_on_battery_and_the_battery_is_looked_at_again(world: World) -> None:
    world.battery = True
    world.breeder.wrote(10)
    assert world.bred() == []
    world.battery = False
    assert world.bred() == []
    world.clock.now += 31.0
    assert world.bred()


def test_what_is_due_is_bounded(world: World) -> None:
    world.breeder.wrote(100_000)
    assert len(world.bred()) <= 200


def test_what_was_tried_before_is_not_tried_again(tmp_path: Path) -> None:
    """A small catalogue has few variants: breeding ends when all are known, and what is due is used up."""
    small = CATALOGUE.restricted_to(operators=["rank", "reverse"], fields=["close"])
    with closing(World(tmp_path)) as world:
        world.shared.scope.adopt(small)
        world.shared.pool.replace(Pool((member("rank(close)"),)))
        world.breeder.wrote(50)
        for _ in range(100):
            world.breeder.queue_one()
        found = list(iter(lambda: world.shared.waiting.get(0.0), None))
        assert len({one.digest for one in found}) == len(found) == world.store.count()
        assert not world.breeder.queue_one()
        assert not add_candidate(world.store, found[0], PANEL, 1.0)


def test_parents_without_their_fields_have_no_variants(world: World) -> None:
    world.shared.scope.restrict({"open": Kind.MATRIX})
    world.breeder.wrote(2)
    assert world.bred() == []


def test_equal_seeds_give_equal_variants() -> None:
    one, two = (
        [variant(POOL.members, CATALOGUE, rng, Counter()) for _ in range(30)]
        for rng in (Random(4), Random(4))
    )
    assert one == two


def test_variants_do_not_depend_on_more_than_train_figures_and_expressions() -> None:
    others = tuple(Member(one.candidate, one.train, {"value": 9}, 0.9, 7, b"x") for one in POOL.members)
    one, two = (
        [variant(members, CATALOGUE, Random(4), Counter()) for _ in range(30)]
        for members in (POOL.members, others)
    )
    assert one == two


def test_counts_of_former_members_are_dropped(world: World) -> None:
    world.breeder._children.update({str(number): 1 for number in range(3 * MOST_MEMBERS)})
    world.breeder.wrote(1)
    assert world.breeder.queue_one()
    assert set(world.breeder._children) <= {one.digest for one in POOL.members}
