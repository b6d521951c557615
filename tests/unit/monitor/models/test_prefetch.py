"""What is pulled in the background, in which order, and what makes way for what."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.ollama import LocalModel, Ollama, PullProgress
from fleet.clients.supervisor import Supervisor
from fleet.config.ladder import Ladder, Rung
from fleet.config.schema import OllamaSettings, Settings
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import Command
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Hold, Switch, SwitchKind, SwitchPhase
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import Home
from fleet.runtime.units import GIGABYTE
from monitor.models.inventory import rungs_here
from monitor.models.prefetch import Prefetcher, wanted_models
from monitor.switching.executor import Switcher
from monitor.switching.generator_process import Generator
from standin.faults import Fault, FaultKind
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from state.history import read_history
from state.store import StateStore
from tests.reference.direct_owner import posting_to
from tests.reference.histories import running

LADDER = Ladder([Rung(index, name) for index, name in enumerate(["a:7b", "b:3b", "b:3b", "c:1b", "d:0.5b"])])
RULES = Rules(LADDER)
SERVING = running(RULES, last_finished=5.0)
PULLING = Switch(1, SwitchKind.DOWNGRADE, SwitchPhase.PULL, 0, 1, 0.0, "why")
ON = OllamaSettings()


def wanted(state: FleetState, here: set[int], settings: OllamaSettings = ON) -> list[str]:
    return [one.rung.model for one in wanted_models(state, LADDER, here, settings)]


@pytest.mark.parametrize(
    ("state", "here", "models"),
    [
        (SERVING, {0}, ["b:3b", "d:0.5b"]),
        (SERVING, {0, 1, 2}, ["d:0.5b"]),
        (SERVING, {0, 1, 2, 4}, []),
        (replace(SERVING, last_finished=None), {0}, []),
        (replace(SERVING, hold=Hold(9.0, 0, "why")), {0}, []),
        (running(RULES, 1, last_finished=5.0), {1, 2}, []),
        (running(RULES, 1, last_finished=5.0, ceiling=1), {1, 2}, ["d:0.5b"]),
        (replace(SERVING, switch=PULLING), set(), []),
        (running(RULES, 3, behind=("b:3b",)), {3}, ["b:3b"]),
        (running(RULES, 3, behind=("gone:1b",)), {3}, []),
        (running(RULES, 3), {4}, ["c:1b"]),
        (running(RULES, 3, behind=("b:3b",)), set(), ["c:1b", "b:3b"]),
    ],
    ids=[
        "with the top serving, the next and the last",
        "what is here is not pulled",
        "nothing is missing",
        "the top has not answered yet",
        "held",
        "lower down nothing is pulled ahead",
        "the ceiling is the top",
        "a switch's own pull goes before",
        "what a switch passed over",
        "what is on the ladder no more",
        "what the fleet stands on",
        "what it stands on goes first",
    ],
)
def test_which_models_are_wanted(state: FleetState, here: set[int], models: list[str]) -> None:
    assert wanted(state, here) == models


def test_nothing_is_pulled_where_pulling_is_off() -> None:
    assert wanted(SERVING, set(), OllamaSettings(auto_pull=False)) == []
    assert wanted(SERVING, {0}, OllamaSettings(pull_ahead=False)) == []
    assert wanted(running(RULES, 3), set(), OllamaSettings(pull_ahead=False)) == ["c:1b"]


@pytest.mark.parametrize("listed", ["a:7b", "library/A:7b", "registry.ollama.ai/library/a:7b"])
@pytest.mark.parametrize("written", ["a:7b", "library/a:7b", "registry.ollama.ai/library/a:7b"])
def test_a_model_is_here_under_each_form_of_its_name(listed: str, written: str) -> None:
    ladder = Ladder([Rung(0, written), Rung(1, "b")])
    found = rungs_here(ladder, [LocalModel(listed, 1), LocalModel("library/b:latest", 1)])
    assert found == (0, 1)
    assert wanted_models(running(Rules(ladder), last_finished=5.0), ladder, found, ON) == ()


# With a server


@contextmanager
def fetching(tmp_path: Path, missing: str) -> Iterator[tuple[StandinOllama, StateStore, Prefetcher]]:
    home = Home(tmp_path / "home")
    home.create()
    settings = Settings()
    with standin(settings=StandinSettings(missing=frozenset(missing.split()), pace=0.0)) as server:
        store = StateStore(home, settings.ladder)
        clock = SystemClock()
        store.update(lambda state: replace(state, last_finished=clock.time()))
        fetcher = Prefetcher(
            home=home,
            settings=settings,
            ollama=Ollama(server.url),
            clock=clock,
            read=store.read,
            post=posting_to(store),
            stopping=threading.Event(),
        )
        yield server, store, fetcher


def here(fetcher: Prefetcher) -> set[str]:
    return {model.name for model in fetcher.ollama.tags()}


def emitted(tmp_path: Path) -> list[tuple[str, str]]:
    kinds = {EventKind.PULL_STARTED, EventKind.PULL_DONE, EventKind.PULL_FAILED}
    return [
        (event.kind.value, event.fields["model"])
        for event in read_history(Home(tmp_path / "home").history)
        if event.kind in kinds
    ]


def test_the_next_and_the_last_are_fetched_one_by_one_and_told(tmp_path: Path) -> None:
    with fetching(tmp_path, "phi3:mini tinyllama:1.1b qwen2.5:0.5b") as (_, _, fetcher):
        assert fetcher.once()
        assert fetcher.once()
        assert not fetcher.once()
        assert here(fetcher) == {"llama3.2:3b", "phi3:mini", "qwen2.5:0.5b"}
        assert emitted(tmp_path) == [
            ("pull.started", "phi3:mini"),
            ("pull.done", "phi3:mini"),
            ("pull.started", "qwen2.5:0.5b"),
            ("pull.done", "qwen2.5:0.5b"),
        ]


def test_one_that_failed_has_its_wait_and_the_other_its_turn(tmp_path: Path) -> None:
    with fetching(tmp_path, "phi3:mini qwen2.5:0.5b") as (server, _, fetcher):
        server.apply(Fault(FaultKind.PULL_REFUSED, times=1))
        assert fetcher.once()
        assert fetcher.once()
        assert not fetcher.once()
        assert here(fetcher) >= {"qwen2.5:0.5b"}
        assert emitted(tmp_path)[:2] == [("pull.started", "phi3:mini"), ("pull.failed", "phi3:mini")]


class Forgetful(Ollama):
    """An Ollama whose pulls succeed by their own word and bring nothing."""

    pulls = 0

    def pull(self, model: str, **how: Any) -> None:
        self.pulls += 1
        how["progress"](PullProgress("success"))


def test_a_pull_that_succeeds_and_brings_nothing_has_its_wait_and_moves_nobody(tmp_path: Path) -> None:
    with fetching(tmp_path, "llama3.2:3b") as (server, store, asking):
        ollama = Forgetful(server.url)
        fetcher = replace(asking, ollama=ollama)
        assert fetcher.once()
        assert not fetcher.once()
        assert ollama.pulls == 1
        assert emitted(tmp_path) == [("pull.started", "llama3.2:3b"), ("pull.failed", "llama3.2:3b")]
        assert store.read().switch is None


def test_without_room_nothing_is_begun(tmp_path: Path) -> None:
    with fetching(tmp_path, "phi3:mini") as (_, _, fetcher):
        tight = replace(fetcher, disk=lambda needed: "no room" if needed > GIGABYTE else "")
        assert tight.once()
        assert emitted(tmp_path)[-1] == ("pull.failed", "phi3:mini")
        assert "phi3:mini" not in here(fetcher)


def test_a_switchs_own_pull_cuts_it(tmp_path: Path) -> None:
    with fetching(tmp_path, "phi3:mini") as (server, store, fetcher):
        server.apply(Fault(FaultKind.PULL_STALL, times=1, share=0.5))
        busy = threading.Thread(target=fetcher.once)
        busy.start()
        while not emitted(tmp_path):
            fetcher.clock.wait(threading.Event(), 0.02)
        down = Command(SwitchKind.DOWNGRADE)
        store.update(lambda state: decide(state, down, fetcher.clock.time(), Rules()).state)
        busy.join(timeout=30)
        assert not busy.is_alive()
        assert emitted(tmp_path) == [("pull.started", "phi3:mini")]


def test_where_its_own_model_cannot_be_had_the_fleet_goes_to_the_next_that_is_here(tmp_path: Path) -> None:
    with fetching(tmp_path, "llama3.2:3b phi3:mini") as (server, store, fetcher):
        server.apply(Fault(FaultKind.PULL_NO_NETWORK))
        assert fetcher.once()
        switch = store.read().switch
        assert switch is not None
        assert (switch.kind, switch.target) == (SwitchKind.DOWNGRADE, 2)
        assert switch.why == "llama3.2:3b cannot be pulled"


def test_a_downgrade_goes_to_what_is_here_and_the_missing_one_is_pulled_behind_it(tmp_path: Path) -> None:
    with fetching(tmp_path, "phi3:mini") as (_, store, fetcher):
        store.update(lambda state: replace(state, vram_error_count=3))
        switch = replace(PULLING, number=store.read().last_event_number + 1, since=fetcher.clock.time())
        store.update(lambda state: replace(state, switch=switch))
        switcher = Switcher(
            home=Home(tmp_path / "home"),
            settings=fetcher.settings,
            ollama=fetcher.ollama,
            generator=Generator(Supervisor(tmp_path / "no.sock"), fetcher.clock),
            clock=fetcher.clock,
            read=store.read,
            post=fetcher.post,
        )
        fact = switcher._pull(switch)
        assert fact is not None
        state = switcher.post(fact)
        assert state.switch is not None
        assert state.switch.target == 2
        assert state.behind == ("phi3:mini",)
        store.update(lambda state: replace(state, switch=None))
        assert fetcher.once()
        assert store.read().behind == ()
        assert "phi3:mini" in here(fetcher)


def test_a_model_that_a_changed_state_wants_wakes_the_thread_and_is_pulled(tmp_path: Path) -> None:
    with fetching(tmp_path, "tinyllama:1.1b") as (_, store, fetcher):
        before = fetcher.wanted(store.read())
        assert fetcher.wanted(store.read()) == before
        after = store.update(lambda state: replace(state, behind=("tinyllama:1.1b",)))
        assert fetcher.wanted(after) != before
        assert fetcher.once()
        assert "tinyllama:1.1b" in here(fetcher)


def test_while_nothing_is_wanted_ollama_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ollama, "tags", lambda *_, **__: pytest.fail("asked"))
    with fetching(tmp_path, "") as (_, _, fetcher):
        off = replace(fetcher.settings, ollama=OllamaSettings(auto_pull=False))
        assert not replace(fetcher, settings=off).once()
