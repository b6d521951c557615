"""From a graph to phases and buffers: the order of the steps, and the place of each result. Pure.

A phase is a run of steps that are cut the same way, by columns or by rows. Steps on whole rows may use each other's
results. A core takes a block through all of them within its cache. A result that no other phase uses needs memory for a
block only, and never leaves the cache. Other steps of a phase use results of earlier phases and run in any order.
Buffers are used again after the last use of their contents. Where only blocks are read, a block may be overwritten
within the phase, after its own last use. Expressions are taken a chunk at a time, which bounds the number of matrices
in memory. Results that later chunks share are kept up to a limit, and computed again beyond it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from generator.backtest.plan.graph import Graph
from generator.backtest.plan.primitives import PRIMITIVES, SOURCES, Axis, Form


@dataclass(frozen=True, slots=True)
class Work:
    """One step of a phase: `out` and `inputs` are places (sources have negative ones, see Plan.sources)."""

    step: int
    out: int
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """Works cut along one axis, in order."""

    axis: Axis
    works: tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Phases, and the roots that are ready afterwards, with their places."""

    phases: tuple[Phase, ...]
    ready: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Chunks in order; `forms` has the form of each place; place -1 - i is the source of step `sources[i]`.

    The places in `passing` hold one block at a time.
    """

    chunks: tuple[Chunk, ...]
    forms: tuple[Form, ...]
    passing: frozenset[int]
    sources: tuple[int, ...]

    def matrices(self) -> int:
        """Return the number of whole matrices that the plan needs."""
        return sum(form is not Form.DAILY for form in self.forms) - len(self.passing)


@dataclass(slots=True)
class _Order:
    """The phases of a chunk as steps, before they have places."""

    phases: list[tuple[Axis, list[int]]]
    ready: list[int]


def plan(graph: Graph, roots: Sequence[int], *, chunk: int, keep: int, lasting_roots: bool) -> Plan:
    """Order the steps that the roots need.

    At most `chunk` roots are worked on at once and at most `keep` results wait for later chunks. With `lasting_roots`
    a root's place is never used again, so that it can be given away.
    """
    distinct = list(dict.fromkeys(roots))
    chunks = [distinct[i : i + chunk] for i in range(0, len(distinct), chunk)]
    orders = []
    have: set[int] = set()
    for i, part in enumerate(chunks):
        order = _order(graph, part, have)
        orders.append(order)
        have |= {step for _, steps in order.phases for step in steps}
        later = [root for following in chunks[i + 1 :] for root in following]
        have = _frontier(graph, later, have, keep)
    return _place(graph, orders, lasting=frozenset(distinct) if lasting_roots else frozenset())


def _is_source(graph: Graph, step: int) -> bool:
    return graph.steps[step].op in SOURCES


def _order(graph: Graph, roots: list[int], have: set[int]) -> _Order:
    """Split the roots and their inputs into phases, each as large as possible."""
    needed = graph.ancestors(roots, have)
    done = have | {s for s in needed if _is_source(graph, s)}
    left = [s for s in needed if s not in done]
    phases = []
    while left:
        axis, steps = max(
            ((axis, _closure(graph, left, done, axis)) for axis in (Axis.COLUMNS, Axis.ROWS, Axis.PANEL)),
            key=lambda choice: len(choice[1]),
        )
        phases.append((axis, steps))
        done |= set(steps)
        left = [s for s in left if s not in done]
    return _Order(phases, roots)


def _closure(graph: Graph, left: list[int], done: set[int], axis: Axis) -> list[int]:
    """Return the steps that can run in a phase along the axis, those of rows one after another."""
    chosen: list[int] = []
    here = set(done)
    for s in left:
        own = _axis(graph, s)
        together = own is axis or (own is Axis.PAST and axis is Axis.ROWS)
        if together and (here if own is Axis.ROWS else done).issuperset(graph.steps[s].inputs):
            chosen.append(s)
            here.add(s)
    return chosen


def _axis(graph: Graph, step: int) -> Axis:
    return PRIMITIVES[graph.steps[step].op].axis


def _frontier(graph: Graph, later: list[int], have: set[int], keep: int) -> set[int]:
    """Return those of `have` that later roots start from, the soonest needed first, at most `keep`."""
    found: dict[int, None] = {}
    seen: set[int] = set()
    for root in later:
        stack = [root]
        while stack:
            step = stack.pop()
            if step in have:
                found.setdefault(step)
            elif step not in seen:
                seen.add(step)
                stack.extend(graph.steps[step].inputs)
        if len(found) >= keep:
            break
    return set(list(found)[:keep])


@dataclass(slots=True)
class _Places:
    """Hands out places and takes them back."""

    forms: list[Form] = field(default_factory=list)
    passing: set[int] = field(default_factory=set)
    free: dict[tuple[Form, bool], list[int]] = field(default_factory=dict)

    def take(self, form: Form, *, passing: bool, fresh: bool) -> int:
        waiting = self.free.get((form, passing))
        if waiting and not fresh and form is not Form.DAILY:
            return waiting.pop()
        self.forms.append(form)
        if passing:
            self.passing.add(len(self.forms) - 1)
        return len(self.forms) - 1

    def give_back(self, places: Iterable[int]) -> None:
        for place in places:
            self.free.setdefault((self.forms[place], place in self.passing), []).append(place)


def _place(graph: Graph, orders: list[_Order], lasting: frozenset[int]) -> Plan:
    """Give every result a place, from its computation to its last use."""
    ends = _ends(graph, orders)
    sources = [s for s in range(len(graph.steps)) if _is_source(graph, s)]
    where = {s: -1 - i for i, s in enumerate(sources)}
    places = _Places()
    leaving: dict[int, list[int]] = {}
    chunks = []
    now = 0
    for order in orders:
        phases = []
        for axis, steps in order.phases:
            works = []
            read_beyond: set[int] = set()  # not to be overwritten before the phase is over
            held = []
            last = now + len(steps) - 1
            for step in steps:
                primitive = PRIMITIVES[graph.steps[step].op]
                passing = axis is Axis.ROWS and ends[now] <= last
                out = places.take(primitive.form, passing=passing, fresh=step in lasting)
                works.append(Work(step, out, tuple(where[i] for i in graph.steps[step].inputs)))
                where[step] = out
                if step not in lasting:
                    leaving.setdefault(ends[now], []).append(out)
                if primitive.axis is not Axis.ROWS:
                    read_beyond.update(works[-1].inputs)
                ended = leaving.pop(now, [])
                held += [place for place in ended if place in read_beyond]
                places.give_back(place for place in ended if place not in read_beyond)
                now += 1
            places.give_back(held)
            phases.append(Phase(axis, tuple(works)))
        chunks.append(Chunk(tuple(phases), tuple((root, where[root]) for root in order.ready)))
        places.give_back(leaving.pop(now, []))
        now += 1
    return Plan(tuple(chunks), tuple(places.forms), frozenset(places.passing), tuple(sources))


def _ends(graph: Graph, orders: list[_Order]) -> dict[int, int]:
    """Return for each moment the one at which its result has its last use.

    A moment is a step's computation, and one more when a chunk is ready. A step may be computed twice.
    """
    made: dict[int, int] = {}
    ends: dict[int, int] = {}
    now = 0
    for order in orders:
        for step in (s for _, steps in order.phases for s in steps):
            ends.update((made[i], now) for i in graph.steps[step].inputs if i in made)
            made[step] = ends[now] = now
            now += 1
        ends.update((made[root], now) for root in order.ready if root in made)
        now += 1
    return ends
