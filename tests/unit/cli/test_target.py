"""The rules of the command line are those of the monitor: `status` promises no try that the monitor rules out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.target import Fleet
from fleet.clients.ollama import Ollama
from fleet.config.schema import Settings
from fleet.policy.recovery import outlook
from fleet.policy.rules import Rules
from fleet.runtime.errors import OllamaAwayError
from fleet.runtime.home import FleetFile, Home
from fleet.runtime.units import GIGABYTE
from monitor.inbox import ModelsKnown
from monitor.models.inventory import Inventory, Models
from standin.ollama import standin
from tests.reference.histories import running


def test_a_model_that_the_card_has_no_room_for_is_promised_by_neither(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    fleet = Fleet(home, Settings(), None)

    def known(total: int | None) -> Rules:
        """Return the monitor's rules, once it has asked Ollama and its log has said this."""
        posted = list[ModelsKnown]()
        Inventory(
            settings=Settings(),
            ollama=client,
            models=Models(client, Settings().ladder),
            read=lambda: running(Rules(), 1, watch={"gpu_total": total}),
            post=posted.append,
            file=home.models_file,
        )()
        return replace(Rules(), needs=posted[0].needs, sizes=posted[0].sizes, free=posted[0].free)

    with standin() as server:
        client = Ollama(server.url)
        rules = known(None)
        state = running(rules, 1)
        assert outlook(state, fleet.rules).rung == outlook(state, rules).rung == 0
        assert outlook(state, known(GIGABYTE)).rung is None
        assert outlook(state, fleet.rules).rung is None


@pytest.mark.parametrize(
    ("profile", "mend"),
    [("embedded", "start standin` does"), ("native", "Start it, or correct [ollama] url")],
)
def test_the_mend_of_an_ollama_that_is_away_is_one_that_its_fleet_has(
    tmp_path: Path, profile: str, mend: str
) -> None:
    started = FleetFile(profile, "http://127.0.0.1:9", "", "", "", 0.0)
    with pytest.raises(OllamaAwayError) as error:
        Fleet(Home(tmp_path), Settings(), started).ollama().version(timeout=1.0)
    assert mend in error.value.hint


@pytest.mark.parametrize("free", ["much", None, [1], True])
def test_free_memory_that_cannot_be_read_is_unknown(tmp_path: Path, free: object) -> None:
    home = Home(tmp_path)
    home.create()
    row = {"ladder": Settings().ladder.digest, "needs": [], "sizes": [], "free": free}
    home.models_file.write_text(json.dumps(row))
    assert Fleet(home, Settings(), None).rules.free is None
