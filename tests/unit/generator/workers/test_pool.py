"""The pool of a run on a real database: who is admitted, what it replaces, what prompts and screening read of it."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest

from fleet.config.keep_rule import parse_keep
from fleet.config.schema import PanelSettings
from generator.backtest.panel import Panel, with_derived
from generator.backtest.settings import AlphaSettings, Neutralization
from generator.backtest.split import default_split, split_ends
from generator.backtest.synthetic import synthetic_panel
from generator.catalogue import load_catalogue
from generator.catalogue.available import Scope
from generator.context import Shared
from generator.domain import (
    AlphaFigures,
    Candidate,
    Evaluated,
    Origin,
    Result,
    Ruleset,
    Source,
    Split,
    Stretch,
)
from generator.evaluators.local import LocalEvaluator, LocalPlan
from generator.evaluators.panel_split import PanelSplit
from generator.language import alpha_of, parse
from generator.llm.context_window import Window
from generator.llm.prompt import build_prompt
from generator.llm.themes import ARMS, new_theme
from generator.pool import admission as rules_of_admission
from generator.pool.admission import Contender
from generator.pool.model import Pool
from generator.reporting.events import MiningEvents
from generator.rules_in_force import RulesInForce
from generator.storage.additions import promote
from generator.storage.hopeful import HopefulFile
from generator.storage.rulesets import adopt
from generator.storage.store import AlphaStore
from generator.workers import pool as pool_of_a_run
from generator.workers.evaluate import EvaluationWorker
from generator.workers.ingest import StorageRetry
from generator.workers.lease import Lease
from generator.workers.publish import Publisher
from tests.reference.manual_clock import StillClock
from tests.reference.stored_rows import call, done_rows

RULES = Ruleset(Source.PANEL, {"panel": "mine.csv", "data": "a1", "last_date": "2024-01-31"})
BRAIN = Ruleset(Source.BRAIN, {"region": "USA"})
Values = npt.NDArray[np.float64]
DAYS = 100


class Run:
    """The parts of one run, with a still clock."""

    def __init__(
        self, folder: Path, rules: Ruleset = RULES, keep: str = "fitness > 0.5", owner: str = "here"
    ) -> None:
        self.folder = folder
        self.rules = rules
        self.keep = keep
        self.clock = StillClock()
        self.stopping = threading.Event()
        events = MiningEvents(model="m", standin=False, synthetic=False, clock=self.clock)
        self.shared = Shared(
            clock=self.clock, scope=Scope(load_catalogue(), None), events=events, rules=RulesInForce(rules)
        )
        self.retry = StorageRetry(self.stopping, self.clock, events)
        self.store = AlphaStore(f"sqlite:///{folder}/alphas.db", owner=owner)
        self.lease = Lease(
            store=lambda: self.store, retry=self.retry, clock=self.clock, stopping=self.stopping
        )

        self.lease = Lease(
            store=lambda: self.store, retry=self.retry, clock=self.clock, stopping=self.stopping
        )

    def close(self) -> None:
        self.store.close()

    def evaluate(self, *expressions: str, evaluator: Callable[[], "Scripted | Ending"]) -> list[Evaluated]:
        """Evaluate expressions to the end of their queue; return the results so far in the order of their rows."""
        self.stopping.clear()
        catalogue = self.shared.scope.catalogue
        rows = []
        for text in expressions:
            alpha = alpha_of(parse(text, catalogue), catalogue)
            rows.append(Candidate(alpha.digest, text, alpha.expression, "c1", "m"))
        self.store.record_call(call("c1"), rows, self.rules)
        publisher = Publisher(
            store=lambda: self.store,
            hopeful=HopefulFile(self.folder / "hopeful_alphas.json"),
            retry=self.retry,
            clock=self.clock,
            stopping=self.stopping,
        )
        EvaluationWorker(
            self.shared,
            evaluator=evaluator,  # type: ignore[arg-type]  # ours have all of its methods
            store=lambda: self.store,
            keep=parse_keep(self.keep),
            publisher=publisher,
            retry=self.retry,
            stopping=self.stopping,
            lease=self.lease,
        ).run()
        publisher.finish(1.0)
        return sorted(done_rows(self.store, self.rules), key=lambda one: one.id or 0)


class Scripted:
    """Gives each expression the figures of its daily PnL, the same each time."""

    fields = None
    free = 1

    def __init__(self, run: Run, figures: Mapping[str, AlphaFigures]) -> None:
        self._run = run
        self.source, self.settings = run.rules.source, run.rules.settings
        self._figures = figures
        self._batch: list[Candidate] = []

    def submit(self, candidates: Sequence[Candidate]) -> None:
        self._batch.extend(candidates)

    def results(self, timeout: float) -> Sequence[tuple[Candidate, Result]]:
        batch, self._batch = self._batch, []
        if not batch:
            self._run.stopping.set()
        return [(one, self._figures[one.expression]) for one in batch]

    def close(self) -> None:
        return


def figures(pnl: Values, fitness: float, **more: object) -> AlphaFigures:
    made = AlphaFigures(
        sharpe=fitness, turnover=0.2, fitness=fitness, returns=0.1, drawdown=0.1, margin=0.001, long_count=10.0,
        short_count=10.0, days=len(pnl), pnl=pnl.astype(np.float32).tobytes(),
        checks=[{"name": "SELF_CORRELATION", "result": "PASS", "limit": 0.7, "value": 0.0}],
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]  # fields of its own


def noise(seed: int) -> Values:
    return np.random.default_rng(seed).normal(size=DAYS)


FIRST, OTHER = noise(1), noise(2)
SCRIPT = {
    "rank(close)": figures(FIRST, 1.0),
    "rank(open)": figures(FIRST * 2.0, 1.05),
    "rank(high)": figures(OTHER, 0.8),
    "rank(low)": figures(FIRST + 0.1 * OTHER, 1.2),
    "rank(volume)": figures(noise(3), 0.4),
    "rank(vwap)": figures(noise(4), 0.9, validation=Stretch(-1.0, 0.2, -1.0, -0.1, 20)),
    "rank(returns)": figures(noise(5), -0.9),
    "reverse(rank(returns))": figures(-noise(5), 0.9),
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with closing(Run(tmp_path)) as made:
        yield made


def mined(run: Run, *expressions: str) -> dict[str, Evaluated]:
    rows = run.evaluate(*expressions, evaluator=lambda: Scripted(run, SCRIPT))
    return {one.candidate.expression: one for one in rows}


def members(pool: Pool) -> list[str]:
    return [one.expression for one in pool.members]


def reasons(found: Mapping[str, Evaluated]) -> dict[str, str]:
    return {text: one.admission.reason for text, one in found.items() if one.admission is not None}


def test_members_are_admitted_replaced_and_refused_with_the_reason(run: Run) -> None:
    found = mined(run, "rank(close)", "rank(open)", "rank(high)", "rank(low)", "rank(volume)", "rank(vwap)")
    assert members(run.shared.pool.pool) == ["rank(low)", "rank(high)"]
    assert reasons(found) == {
        "rank(close)": "replaced by rank(low)",
        "rank(open)": "the same positions as rank(close)",
        "rank(high)": "",
        "rank(low)": "",
        "rank(volume)": "its fitness is 0.40; above 0.5 is required",
        "rank(vwap)": "it does not hold on the validation days",
    }
    assert [text for text, one in found.items() if one.performance and one.performance.pnl] == [
        "rank(high)", "rank(low)",
    ]  # fmt: skip
    assert [text for text, one in found.items() if one.kept] == [
        "rank(close)", "rank(high)", "rank(low)", "rank(vwap)",
    ]  # fmt: skip
    correlations = {text: round(one.self_correlation or 0.0, 2) for text, one in found.items()}
    assert (correlations["rank(open)"], correlations["rank(close)"]) == (1.0, 0.99)
    assert abs(correlations["rank(low)"]) < 0.5
    [check] = [one for one in found["rank(open)"].performance.checks if one["name"] == "SELF_CORRELATION"]  # type: ignore[union-attr]
    assert (check["result"], round(check["value"], 6)) == ("FAIL", 1.0)


def test_prompts_show_members_alone_and_name_good_alphas_that_are_refused(run: Run) -> None:
    mined(run, "rank(close)", "rank(open)", "rank(volume)")
    page = run.shared.notebook.snapshot()
    assert [one.expression for one in page.members] == ["rank(close)"]
    assert [(one.expression, one.reason) for one in page.failed] == [
        ("rank(open)", "the same positions as rank(close)")
    ]


def test_a_restart_finds_the_pool_as_it_was(run: Run, tmp_path: Path) -> None:
    mined(run, "rank(close)", "rank(high)", "rank(low)", "rank(open)")
    before = run.shared.pool.pool
    with closing(Run(tmp_path)) as again:
        mined(again)
        assert again.shared.pool.pool == before
        assert [one.correlation for one in before.members] == [
            one.correlation for one in again.shared.pool.pool.members
        ]
        failed = {one.expression: one.reason for one in again.shared.notebook.snapshot().failed}
        assert failed["rank(close)"] == "replaced by rank(low)"
        assert "less than a tenth better" in failed["rank(open)"]


def test_members_are_evaluated_again_on_other_data_and_keep_their_origin(run: Run) -> None:
    mined(run, "rank(close)", "rank(returns)")
    assert members(run.shared.pool.pool) == ["rank(close)", "reverse(rank(returns))"]
    [flipped] = [one.candidate for one in run.shared.pool.pool.members if "returns" in one.expression]
    assert (flipped.origin, len(flipped.parents)) == (Origin.FLIPPED, 1)
    newer = Ruleset(RULES.source, {**RULES.settings, "data": "b2"})
    assert adopt(run.store, newer, 5.0) == (0, 2)
    again = {one.expression: one for one in run.store.pending(newer, limit=9)}
    assert again["reverse(rank(returns))"].origin is Origin.FLIPPED
    assert again["reverse(rank(returns))"].parents == flipped.parents


def test_the_screen_sends_what_differs_and_passes_the_hard_checks(run: Run) -> None:
    concentrated = [{"name": "CONCENTRATED_WEIGHT", "result": "FAIL", "limit": 0.1, "value": 0.5}]
    script = {
        **SCRIPT,
        "rank(close)": figures(FIRST, 2.0),
        "rank(open)": figures(FIRST, 1.99),
        "rank(cap)": figures(noise(7), 9.0, checks=concentrated),
    }
    run.evaluate(
        "rank(close)", "rank(open)", "rank(high)", "rank(cap)", evaluator=lambda: Scripted(run, script)
    )
    sent = [promote(run.store, RULES, BRAIN, 1.0) for _ in range(4)]
    assert [one and one.expression for one in sent] == ["rank(close)", "rank(high)", "rank(open)", None]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("failed_checks < 1", ["rank(close)", "rank(high)", "rank(volume)", "rank(vwap)"]),
        ("self_correlation < 0.05 and fitness > 0.5", ["rank(close)", "rank(vwap)"]),
        ("validation_fitness < 0", ["rank(vwap)"]),
        ("validation_sharpe > 0 or dsr > 0", []),
    ],
)
def test_keep_compares_what_the_pool_knows(tmp_path: Path, keep: str, kept: list[str]) -> None:
    with closing(Run(tmp_path, keep=keep)) as run:
        found = mined(run, "rank(close)", "rank(high)", "rank(volume)", "rank(vwap)")
        assert [text for text, one in found.items() if one.kept] == kept


class Splits:
    """Keeps splits in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Split] = {}

    def read(self, panel: str) -> Split | None:
        return self.rows.get(panel)

    def write(self, panel: str, split: Split) -> None:
        self.rows[panel] = split


def test_a_split_is_stored_at_the_first_reading_and_stays() -> None:
    splits, settings = Splits(), PanelSettings()
    panel = synthetic_panel(days=504, instruments=10)
    first = PanelSplit(settings, splits)
    split = first.of(panel)
    assert split == default_split(panel.dates) == splits.rows["synthetic"]
    later = synthetic_panel(days=600, instruments=10)
    assert PanelSplit(settings, splits).of(later) == split
    assert not first.moved()
    splits.rows["synthetic"] = default_split(later.dates)
    assert first.moved()
    assert (
        LocalPlan(settings, Source.SYNTHETIC).rules_on(panel, split).key
        != LocalPlan(settings, Source.SYNTHETIC).rules_on(panel, splits.rows["synthetic"]).key
    )


def test_a_panel_that_is_half_written_leaves_the_stored_split(caplog: pytest.LogCaptureFixture) -> None:
    splits, settings = Splits(), PanelSettings()
    whole, half = (synthetic_panel(days=days, instruments=10) for days in (1200, 600))
    split = PanelSplit(settings, splits).of(whole)
    reading = PanelSplit(settings, splits)
    assert reading.of(half) == default_split(half.dates) != split
    assert splits.rows["synthetic"] == split
    assert not reading.moved()
    assert PanelSplit(settings, splits).of(whole) == split
    [record] = [one for one in caplog.records if one.message == "panel.split_unfit"]
    assert "--new-split" in str(vars(record))
    splits.rows["synthetic"] = default_split(half.dates)
    assert reading.moved()


def test_a_half_written_panel_leaves_the_stored_split_beside_a_configured_date() -> None:
    splits = Splits()
    whole, half = (synthetic_panel(days=days, instruments=10) for days in (1200, 600))
    settings = PanelSettings(validation_from=half.dates[400].astype("datetime64[D]").item())
    kept = PanelSplit(settings, splits).of(whole)
    assert PanelSplit(settings, splits).of(half) not in {None, kept}
    assert splits.rows["synthetic"] == kept
    assert PanelSplit(settings, splits).of(whole) == kept


def test_configured_dates_take_the_place_of_a_stored_split() -> None:
    splits = Splits()
    panel = synthetic_panel(days=1200, instruments=10)
    PanelSplit(PanelSettings(), splits).of(panel)
    day = panel.dates[600].astype("datetime64[D]").item()
    moved = PanelSplit(PanelSettings(validation_from=day), splits).of(panel)
    assert moved == splits.rows["synthetic"]
    assert moved is not None
    assert moved.validation_from == day


def test_a_short_panel_has_no_split_and_this_is_said(caplog: pytest.LogCaptureFixture) -> None:
    splits = Splits()
    assert PanelSplit(PanelSettings(), splits).of(synthetic_panel(days=499, instruments=10)) is None
    assert splits.rows == {}
    [record] = [one for one in caplog.records if one.message == "panel.unsplit"]
    assert "fewer than 500" in str(vars(record))


class Ending(LocalEvaluator):
    """The local evaluator; it ends the run once nothing waits."""

    run: Run

    def results(self, timeout: float) -> Sequence[tuple[Candidate, Result]]:
        found = super().results(timeout)
        if not found:
            self.run.stopping.set()
        return found


def planted_panel(days: int = 504, instruments: int = 60, seed: int = 5) -> Panel:
    """Return a panel whose closes come back a little after five days of moves, and rise where much is traded."""
    rng = np.random.default_rng(seed)
    traded = rng.normal(size=instruments)
    moves = rng.normal(0.0, 0.01, (days, instruments)) + 0.0003 * traded
    for day in range(6, days):
        moves[day] -= 0.02 * moves[day - 5 : day].sum(axis=0)
    close = 50.0 * np.exp(np.cumsum(moves, axis=0))
    wide = np.abs(rng.normal(0.0, 0.005, close.shape))
    fields = {"close": close, "high": close * (1.0 + wide), "low": close * (1.0 - wide)}
    fields["volume"] = rng.lognormal(12.0, 0.4, close.shape) * np.exp(traded)
    sector = np.ascontiguousarray(np.broadcast_to(np.arange(instruments) % 5, close.shape)).astype(np.int32)
    dates = np.datetime64("2020-01-01") + np.arange(days)
    symbols = tuple(f"S{number:03d}" for number in range(instruments))
    return with_derived(Panel(dates, symbols, fields, {"sector": sector}, {"sector": tuple("abcde")}))


def with_other_future(panel: Panel, seed: int) -> Panel:
    """Return the panel with other values from the first day of validation on."""
    train, _ = split_ends(default_split(panel.dates), panel.dates)
    rng = np.random.default_rng(seed)
    fields = {}
    for name, matrix in panel.fields.items():
        fields[name] = matrix.copy()
        order = rng.permutation(len(panel.dates) - train)
        fields[name][train:] = matrix[train:][order] * rng.uniform(0.5, 2.0, matrix.shape[1])
    return replace(panel, fields=fields)


MINED = (
    "rank(-ts_delta(close, 3))", "rank(ts_delta(close, 3))", "-ts_delta(close, 5)", "ts_delta(close, 5)",
    "rank(volume)", "ts_mean(volume, 20)", "ts_rank(close, 10)", "-ts_rank(close, 10)", "zscore(returns)",
    "ts_zscore(volume, 30)", "close - ts_mean(close, 10)", "ts_mean(close, 10) - close", "rank(adv20)",
    "-ts_mean(returns, 5)", "ts_mean(returns, 5)", "ts_std_dev(returns, 20)", "-ts_std_dev(returns, 20)",
    "ts_corr(close, volume, 20)", "-ts_corr(close, volume, 20)", "group_rank(returns, sector)",
    "ts_delta(close, 400)", "close - close", "vwap / close", "close / vwap", "rank(high - low)",
    "ts_mean(-ts_delta(close, 5), 5)", "-ts_mean(returns, 5) * ts_rank(volume, 5)", "-ts_zscore(close, 20)",
    "ts_decay_linear(-returns, 5)", "ts_decay_linear(-returns, 6)", "-rank(ts_delta(close, 2))",
)  # fmt: skip


def learned(
    folder: Path, panel: Panel, bits: list[bool] | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[bool]]:
    """Mine on a panel; return all that mining shows, tries and sends, and the admission bits of validation in order.

    Given `bits` take the place of the validation days.
    """
    seen: list[bool] = []
    given = iter(bits or ())

    def judged(figures: AlphaFigures) -> Contender:
        found = rules_of_admission.contender(figures)
        if bits is not None:
            found = replace(found, holds=next(given))
        seen.append(bool(found.holds))
        return found

    monkeypatch.setattr(pool_of_a_run, "contender", judged)
    folder.mkdir()
    split = default_split(panel.dates)
    rules = LocalPlan(PanelSettings(path="mine.csv"), Source.PANEL).rules_on(panel, split)
    with closing(Run(folder, rules)) as run:

        def load() -> Ending:
            settings = AlphaSettings(neutralization=Neutralization.MARKET)
            made = Ending(panel, settings, rules, split=split)
            made.run = run
            return made

        rows = run.evaluate(*MINED, evaluator=load)
        catalogue = run.shared.scope.catalogue
        prompts = [
            build_prompt(catalogue, run.shared.notebook.snapshot(), count=2, window=Window(8192), seed=seed)
            for seed in (new_theme(arm, Random(1)) for arm in ARMS)
        ]
        sent = iter(lambda: promote(run.store, rules, BRAIN, 1.0), None)
        told = {
            "prompts": [[one.text, one.schema] for one in prompts],
            "candidates": [[one.candidate.expression, one.candidate.origin] for one in rows],
            "members": [[one.expression, one.correlation, one.score] for one in run.shared.pool.pool.members],
            "sent": [one.expression for one in sent],
        }
        return json.dumps(told), seen


def test_nothing_of_validation_and_test_but_the_admission_bit_reaches_mining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = planted_panel()
    first, bits = learned(tmp_path / "a", panel, None, monkeypatch)
    assert True in bits
    assert False in bits
    members = json.loads(first)["members"]
    assert len(members) > 1
    for number in range(2):
        other = with_other_future(panel, number)
        again, _ = learned(tmp_path / f"b{number}", other, bits, monkeypatch)
        assert again == first
        own, other_bits = learned(tmp_path / f"c{number}", other, None, monkeypatch)
        assert (own != first) or (other_bits == bits)


class Meanwhile(Scripted):
    """Another lane mines an expression before the first results are given; its clock then stands `later` seconds on."""

    def __init__(self, run: Run, expression: str, later: float = 0.0) -> None:
        super().__init__(run, SCRIPT)
        self._expression, self._later = expression, later

    def results(self, timeout: float) -> Sequence[tuple[Candidate, Result]]:
        if self._expression:
            with closing(Run(self._run.folder, owner="lane b")) as other:
                mined(other, self._expression)
            self._expression = ""
            self._run.clock.now += self._later
        return super().results(timeout)


def test_an_admission_is_compared_with_what_another_lane_admitted_meanwhile(run: Run) -> None:
    rows = run.evaluate("rank(open)", evaluator=lambda: Meanwhile(run, "rank(close)"))
    found = {one.candidate.expression: one for one in rows}
    assert reasons(found) == {"rank(close)": "", "rank(open)": "the same positions as rank(close)"}
    assert members(run.shared.pool.pool) == ["rank(close)"]


def test_a_better_alpha_replaces_the_member_of_another_lane(run: Run) -> None:
    rows = run.evaluate("rank(low)", evaluator=lambda: Meanwhile(run, "rank(close)"))
    found = {one.candidate.expression: one for one in rows}
    assert reasons(found) == {"rank(close)": "replaced by rank(low)", "rank(low)": ""}
    assert members(run.shared.pool.pool) == ["rank(low)"]


def test_a_lane_notices_the_members_of_others_without_an_admission_of_its_own(run: Run) -> None:
    run.evaluate("rank(volume)", "rank(vwap)", evaluator=lambda: Meanwhile(run, "rank(high)", later=21.0))
    assert members(run.shared.pool.pool) == ["rank(high)"]


def test_a_lane_does_not_look_at_each_step(run: Run) -> None:
    run.evaluate("rank(volume)", "rank(vwap)", evaluator=lambda: Meanwhile(run, "rank(high)", later=1.0))
    assert members(run.shared.pool.pool) == []
