"""The canary: what a model on trial is asked, and what counts as a failure of it."""

import socket
from dataclasses import replace

import pytest

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama
from fleet.config.ladder import Rung
from fleet.config.schema import OllamaSettings, PolicySettings, Settings
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, Switch, SwitchKind, SwitchPhase
from fleet.runtime.units import parse_size
from monitor.switching.canary import Canary
from standin.faults import Fault, FaultKind
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.reference.histories import running

PROBE = Switch(1, SwitchKind.PROBE, SwitchPhase.TRIAL, 1, 0, 0.0, "why")
USE = replace(PROBE, kind=SwitchKind.USE, by_hand=True)
QUICK = Settings(ollama=OllamaSettings(first_token_timeout=1.0))
BIG = Rung(0, "llama3.2:3b")


def failure(
    server: StandinOllama | str,
    switch: Switch,
    rung: Rung = BIG,
    state: FleetState | None = None,
    settings: Settings = QUICK,
) -> str:
    url = server if isinstance(server, str) else server.url
    return Canary(settings, Ollama(url)).failure(state or running(Rules(), 1), switch, rung, Cancel())


def card(vram: str, *, spill: bool = False) -> StandinSettings:
    return StandinSettings(vram=parse_size(vram), spill=spill, pace=0.0)


@pytest.mark.parametrize(("switch", "passes"), [(USE, True), (PROBE, False)])
def test_a_server_that_answers_nothing_is_away_and_gets_no_trial(switch: Switch, passes: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        reason = failure(f"http://127.0.0.1:{frozen.getsockname()[1]}", switch)
    assert "no answer within" not in reason
    assert (reason == "") is passes


def test_a_model_that_answers_has_passed() -> None:
    with standin(settings=card("8 GB")) as server:
        assert failure(server, PROBE) == failure(server, USE) == ""


def test_a_model_without_memory_fails_with_the_servers_words() -> None:
    with standin(settings=card("1 GB")) as server:
        assert "unable to allocate" in failure(server, PROBE)


@pytest.mark.parametrize("days", [0.01, 30, 365])
def test_however_long_a_model_is_to_stay_ollama_understands_it(days: float) -> None:
    long = Settings(ollama=OllamaSettings(first_token_timeout=1.0, keep_alive=days * 86400))
    with standin(settings=card("8 GB")) as server:
        assert failure(server, USE, settings=long) == ""


def test_exactly_the_rungs_options_are_used() -> None:
    """The same model fits with a small context and not with a large one."""
    with standin(settings=card("2.6 GB")) as server:
        assert failure(server, USE, replace(BIG, options={"num_ctx": 1024})) == ""
        assert failure(server, USE, replace(BIG, options={"num_ctx": 65536})) != ""


def test_a_probe_that_would_spill_has_failed_and_a_choice_by_hand_has_not() -> None:
    with standin(settings=card("1 GB", spill=True)) as server:
        assert "of it fits into GPU memory" in failure(server, PROBE)
        assert failure(server, USE) == ""
        assert failure(server, PROBE, replace(BIG, options={"num_gpu": 5})) == "", "it asks for that itself"
        reported = replace(QUICK, policy=PolicySettings(on_spill="report"))
        assert failure(server, PROBE, settings=reported) == ""


def test_wholly_on_the_cpu_is_a_spill_only_where_there_is_a_gpu() -> None:
    with standin(settings=card("1 MB", spill=True)) as server:
        assert failure(server, PROBE) == ""
        known = running(Rules(), 1, watch={"gpu": True})
        assert "only 0% of it" in failure(server, PROBE, state=known)


def test_no_answer_in_time_is_told_as_such() -> None:
    with standin(settings=card("8 GB")) as server:
        server.apply(Fault(FaultKind.STALL, path="/api/generate"))
        assert failure(server, PROBE) == "no answer within 1s"


def test_where_nobody_can_be_asked_an_operator_goes_on_and_a_probe_does_not() -> None:
    with standin() as server:
        url = server.url
    assert failure(url, USE) == ""
    assert failure(url, PROBE).startswith("no answer from Ollama at http")
