"""Simulations against a stand-in BRAIN on a clock that the test moves: limits, ends, faults, restarts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fleet.config.schema import BrainSettings, PanelSettings
from generator.brain.api import simulation_settings
from generator.brain.credentials import Credentials
from generator.brain.events import BrainEvents
from generator.brain.responses import Ended, Status
from generator.brain.simulations import Simulator
from generator.brain.states import advance
from generator.domain import AlphaFigures, Candidate
from generator.domain import ExpressionFault as Wrong
from generator.storage.simulations import Simulation, SimulationTable
from generator.storage.store import AlphaStore
from standin.brain import figures
from standin.brain.faults import BrainFault, BrainFaultKind
from standin.brain.settings import BrainStandinSettings
from tests.reference.brain_world import QUICK, BrainWorld
from tests.reference.manual_clock import StillClock

Make = Callable[..., BrainWorld]
SEVEN = tuple(f"rank(ts_mean(close, {days}))" for days in range(2, 9))
POST = {"method": "POST", "path": "/simulations"}
SEVERAL = replace(QUICK, several=True)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    worlds: list[BrainWorld] = []

    def made(settings: BrainStandinSettings = QUICK) -> BrainWorld:
        worlds.append(BrainWorld(tmp_path, settings))
        return worlds[-1]

    yield made
    for world in worlds:
        world.close()


def reason(world: BrainWorld, expression: str) -> str:
    found = world.done[expression]
    assert isinstance(found, Wrong)
    return found.reason


def sending(world: BrainWorld, one: Candidate) -> Sequence[Simulation]:
    """Store that a candidate's request is about to be sent."""
    world.table.submit([one], world.clock.now)
    account = world.api().account
    return world.table.send(world.table.open(), account=account, slots=3, budget=0, now=world.clock.now)


def good(world: BrainWorld, *expressions: str) -> bool:
    return all(isinstance(world.done.get(one), AlphaFigures) for one in expressions)


def busiest(world: BrainWorld, simulator: Simulator) -> list[int]:
    """Note at each request how many simulations are in flight."""
    seen: list[int] = []
    answer = world.server._httpd.answer

    def noting(exchange: object) -> None:
        answer(exchange)  # type: ignore[arg-type]
        seen.append(world.server.world.running())

    world.server._httpd.answer = noting
    assert simulator.free
    return seen


def test_results_are_brains_figures(make: Make) -> None:
    world = make()
    world.run(world.simulator(), world.candidates("rank(close)"))
    found = world.done["rank(close)"]
    assert isinstance(found, AlphaFigures)
    expected = figures.sample_figures("rank(close)")
    assert (found.sharpe, found.turnover, found.long_count) == (
        expected["sharpe"],
        expected["turnover"],
        expected["longCount"],
    )
    assert found.alpha_id == figures.alpha_id("rank(close)")
    assert found.grade == figures.grade(expected["fitness"])
    assert world.requests("POST", "/alphas") == 0


def test_three_at_a_time_are_sent_and_no_more(make: Make) -> None:
    world = make()
    simulator = world.simulator()
    running = busiest(world, simulator)
    world.run(simulator, world.candidates(*SEVEN))
    assert good(world, *SEVEN)
    assert max(running) == 3
    assert world.requests("POST", "/simulations") <= 7 + 3
    assert sorted(world.server.world.taken) == sorted(SEVEN)


def test_retry_after_is_obeyed(make: Make) -> None:
    world = make(replace(QUICK, seconds=20.0, retry_after=2.5))
    world.run(world.simulator(), world.candidates("rank(close)"))
    # 20 s of simulation at a look every 2.5 s, and one more for its end.
    assert 8 <= world.requests("GET", "/simulations/") <= 10


@pytest.mark.parametrize("status", [429, 400])
def test_an_account_with_fewer_slots_is_found_out(make: Make, status: int) -> None:
    world = make(replace(QUICK, slots=1, limit_status=status))
    simulator = world.simulator(slots=3)
    world.run(simulator, world.candidates(*SEVEN))
    assert good(world, *SEVEN)
    assert sorted(world.server.world.taken) == sorted(SEVEN)
    assert world.requests("POST", "/simulations") <= 7 + 3


def test_an_expressions_error_comes_back_in_brains_words_and_costs_no_second_try(make: Make) -> None:
    world = make()
    world.run(world.simulator(), world.candidates("ts_max(close, 5)", "rank(nosuch)"))
    assert reason(world, "ts_max(close, 5)") == (
        'Attempted to use inaccessible or unknown operator "ts_max" (line 1, characters 0 to 6)'
    )
    assert "unknown variable" in reason(world, "rank(nosuch)")
    assert len(world.server.world.taken) == 2


def test_a_refused_expression_is_its_own_fault(make: Make) -> None:
    world = make()
    simulator = world.simulator()
    # The stand-in's own refusal of an empty expression, as BRAIN's of one that it cannot take.
    [blank] = world.candidates(" ")
    world.run(simulator, [blank, *world.candidates("rank(close)")])
    assert reason(world, " ") == "This field may not be blank."
    assert good(world, "rank(close)")


def test_wrong_settings_are_no_expressions_fault(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = make()
    settings = simulation_settings(BrainSettings(universe="TOP9"), PanelSettings())
    simulator = world.simulator(api=world.api(settings))
    waiting = world.candidates("rank(close)")
    with pytest.raises(AssertionError, match="not done"):
        world.run(simulator, waiting, hours=1.0)
    assert world.done == {}
    assert 'settings.universe: "TOP9" is not a valid choice.' in simulator.state()["trouble"]
    assert [record.message for record in caplog.records] == ["brain.trouble"]
    assert 2 <= world.requests("POST", "/simulations") <= 15
    assert [(row.state, row.sent, row.tries) for row in world.table.open()] == [("queued", 0.0, 1)]


@pytest.mark.parametrize("status", ["FAIL", "TIMEOUT"])
def test_what_brain_fails_at_is_tried_twice(make: Make, status: str) -> None:
    world = make()
    world.server.apply(BrainFault(BrainFaultKind.OUTCOME, status_text=status, text="", times=3))
    world.run(world.simulator(slots=1), world.candidates("rank(close)", "rank(open)"))
    assert "on BRAIN" in reason(world, "rank(close)")
    assert good(world, "rank(open)")
    assert sorted(world.server.world.taken) == ["rank(close)", "rank(close)", "rank(open)", "rank(open)"]


def test_a_warning_carries_an_alpha(make: Make) -> None:
    world = make()
    world.server.apply(BrainFault(BrainFaultKind.OUTCOME, status_text="WARNING", text="Incompatible unit"))
    world.run(world.simulator(), world.candidates("rank(close)"))
    assert good(world, "rank(close)")


def test_one_that_a_person_cancelled_is_not_sent_again(make: Make) -> None:
    world = make()
    world.server.apply(BrainFault(BrainFaultKind.OUTCOME, status_text="CANCELLED", text=""))
    world.run(world.simulator(), world.candidates("rank(close)"))
    assert "cancelled" in reason(world, "rank(close)")


def test_figures_that_are_not_there_yet_are_read_again(make: Make) -> None:
    world = make()
    world.server.apply(BrainFault(BrainFaultKind.BLANK, times=4))
    world.run(world.simulator(), world.candidates("rank(close)"))
    assert good(world, "rank(close)")
    assert world.requests("GET", "/alphas/") == 5


@pytest.mark.parametrize(
    "fault",
    [
        BrainFault(BrainFaultKind.ERROR, path="/simulations/", status=500, times=3),
        BrainFault(BrainFaultKind.HTML, path="/simulations/", status=502, times=3),
        BrainFault(
            BrainFaultKind.ERROR, path="/simulations/", status=429, text="slow down", retry_after="3.5"
        ),
        BrainFault(BrainFaultKind.REFUSE, path="/simulations/", times=2),
        BrainFault(BrainFaultKind.EXPIRE, path="/simulations/"),
        BrainFault(BrainFaultKind.ERROR, path="/alphas/", status=500, times=2),
        BrainFault(BrainFaultKind.ERROR, path="/simulations/", status=404, text="not yet", times=2),
        BrainFault(BrainFaultKind.ERROR, **POST, status=503, times=2),
        BrainFault(BrainFaultKind.ERROR, **POST, status=429, text="slow down", times=2),
        BrainFault(BrainFaultKind.EXPIRE, **POST),
    ],
    ids=str,
)
def test_trouble_of_the_service_is_waited_out_and_nothing_is_sent_twice(
    make: Make, fault: BrainFault
) -> None:
    world = make()
    world.server.apply(fault)
    world.run(world.simulator(), world.candidates(*SEVEN))
    assert good(world, *SEVEN)
    assert sorted(world.server.world.taken) == sorted(SEVEN)


@pytest.mark.parametrize("status", [502, 403])
@pytest.mark.parametrize("place", ["simulations", "alphas"])
def test_one_address_that_fails_for_good_holds_up_nothing_else(make: Make, place: str, status: int) -> None:
    world = make()
    simulator = world.simulator()
    waiting = world.candidates(*SEVEN)
    world.run(simulator, waiting, until=lambda: bool(world.server.world.taken))
    [name] = [key for key, one in world.server.world.simulations.items() if one.code == SEVEN[0]]
    wrong = name if place == "simulations" else figures.alpha_id(SEVEN[0])
    world.server.apply(
        BrainFault(BrainFaultKind.ERROR, path=f"/{place}/{wrong}", status=status, text="no", times=None)
    )
    began = world.clock.now
    world.run(simulator, waiting, until=lambda: len(world.done) == len(SEVEN) - 1)
    assert good(world, *SEVEN[1:])
    assert world.clock.now - began < 120
    assert sorted(world.server.world.taken) == sorted(SEVEN)


def test_an_address_that_fails_for_good_gives_its_slot_back_within_minutes(make: Make) -> None:
    world = make(replace(QUICK, slots=1))
    simulator = world.simulator(slots=1)
    waiting = world.candidates(*SEVEN)
    world.run(simulator, waiting, until=lambda: bool(world.server.world.taken))
    [name] = world.server.world.simulations
    world.server.apply(
        BrainFault(BrainFaultKind.ERROR, path=f"/simulations/{name}", status=502, text="no", times=None)
    )
    began = world.clock.now
    world.run(simulator, waiting)
    # It is found among the account's alphas; everything else waited for its slot.
    assert good(world, *SEVEN)
    assert world.clock.now - began < 600
    assert sorted(world.server.world.taken) == sorted(SEVEN)


@pytest.mark.parametrize("status", [502, 403])
def test_an_alpha_that_is_refused_for_good_is_given_up_within_the_hour(make: Make, status: int) -> None:
    world = make()
    wrong = figures.alpha_id("rank(close)")
    world.server.apply(
        BrainFault(BrainFaultKind.ERROR, path=f"/alphas/{wrong}", status=status, text="no", times=None)
    )
    began = world.clock.now
    world.run(world.simulator(), world.candidates("rank(close)"))
    assert reason(world, "rank(close)") == f"BRAIN shows no figures of its alpha {wrong}"
    assert world.clock.now - began < 3600
    assert world.requests("GET", "/alphas/") <= 15


def test_no_row_is_given_up_while_all_of_brain_is_away(make: Make) -> None:
    world = make()
    simulator = world.simulator()
    waiting = world.candidates(*SEVEN)
    world.run(simulator, waiting, until=lambda: bool(world.server.world.taken))
    world.server.apply(BrainFault(BrainFaultKind.HTML, status=502, times=None))
    end = world.clock.now + 4 * 3600
    world.run(simulator, waiting, until=lambda: world.clock.now > end, hours=5.0)
    assert {row.asks for row in world.table.open()} == {0}
    world.server.board.clear()
    world.run(simulator, waiting)
    assert good(world, *SEVEN)
    assert sorted(world.server.world.taken) == sorted(SEVEN)


@pytest.mark.parametrize("kind", [BrainFaultKind.LOSE])
def test_an_unconfirmed_request_is_searched_for_before_it_is_sent_again(
    make: Make, kind: BrainFaultKind
) -> None:
    world = make()
    world.server.apply(BrainFault(kind, **POST, times=2))
    world.run(world.simulator(), world.candidates(*SEVEN))
    assert good(world, *SEVEN)
    assert sorted(world.server.world.taken) == sorted(SEVEN)
    assert world.requests("GET", "/users/self/alphas") >= 2


def test_a_request_that_never_arrived_is_sent_again_after_a_while(make: Make) -> None:
    world = make()
    world.server.apply(BrainFault(BrainFaultKind.ERROR, **POST, status=502))
    began = world.clock.now
    world.run(world.simulator(), world.candidates("rank(close)"))
    assert good(world, "rank(close)")
    assert world.server.world.taken == ["rank(close)"]
    assert world.clock.now - began > 1200
    assert world.table.usage("", world.clock.now).sent == 0
    assert world.table.usage(world.api().account, world.clock.now).sent == 1


def test_a_simulation_that_vanished_is_found_among_the_alphas(make: Make) -> None:
    world = make()
    simulator = world.simulator()
    waiting = world.candidates("rank(close)")
    world.run(simulator, waiting, until=lambda: bool(world.server.world.taken))
    world.server.apply(
        BrainFault(BrainFaultKind.ERROR, path="/simulations/", status=404, text="gone", times=None)
    )
    world.run(simulator, waiting)
    assert good(world, "rank(close)")
    assert world.server.world.taken == ["rank(close)"]


def test_one_that_brain_loses_each_time_is_given_up(make: Make) -> None:
    world = make()
    world.server.apply(
        BrainFault(BrainFaultKind.ERROR, path="/simulations/", status=404, text="gone", times=None)
    )
    world.server.apply(
        BrainFault(BrainFaultKind.ERROR, path="/users/self/alphas", status=403, text="no", times=None)
    )
    world.run(world.simulator(), world.candidates("rank(close)"), hours=6.0)
    assert "loses its simulation" in reason(world, "rank(close)")
    assert len(world.server.world.taken) == 3


def test_one_that_never_ends_is_looked_for_elsewhere(make: Make) -> None:
    world = make(replace(QUICK, seconds=1e9, retry_after=60.0))
    simulator = world.simulator()
    waiting = world.candidates("rank(close)")
    world.run(simulator, waiting, until=lambda: world.requests("GET", "/users/self/alphas") > 0)
    assert world.clock.now - 1_700_000_000.0 > 7200


def test_too_many_requests_cost_no_slot(make: Make) -> None:
    world = make()
    simulator = world.simulator()
    world.server.apply(
        BrainFault(BrainFaultKind.ERROR, **POST, status=429, text="slow down", retry_after="0.5")
    )
    running = busiest(world, simulator)
    world.run(simulator, world.candidates(*SEVEN))
    assert simulator.state()["slots"] == 3
    assert max(running) == 3


def test_a_sign_in_that_fails_on_the_way_leaves_no_doubt_about_the_request(make: Make) -> None:
    world = make()
    simulator = world.simulator()
    simulator.step()
    world.server.apply(
        BrainFault(BrainFaultKind.EXPIRE, **POST),
        BrainFault(BrainFaultKind.ERROR, method="POST", path="/authentication", status=500),
    )
    world.run(simulator, world.candidates("rank(close)"))
    assert good(world, "rank(close)")
    assert world.requests("GET", "/users/self/alphas") == 0


class TestBudget:
    """So many in any 24 hours, and the account's own quota."""

    def test_it_holds_also_across_a_restart(self, make: Make) -> None:
        world = make()
        waiting = world.candidates(*SEVEN)
        simulator = world.simulator(budget=4)
        world.run(simulator, waiting, until=lambda: len(world.done) == 4)
        assert simulator.free == 0
        rest = [one for one in waiting if one.digest not in world.done]
        again = world.simulator(budget=4)
        assert again.free == 0
        with pytest.raises(AssertionError, match="not done"):
            world.run(again, rest, hours=12.0)
        assert len(world.server.world.taken) == 4
        world.run(again, rest, hours=13.0)
        assert sorted(world.server.world.taken) == sorted(SEVEN)

    def test_the_accounts_quota_is_waited_out(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        world = make(replace(QUICK, quota=3))
        world.run(world.simulator(), world.candidates(*SEVEN), hours=50.0)
        assert good(world, *SEVEN)
        assert "brain.quota" in caplog.text
        # The headers say so beforehand; only their rounding may cost a request.
        assert world.requests("POST", "/simulations") <= 7 + 3

    def test_several_in_one_request_each_count(self, make: Make) -> None:
        world = make(SEVERAL)
        simulator = world.simulator(budget=5)
        world.run(simulator, world.candidates(*SEVEN), until=lambda: len(world.done) == 5)
        assert simulator.free == 0
        assert len(world.server.world.taken) == 5


class TestSeveral:
    """Multi-simulations, where the account may."""

    def test_up_to_ten_go_together(self, make: Make) -> None:
        world = make(SEVERAL)
        many = tuple(f"rank(ts_mean(open, {days}))" for days in range(2, 27))
        simulator = world.simulator()
        simulator.step()
        world.run(simulator, world.candidates(*many))
        assert good(world, *many)
        assert world.requests("POST", "/simulations") == 3
        assert sorted(world.server.world.taken) == sorted(many)
        for one in many:
            found = world.done[one]
            assert isinstance(found, AlphaFigures)
            assert found.sharpe == figures.sample_figures(one)["sharpe"]

    @pytest.mark.parametrize("cancels", [False, True])
    def test_a_childs_error_is_its_own_and_cancelled_siblings_go_again_alone(
        self, make: Make, cancels: bool
    ) -> None:
        world = make(replace(SEVERAL, cancels_siblings=cancels))
        simulator = world.simulator()
        simulator.step()
        world.run(simulator, world.candidates("rank(close)", "nosuch(close)", "rank(open)"))
        assert "nosuch" in reason(world, "nosuch(close)")
        assert good(world, "rank(close)", "rank(open)")
        assert len(world.server.world.taken) == (5 if cancels else 3)

    def test_a_lost_child_costs_nothing_but_itself(self, make: Make) -> None:
        world, simulator, waiting, child = self.sent(make)
        del world.server.world.simulations[child]
        later = world.candidates("rank(close)")
        began = world.clock.now
        world.run(simulator, [*waiting, *later], until=lambda: len(world.done) == len(SEVEN))
        assert good(world, *SEVEN[1:], "rank(close)")
        assert world.clock.now - began < 60
        # It left no trace among the alphas: it alone is sent once more.
        world.run(simulator, [*waiting, *later])
        assert sorted(world.server.world.taken) == sorted([*SEVEN, SEVEN[0], "rank(close)"])

    def test_a_child_that_is_missed_once_is_asked_for_again(self, make: Make) -> None:
        world, simulator, waiting, child = self.sent(make)
        world.server.apply(
            BrainFault(BrainFaultKind.ERROR, path=f"/simulations/{child}", status=404, text="not yet")
        )
        began = world.clock.now
        world.run(simulator, waiting)
        assert good(world, *SEVEN)
        assert world.clock.now - began < 60
        assert sorted(world.server.world.taken) == sorted(SEVEN)

    def test_a_flight_that_never_ends_gives_the_children_that_did(self, make: Make) -> None:
        world, simulator, waiting, child = self.sent(make)
        world.server.apply(
            BrainFault(BrainFaultKind.ERROR, path=f"/simulations/{child}", status=502, times=None)
        )
        world.run(simulator, waiting)
        assert good(world, *SEVEN)
        assert sorted(world.server.world.taken) == sorted(SEVEN)

    def sent(self, make: Make) -> tuple[BrainWorld, Simulator, list[Candidate], str]:
        """Return a world with a multi-simulation under way, what it is of, and its first child."""
        world = make(SEVERAL)
        simulator = world.simulator()
        simulator.step()
        waiting = world.candidates(*SEVEN)
        world.run(simulator, waiting, until=lambda: bool(world.server.world.taken))
        [children] = [one.children for one in world.server.world.simulations.values() if one.children]
        return world, simulator, waiting, children[0]

    def test_a_refused_bundle_is_sent_one_by_one(self, make: Make) -> None:
        world = make(SEVERAL)
        simulator = world.simulator()
        simulator.step()
        world.run(simulator, world.candidates("rank(close)", " ", "rank(open)"))
        assert reason(world, " ") == "This field may not be blank."
        assert good(world, "rank(close)", "rank(open)")

    def test_an_account_that_lost_the_permission_sends_single_ones(self, make: Make) -> None:
        world = make(SEVERAL)
        simulator = world.simulator()
        simulator.step()
        world.server.world.settings = QUICK
        world.run(simulator, world.candidates(*SEVEN))
        assert good(world, *SEVEN)
        assert sorted(world.server.world.taken) == sorted(SEVEN)


class TestRestart:
    """A simulator that is thrown away at any moment, and another one made of the rows."""

    @pytest.mark.parametrize("settings", [QUICK, SEVERAL], ids=["single", "multi"])
    @pytest.mark.parametrize("pause", [0.5, 4.0, 10.5, 13.0])
    def test_nothing_is_sent_twice_and_everything_comes_in(
        self, make: Make, settings: BrainStandinSettings, pause: float
    ) -> None:
        world = make(settings)
        waiting = world.candidates(*SEVEN)
        for _ in range(150):
            simulator = world.simulator()
            left = world.store.pending(world.rules, limit=99)
            if not left:
                break
            edge = world.clock.now + pause
            world.run(
                simulator,
                left,
                until=lambda edge=edge: world.clock.now >= edge,  # type: ignore[misc]
            )
        assert good(world, *(one.digest for one in waiting))
        assert sorted(world.server.world.taken) == sorted(SEVEN)

    def test_a_crash_between_the_request_and_its_address_is_made_up_for(self, make: Make) -> None:
        world = make()
        [one] = world.candidates("rank(close)")
        sending(world, one)
        world.api().simulate(["rank(close)"])  # and the process dies here
        world.run(world.simulator(), [one])
        assert good(world, "rank(close)")
        assert world.server.world.taken == ["rank(close)"]

    def test_a_crash_between_the_end_and_its_figures_is_made_up_for(self, make: Make) -> None:
        world = make()
        [one] = world.candidates("rank(close)")
        simulator = world.simulator()
        world.server.apply(BrainFault(BrainFaultKind.BLANK, times=999))
        world.run(simulator, [one], until=lambda: world.requests("GET", "/alphas/") > 0)
        world.server.world._blank.clear()
        world.run(world.simulator(), [one])
        assert good(world, "rank(close)")
        assert world.server.world.taken == ["rank(close)"]

    def test_an_error_that_was_not_stored_is_not_paid_for_again(self, make: Make) -> None:
        world = make()
        [one] = world.candidates("nosuch(close)")
        [row] = sending(world, one)
        world.table.save(advance(row, Ended(Status.ERROR, message="unknown"), world.clock.now).row)
        world.run(world.simulator(), [one])
        assert reason(world, "nosuch(close)") == "unknown"
        assert world.server.world.taken == []


class TestReports:
    """Reports to a person, and how often."""

    def test_persona_is_reported_once_and_waited_for(
        self, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = make(replace(QUICK, persona=True))
        simulator = world.simulator()
        waiting = world.candidates("rank(close)")
        end = world.clock.now + 300
        world.run(simulator, waiting, until=lambda: world.clock.now > end)
        reports = [record for record in caplog.records if record.message == "brain.persona"]
        assert len(reports) == 1
        assert "/authentication/persona?inquiry=" in reports[0].sentence  # type: ignore[attr-defined]
        assert simulator.state()["trouble"].startswith("BRAIN asks for a biometric sign-in")
        assert 5 <= world.requests("POST", "/authentication/persona") <= 15
        assert (
            world.requests("POST", "/authentication") - world.requests("POST", "/authentication/persona") == 1
        )
        world.server.world.opened = True
        world.run(simulator, waiting)
        assert good(world, "rank(close)")
        assert simulator.state()["trouble"] is None

    def test_a_wrong_password_is_reported_and_not_repeated(
        self, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        world = make()
        right = world.account
        world.account = Credentials(right.email, "hunter2", "v1")
        simulator = world.simulator()
        waiting = world.candidates("rank(close)")
        end = world.clock.now + 3600
        world.run(simulator, waiting, until=lambda: world.clock.now > end)
        assert world.server.world.wrong == 1
        assert "not sent again until they change" in simulator.state()["mend"]
        assert "hunter2" not in str([vars(record) for record in caplog.records])
        world.account = replace(right, version="v2")
        world.run(simulator, waiting)
        assert good(world, "rank(close)")
        assert simulator.state()["mend"] is None

    def test_away_is_reported_once_and_back_once(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        world = make()
        simulator, waiting = world.simulator(), world.candidates("rank(close)")
        world.run(simulator, waiting, until=lambda: bool(world.server.world.taken))
        world.server.apply(BrainFault(BrainFaultKind.ERROR, status=500, times=6))
        world.run(simulator, waiting)
        reports = [record.message for record in caplog.records if hasattr(record, "sentence")]
        assert reports == ["brain.trouble", "brain.well"]


class ClockAhead(SimulationTable):
    """The table as a machine reads it whose clock is 15 minutes ahead of the database's."""

    def ahead(self, now: float) -> float:
        return super().ahead(now) - 900.0


def test_a_machine_whose_clock_is_ahead_counts_the_simulations_of_the_others(make: Make) -> None:
    """A row that nothing asked about for ten minutes holds no slot; another machine's clock is no reason for that."""
    world = make()
    here = world.simulator()
    here.submit(world.candidates(*SEVEN[:3]))
    here.step()
    assert world.server.world.running() == 3
    store = AlphaStore(f"sqlite:///{world.folder}/alphas.db", owner="there")
    there = Simulator(
        world.api(),
        ClockAhead(store, world.rules),
        retry=lambda action: action(),
        clock=StillClock(world.clock.now + 900.0),
        rng=Random(0),
        slots=3,
        budget=0,
        events=BrainEvents(),
    )
    there._api.sign_in()
    assert there.free == 0
    shown = there.state()
    assert (shown["in_flight"], shown["sent_today"]) == (3, 3), "slots and budget are the account's"
    store.close()
