"""The card watch: what it makes of the cards' memory and of Ollama's models, and what it says where it cannot read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.clients.gpu import Card
from fleet.clients.ollama import LoadedModel, Ollama
from fleet.config.schema import SEED_LADDER, PolicySettings, Settings
from fleet.config.values import Reserve
from fleet.policy.facts import CardSeen, Fact
from fleet.policy.state import FleetState, ReserveCap
from fleet.runtime.errors import FleetError, OllamaAwayError
from fleet.runtime.home import Home
from fleet.runtime.units import GIGABYTE
from monitor.watch.card import CardWatch
from state.codec import default_state

STATE = default_state(SEED_LADDER, 0.0)
GB = GIGABYTE


class Listed(Ollama):
    """An Ollama that lists these models, or is away."""

    def __init__(self, *loaded: LoadedModel, away: bool = False) -> None:
        super().__init__()
        self._loaded, self._away = list(loaded), away

    def loaded(self, *, timeout: float = 5.0) -> list[LoadedModel]:
        if self._away:
            raise OllamaAwayError("away")
        return self._loaded


def look(
    tmp_path: Path,
    *cards: Card,
    ollama: Ollama | None = None,
    reserve: Reserve = Reserve(GB),  # noqa: B008  # frozen
    state: FleetState = STATE,
    error: str = "",
    listed: bool = True,
) -> tuple[list[Fact], dict[str, object] | None]:
    """Return the posted facts and the file after one look."""
    home, posted = Home(tmp_path), list[Fact]()
    home.create()

    def read_cards() -> list[Card] | None:
        if error:
            raise FleetError(error)
        return list(cards) if listed else None

    def post(fact: Fact) -> FleetState:
        posted.append(fact)
        return state

    settings = Settings(policy=PolicySettings(reserve=reserve))
    watch = CardWatch(
        home=home,
        settings=settings,
        ollama=ollama or Listed(),
        read=lambda: state,
        post=post,
        cards=read_cards,
    )
    watch()
    return posted, json.loads(home.card_file.read_text()) if home.card_file.exists() else None


OURS, OTHER = LoadedModel("llama3.2:3b", 3 * GB, 2 * GB), LoadedModel("other:7b", 4 * GB, 4 * GB)


def test_what_others_have_not_taken_is_available_without_the_reserve(tmp_path: Path) -> None:
    """8 GB in all, 7 used, of which 2 are ours: others have 5, so that 3 are left, and 2 beside the reserve."""
    posted, row = look(tmp_path, Card("a", 7 * GB, 8 * GB), ollama=Listed(OURS, OTHER))
    assert posted == [CardSeen(2 * GB, 2 * GB)]
    assert row == {"free": GB, "total": 8 * GB, "unknown": ""}


@pytest.mark.parametrize(
    ("reserve", "available"),
    [(Reserve(share=0.25), 3 * GB), (Reserve(9 * GB), -4 * GB), (Reserve(5 * GB), 0)],
)
def test_a_share_is_of_all_cards_and_less_than_nothing_may_be_left(
    tmp_path: Path, reserve: Reserve, available: int
) -> None:
    posted, _ = look(tmp_path, Card("a", 3 * GB, 4 * GB), Card("b", 0, 4 * GB), reserve=reserve)
    assert posted == [CardSeen(available)]


def test_models_of_our_ladder_on_other_rungs_are_ours_too(tmp_path: Path) -> None:
    tiny = LoadedModel("library/tinyllama:1.1b", GB, GB)
    posted, _ = look(tmp_path, Card("a", 4 * GB, 8 * GB), ollama=Listed(tiny))
    assert posted == [CardSeen(4 * GB)]


@pytest.mark.parametrize(
    ("error", "listed", "shown"),
    [
        ("", False, "no nvidia-smi"),
        ("", True, "lists no GPU with figures"),
        ("nvidia-smi fails: no driver", False, "no driver"),
    ],
)
def test_a_card_that_cannot_be_read_is_unknown_and_said_so(
    tmp_path: Path, error: str, listed: bool, shown: str
) -> None:
    posted, row = look(tmp_path, error=error, listed=listed)
    assert posted == [CardSeen(None)]
    assert row is not None
    assert shown in str(row["unknown"])


def test_while_ollama_is_away_nothing_on_the_card_is_ours(tmp_path: Path) -> None:
    posted, _ = look(tmp_path, Card("a", 4 * GB, 8 * GB), ollama=Listed(away=True))
    assert posted == [CardSeen(3 * GB)]


def test_without_a_reserve_nothing_is_read_and_an_old_cap_ends(tmp_path: Path) -> None:
    assert look(tmp_path, error="never asked", reserve=Reserve()) == ([], None)
    capped = replace(STATE, reserve=ReserveCap(2))
    assert look(tmp_path, error="never asked", reserve=Reserve(), state=capped)[0] == [CardSeen(None)]
