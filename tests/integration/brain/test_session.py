"""Signing in to a stand-in BRAIN, and every way in which its answers can go wrong."""

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from generator.brain.credentials import Credentials
from generator.brain.errors import (
    BrainAccessError,
    BrainAwayError,
    BrainError,
    BrainGoneError,
    BrainLimitError,
    PersonaError,
)
from generator.brain.http import BrainHttp
from generator.brain.session import BrainSession, StoredSession
from generator.brain.sign_in import SignInTurns
from generator.storage.store import AlphaStore
from standin.brain.faults import BrainFault, BrainFaultKind
from standin.brain.settings import BrainStandinSettings
from tests.reference.brain_world import QUICK, BrainWorld

Make = Callable[..., BrainWorld]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    worlds: list[BrainWorld] = []

    def made(settings: BrainStandinSettings = QUICK) -> BrainWorld:
        worlds.append(BrainWorld(tmp_path, settings))
        return worlds[-1]

    yield made
    for world in worlds:
        world.close()


def test_one_sign_in_lasts_and_outlasts_a_restart(make: Make) -> None:
    world = make()
    api = world.api()
    assert len(api.operators()) == 66
    api.operators()
    assert world.session().seconds_left() is None
    again = world.api()
    again.operators()
    assert world.server.world.sign_ins == 1
    file = world.folder / "brain.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for secret in (world.account.email, world.account.password):
        assert secret not in file.read_text()


def test_brain_says_how_long_a_session_lasts(make: Make) -> None:
    world = make()
    session = world.session()
    session.ensure()
    world.clock.now += 400
    assert session.seconds_left() == pytest.approx(14000.0)


def test_a_session_that_ran_out_is_renewed_once(make: Make) -> None:
    world = make()
    api = world.api()
    api.operators()
    world.clock.now += 20_000
    api.operators()
    assert world.server.world.sign_ins == 2


def test_too_many_requests_never_sign_in_again(make: Make) -> None:
    world = make()
    api = world.api()
    api.operators()
    world.server.apply(
        BrainFault(
            BrainFaultKind.ERROR, path="/operators", status=429, text="slow down", retry_after="1.5", times=3
        )
    )
    for _ in range(3):
        with pytest.raises(BrainLimitError) as caught:
            api.operators()
        assert caught.value.wait == 1.5
    assert world.requests("POST", "/authentication") == 1


@pytest.mark.parametrize(("status", "error"), [(429, BrainLimitError), (503, BrainAwayError)])
def test_a_restart_that_meets_a_busy_brain_keeps_its_session(
    make: Make, status: int, error: type[BrainError]
) -> None:
    world = make()
    world.api().operators()
    again = world.api()
    fault = BrainFault(BrainFaultKind.ERROR, "GET", "/authentication", status=status, text="busy")
    world.server.apply(fault)
    with pytest.raises(error):
        again.operators()
    assert world.server.world.sign_ins == 1
    again.operators()
    assert world.server.world.sign_ins == 1


@pytest.mark.parametrize("status", [302, 400, 431])
def test_a_session_that_brain_cannot_read_is_replaced(make: Make, status: int) -> None:
    """A damaged cookie may get an answer of a server before BRAIN, without a reason."""
    world = make()
    world.api().operators()
    again = world.api()
    world.server.apply(BrainFault(BrainFaultKind.HTML, "GET", "/authentication", status=status, times=9))
    again.operators()
    assert world.server.world.sign_ins == 2


def test_a_session_that_is_refused_as_soon_as_it_is_given_makes_no_loop(make: Make) -> None:
    world = make()
    api = world.api()
    world.server.apply(BrainFault(BrainFaultKind.ERROR, path="/operators", status=401, text="no", times=None))
    with pytest.raises(BrainAccessError, match="denies access"):
        api.operators()
    assert world.requests("POST", "/authentication") == 2


class TestWrongPassword:
    """Too many attempts lock an account."""

    def test_it_is_sent_once_however_often_it_is_tried_also_after_a_restart(self, make: Make) -> None:
        world = make()
        world.account = Credentials("someone@example.com", "wrong", "v1")
        with pytest.raises(BrainAccessError, match="refuses the credentials") as caught:
            world.api().operators()
        assert "INVALID_CREDENTIALS" in caught.value.hint
        assert '"wrong"' not in f"{caught.value.message} {caught.value.hint}"
        for _ in range(5):
            with pytest.raises(BrainAccessError, match="refuses the credentials"):
                world.api().operators()
        assert world.requests("POST", "/authentication") == 1

    def test_corrected_it_is_sent_again(self, make: Make) -> None:
        world = make()
        right = world.account
        world.account = Credentials(right.email, "wrong", "v1")
        api = world.api()
        with pytest.raises(BrainAccessError):
            api.operators()
        world.account = Credentials(right.email, right.password, "v2")
        assert api.operators()

    def test_those_of_the_environment_are_tried_again_after_an_hour(self, make: Make) -> None:
        world = make()
        world.account = Credentials("someone@example.com", "wrong", "environment")
        for _ in range(3):
            with pytest.raises(BrainAccessError):
                world.api().operators()
        world.clock.now += 3601
        with pytest.raises(BrainAccessError):
            world.api().operators()
        assert world.requests("POST", "/authentication") == 2

    def test_a_locked_account_is_left_alone_for_a_while_also_after_a_restart(self, make: Make) -> None:
        world = make()
        world.server.world.wrong = 5
        for _ in range(3):
            with pytest.raises(BrainLimitError, match="too many attempts") as caught:
                world.api().operators()
            assert caught.value.wait == pytest.approx(900.0)
        assert world.requests("POST", "/authentication") == 1
        world.clock.now += 901
        world.server.world.wrong = 0
        assert world.api().operators()

    def test_another_account_starts_afresh(self, make: Make) -> None:
        world = make()
        world.api().operators()
        world.account = Credentials("other@example.com", "x", "v1")
        with pytest.raises(BrainAccessError, match="refuses"):
            world.api().operators()


class TestTurns:
    """Several fleets of one account, each with a home of its own, on one database."""

    @pytest.fixture
    def world(self, make: Make) -> BrainWorld:
        return make()

    @pytest.fixture
    def other(self, world: BrainWorld) -> Iterator[BrainSession]:
        store = AlphaStore(f"sqlite:///{world.folder}/alphas.db", owner="other")
        yield world.session(store)
        store.close()

    def test_while_one_signs_in_no_other_does_and_afterwards_it_may(
        self, world: BrainWorld, other: BrainSession
    ) -> None:
        account = world.session().account
        turns = SignInTurns(world.store, lambda action: action())
        turns.take(account)
        turns.take(account)  # a restart in the midst of it
        with pytest.raises(BrainLimitError, match="another fleet is signing in") as caught:
            other.ensure()
        assert caught.value.wait == 1.0
        assert world.requests("POST", "/authentication") == 0
        turns.hold(account, 0.0)
        other.ensure()
        world.session().ensure()
        assert world.server.world.sign_ins == 2

    def test_a_lock_of_the_account_is_kept_by_all(self, world: BrainWorld, other: BrainSession) -> None:
        world.server.world.wrong = 5
        with pytest.raises(BrainLimitError, match="too many attempts"):
            world.session().ensure()
        with pytest.raises(BrainLimitError, match="another fleet") as caught:
            other.ensure()
        assert caught.value.wait == pytest.approx(900.0, abs=60.0)
        assert world.requests("POST", "/authentication") == 1

    def test_a_wrong_password_is_not_sent_by_all_at_once(
        self, world: BrainWorld, other: BrainSession
    ) -> None:
        world.account = Credentials("someone@example.com", "wrong", "v1")
        with pytest.raises(BrainAccessError):
            world.session().ensure()
        with pytest.raises(BrainLimitError, match="another fleet"):
            other.ensure()
        assert world.requests("POST", "/authentication") == 1

    def test_a_request_that_fails_ends_the_turn(self, world: BrainWorld, other: BrainSession) -> None:
        world.server.apply(BrainFault(BrainFaultKind.ERROR, path="/authentication", status=503))
        with pytest.raises(BrainAwayError):
            world.session().ensure()
        other.ensure()
        assert world.server.world.sign_ins == 1

    def test_one_biometric_sign_in_is_asked_for_at_a_time(self, make: Make) -> None:
        world = make(BrainStandinSettings(persona=True))
        with pytest.raises(PersonaError) as caught:
            world.session().ensure()
        store = AlphaStore(f"sqlite:///{world.folder}/alphas.db", owner="other")
        other = world.session(store)
        with pytest.raises(BrainLimitError, match="another fleet"):
            other.ensure()
        assert requests.get(caught.value.url, timeout=5).status_code == 200
        world.session().ensure()
        other.ensure()
        store.close()


class TestPersona:
    """An account with a biometric sign-in."""

    SETTINGS = BrainStandinSettings(persona=True)

    def test_the_user_sees_the_address_to_open_and_mining_resumes(self, make: Make) -> None:
        world = make(self.SETTINGS)
        api = world.api()
        with pytest.raises(PersonaError) as caught:
            api.operators()
        url = caught.value.url
        assert url == f"{world.server.url}/authentication/persona?inquiry={world.server.world.inquiry}"
        assert url in caught.value.message
        with pytest.raises(PersonaError) as again:
            world.api().operators()
        assert again.value.url == url
        assert requests.get(url, timeout=5).status_code == 200
        assert len(api.operators()) == 66
        assert world.server.world.sign_ins == 1
        assert json.loads((world.folder / "brain.json").read_text())["persona"] == ""

    def test_one_that_ran_out_is_begun_anew(self, make: Make) -> None:
        world = make(self.SETTINGS)
        with pytest.raises(PersonaError):
            world.api().operators()
        world.server.world.inquiry = "inq_other"
        with pytest.raises(BrainGoneError):
            world.api().operators()
        with pytest.raises(PersonaError) as caught:
            world.api().operators()
        assert caught.value.url.endswith("inq_other")

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_trouble_on_the_way_does_not_end_it(self, make: Make, status: int) -> None:
        world = make(self.SETTINGS)
        with pytest.raises(PersonaError) as first:
            world.api().operators()
        world.server.apply(BrainFault(BrainFaultKind.ERROR, path="/authentication", status=status))
        with pytest.raises(BrainError):
            world.api().operators()
        with pytest.raises(PersonaError) as again:
            world.api().operators()
        assert again.value.url == first.value.url

    def test_an_address_on_another_server_is_not_followed(self, make: Make) -> None:
        world = make()
        session = world.session()
        kept = StoredSession("s", "a", persona="https://elsewhere.example/persona")
        session._file.write(kept)
        with pytest.raises(BrainError, match="another server"):
            session._http.absolute(session._file.read().persona)


@pytest.mark.parametrize(
    ("fault", "kind", "sent"),
    [
        (BrainFault(BrainFaultKind.REFUSE, path="/operators"), BrainAwayError, True),
        (BrainFault(BrainFaultKind.LOSE, path="/operators"), BrainAwayError, True),
        (BrainFault(BrainFaultKind.ERROR, path="/operators", status=500), BrainAwayError, True),
        (BrainFault(BrainFaultKind.ERROR, path="/operators", status=503), BrainAwayError, False),
        (BrainFault(BrainFaultKind.HTML, path="/operators", status=502), BrainAwayError, True),
        (BrainFault(BrainFaultKind.HTML, path="/operators", status=200), BrainAwayError, True),
        (BrainFault(BrainFaultKind.STALL, path="/operators", seconds=20.0), BrainAwayError, True),
    ],
)
def test_trouble_of_the_service_differs_from_ours(
    make: Make, fault: BrainFault, kind: type, sent: bool
) -> None:
    world = make()
    api = world.api()
    api.sign_in()
    for wire in world.wires:
        wire._timeouts = (1.0, 1.0)
    world.server.apply(fault)
    with pytest.raises(kind) as caught:
        api.operators()
    assert isinstance(caught.value, BrainAwayError)
    assert caught.value.sent is sent
    assert len(api.operators()) == 66


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("/simulations/1", "https://brain.example/simulations/1"),
        ("simulations/1", "https://brain.example/simulations/1"),
        ("https://brain.example/simulations/1", "https://brain.example/simulations/1"),
        ("http://brain.example:443/simulations/1?a=b#c", "https://brain.example/simulations/1?a=b"),
    ],
)
def test_an_address_is_brains_own_however_it_is_written(location: str, address: str) -> None:
    wire = BrainHttp("https://brain.example")
    assert wire.absolute(location) == address
    for elsewhere in ("https://other.example/x", "//other.example/x", "https://brain.example.other/x"):
        with pytest.raises(BrainError, match="another server"):
            wire.absolute(elsewhere)
    wire.close()


def test_a_server_that_is_not_there_certainly_got_nothing() -> None:
    wire = BrainHttp("http://127.0.0.1:9")
    with pytest.raises(BrainAwayError) as caught:
        wire.send("GET", "/operators")
    assert not caught.value.sent
    wire.close()


def test_no_redirect_is_followed(make: Make) -> None:
    world = make()
    api = world.api()
    api.sign_in()
    world.server.apply(BrainFault(BrainFaultKind.ERROR, path="/operators", status=302))
    with pytest.raises(BrainAwayError):
        api.operators()


def test_fields_come_in_pages(make: Make) -> None:
    world = make()
    api = world.api()
    first, count = api.data_fields(0)
    second, again = api.data_fields(len(first))
    assert (len(first), count, again) == (50, 72, 72)
    assert len(second) == 22
    assert {row["id"] for row in first}.isdisjoint(row["id"] for row in second)
