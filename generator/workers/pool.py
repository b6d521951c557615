"""The pool of the ruleset in force: judges evaluated alphas, and keeps the snapshot that prompts and breeding read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import variance
from typing import TYPE_CHECKING, Any

from fleet.runtime.clock import Clock
from fleet.runtime.units import Seconds
from generator.catalogue import Catalogue
from generator.domain import Admission, AlphaFigures, Candidate, Evaluated, Ruleset, Split, Stretch, finite
from generator.language import ExpressionError, parse
from generator.pool.admission import Rival, admission, contender
from generator.pool.checks import SELF_CORRELATION, failed_checks, known_correlation, weakest_check
from generator.pool.luck import SAME_TRIAL, Trials, dsr_of
from generator.pool.model import MOST_MEMBERS, CurrentPool, Member, Pool
from generator.workers.ingest import StorageRetry

if TYPE_CHECKING:
    from generator.pool.correlation import PnlTable
    from generator.storage.pool import SampledTrial
    from generator.storage.store import AlphaStore

_GROWTH = 1.1
"""The sample of trials is read again once their number has grown by this factor."""
_LOOK: Seconds = 20.0
"""Interval of the checks for other lanes' and fleets' admissions, as long as that of the lease's renewals."""
_MOST_CORRELATION, _BETTER = 0.7, 1.1
"""BRAIN's bounds of the check SELF_CORRELATION, which compares Sharpe ratios."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The pool's judgement of an alpha: its figures with the check SELF_CORRELATION, and the decision, if any.

    `self_correlation` is the highest with a member that stays, None if unknown. `correlations` are those with all
    members, by digest.
    """

    figures: AlphaFigures
    admission: Admission | None = None
    self_correlation: float | None = None
    correlations: Mapping[str, float] = field(default_factory=dict)


class PoolKeeper:
    """Pool and trials of one ruleset; for the thread of its evaluation worker."""

    def __init__(
        self,
        current: CurrentPool,
        *,
        store: "Callable[[], AlphaStore]",
        retry: StorageRetry,
        clock: Clock,
        catalogue: Callable[[], Catalogue],
    ) -> None:
        self._current = current
        self._open = store
        self._retry = retry
        self._clock = clock
        self._catalogue = catalogue
        self._rules: Ruleset | None = None
        self._trials = Trials()
        self._looked_at = 0
        self._table: PnlTable | None = None
        self._next_look = 0.0
        self.known: set[int] = set()
        """The rows of the members that this pool was read from, and of those that it admitted since."""

    def begin(self, rules: Ruleset) -> None:
        """Read the members and the trials of a ruleset; they replace those of the one before."""
        from generator.storage.pool import read_members, read_trials  # noqa: PLC0415  # SQLAlchemy, after the first call

        store = self._open()

        def read() -> tuple[Sequence[Evaluated], Trials]:
            with store.transaction() as connection:
                members = read_members(connection, rules, limit=MOST_MEMBERS)
                return members, read_trials(connection, rules.source, rules.settings)

        found, self._trials = self._retry(read)
        self._rules = rules
        self._looked_at = self._trials.count
        self._next_look = self._clock.monotonic() + _LOOK
        self.known = {one.id for one in found if one.id is not None}
        self._put(Pool(tuple(self._member(one) for one in found if one.performance is not None)))

    def look(self) -> bool:
        """Read the pool anew if other lanes or fleets changed it; return True if they did.

        Checked at intervals only.
        """
        from generator.storage.pool import member_ids, read_trials  # noqa: PLC0415  # as above

        rules, store = self._rules, self._open()
        if rules is None or self._clock.monotonic() < self._next_look:
            return False

        def read() -> tuple[set[int], Trials]:
            with store.transaction() as connection:
                ids = member_ids(connection, rules)
                return ids, read_trials(connection, rules.source, rules.settings)

        self._next_look = self._clock.monotonic() + _LOOK
        members, trials = self._retry(read)
        self._trials = replace(self._trials, count=trials.count)
        if members == self.known or (len(members) == MOST_MEMBERS and members <= self.known):
            return False
        self.begin(rules)
        return True

    def judge(self, candidate: Candidate, figures: AlphaFigures) -> Judgement:
        """Return the decision about an evaluated alpha; nothing changes before `settle`."""
        pnl = train_pnl(figures)
        correlations = self._table.correlations(pnl) if self._table is not None else {}
        rivals = [
            (one, correlations.get(one.digest, 0.0))
            for one in self._current.pool.members
            if one.digest != candidate.digest
        ]
        decision = admission(contender(figures), rivals)
        if not pnl:
            return Judgement(figures, decision, known_correlation(figures.checks))
        staying = [r for member, r in rivals if member.digest not in decision.replaced]
        others = [check for check in figures.checks if check.get("name") != SELF_CORRELATION]
        checks = [*others, correlation_check(figures.sharpe, rivals)]
        return Judgement(replace(figures, checks=checks), decision, max(staying, default=0.0), correlations)

    def settle(self, evaluated: Evaluated) -> None:
        """Apply a stored result: a new member, a further trial."""
        if evaluated.performance is None:
            return
        decision = evaluated.admission
        if decision is not None and decision.admitted:
            gone = {one.id for one in self._current.pool.members if one.digest in decision.replaced}
            self.known = {number for number in (*self.known, evaluated.id) if number is not None} - gone
            self._put(self._current.pool.with_member(self._member(evaluated), decision.replaced))
        self._trials = replace(self._trials, count=self._trials.count + 1)
        if self._trials.count >= _GROWTH * self._looked_at:
            self._look_at_sample()

    def metrics(self, judged: Judgement) -> dict[str, Any]:
        """Return the figures that `[generator] keep` may compare, None for an unknown one."""
        figures, validation = judged.figures, judged.figures.validation
        return {
            **figures.figures(),
            "validation_fitness": None if validation is None else finite(validation.fitness),
            "validation_sharpe": None if validation is None else finite(validation.sharpe),
            "dsr": dsr_of(figures.moments, self._trials),
            "self_correlation": judged.self_correlation,
            "failed_checks": len(failed_checks(figures.checks)),
        }

    def _put(self, pool: Pool) -> None:
        pnls = {one.digest: one.pnl for one in pool.members if one.pnl}
        self._table = _table(pnls) if pnls else None
        self._current.replace(pool.with_correlations(self._table.highest() if self._table else {}))

    def _member(self, evaluated: Evaluated) -> Member:
        figures = evaluated.performance
        if figures is None:
            raise ValueError("an evaluation without figures is no member")
        return Member(
            candidate=replace(evaluated.candidate, tree=self._tree(evaluated.candidate)),
            train=Stretch(
                figures.sharpe, figures.turnover, figures.fitness, figures.returns, figures.days or 0
            ),
            weakest=weakest_check(figures.checks),
            id=evaluated.id,
            pnl=train_pnl(figures),
        )

    def _tree(self, candidate: Candidate) -> Any:
        """Return a candidate's tree; None if the catalogue has lost an operator or a field of it."""
        if candidate.tree is not None:
            return candidate.tree
        try:
            return parse(candidate.expression, self._catalogue())
        except (ExpressionError, KeyError):
            return None

    def _look_at_sample(self) -> None:
        """Compare the trials of the sample, and store its figures."""
        from generator.storage.pool import read_sample, read_trials, write_trials  # noqa: PLC0415  # as above

        rules, store = self._rules, self._open()
        if rules is None:
            return

        def look() -> Trials:
            with store.transaction() as connection:
                trials = read_trials(connection, rules.source, rules.settings)
                sample = read_sample(connection, rules.source, rules.settings)
            return sampled_trials(trials, sample)

        def write(trials: Trials) -> None:
            with store.transaction() as connection:
                write_trials(connection, rules.source, rules.settings, trials, self._clock.time())

        self._trials = trials = self._retry(look)
        self._looked_at = trials.count
        self._retry(lambda: write(trials))


class StoredSplits:
    """The splits of panels in the database."""

    def __init__(
        self, store: "Callable[[], AlphaStore]", retry: Callable[[Callable[[], Any]], Any], clock: Clock
    ) -> None:
        self._open = store
        self._retry = retry
        self._clock = clock

    def read(self, panel: str) -> Split | None:
        """Return the split of a panel, None if it has none yet."""
        from generator.storage.pool import read_split  # noqa: PLC0415  # SQLAlchemy, after the first call

        def read() -> Split | None:
            with self._open().transaction() as connection:
                return read_split(connection, panel)

        found: Split | None = self._retry(read)
        return found

    def write(self, panel: str, split: Split) -> None:
        """Store the split of a panel."""
        from generator.storage.pool import write_split  # noqa: PLC0415  # as above

        def write() -> None:
            with self._open().transaction() as connection:
                write_split(connection, panel, split, self._clock.time())

        self._retry(write)


def train_pnl(figures: AlphaFigures) -> bytes:
    """Return the daily PnL of the train days."""
    return figures.pnl[: 4 * (figures.days or 0)]


def correlation_check(sharpe: float, rivals: Sequence[Rival]) -> Mapping[str, Any]:
    """Return the check SELF_CORRELATION: failed if a Sharpe ratio is not a tenth above that of a close member."""
    close = [member for member, r in rivals if r >= _MOST_CORRELATION]
    failed = any(not sharpe >= _BETTER * member.train.sharpe for member in close)
    value = max((r for _, r in rivals), default=0.0)
    result = "FAIL" if failed else "PASS"
    return {"name": SELF_CORRELATION, "result": result, "limit": _MOST_CORRELATION, "value": value}


def sampled_trials(trials: Trials, sample: "Sequence[SampledTrial]") -> Trials:
    """Return the trials with the figures of their sample.

    PnL of other last days cannot be compared and counts as distinct.
    """
    from generator.pool.correlation import distinct  # noqa: PLC0415  # numpy: not before there is something to compare

    by_day: dict[int, list[bytes]] = {}
    for one in sample:
        by_day.setdefault(one.last_day, []).append(one.pnl)
    different = sum(distinct(pnls, SAME_TRIAL) for pnls in by_day.values())
    spread = variance([one.sharpe for one in sample]) if len(sample) > 1 else None
    return Trials(trials.count, len(sample), different, spread)


def _table(pnls: Mapping[str, bytes]) -> "PnlTable":
    from generator.pool.correlation import PnlTable  # noqa: PLC0415  # numpy: not before the first call

    return PnlTable(pnls)
