"""The rules of the command line are those of the monitor: `status` promises no try that the monitor rules out."""

import json
from pathlib import Path

import pytest

from cli.target import Fleet
from fleet.clients.ollama import Ollama
from fleet.config.schema import Settings
from fleet.policy.recovery import outlook
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import Home
from fleet.runtime.units import GIGABYTE
from monitor.models.inventory import Knowledge
from standin.ollama import standin
from tests.reference.histories import running


def test_a_model_that_the_card_has_no_room_for_is_promised_by_neither(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with standin() as server:
        knowledge = Knowledge(Settings(), Ollama(server.url), SystemClock(), file=home.models_file)
        knowledge._models.refresh()
    fleet = Fleet(home, Settings(), None)
    state = running(fleet.rules, 1)
    knowledge._write_file()
    assert outlook(state, fleet.rules).rung == outlook(state, knowledge()[0]).rung == 0
    knowledge.gpu_total = GIGABYTE
    knowledge._write_file()
    assert outlook(state, knowledge()[0]).rung is None
    assert outlook(state, fleet.rules).rung is None


@pytest.mark.parametrize("free", ["much", None, [1], True])
def test_free_memory_that_cannot_be_read_is_unknown(tmp_path: Path, free: object) -> None:
    home = Home(tmp_path)
    home.create()
    row = {"ladder": Settings().ladder.digest, "needs": [], "sizes": [], "free": free}
    home.models_file.write_text(json.dumps(row))
    assert Fleet(home, Settings(), None).rules.free is None
