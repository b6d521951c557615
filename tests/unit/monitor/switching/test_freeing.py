"""A pause empties the GPU of the ladder's models: once, whatever is listed, and no other client's."""

from collections.abc import Iterator

import pytest

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama
from fleet.config.ladder import Ladder
from fleet.config.schema import SEED_LADDER
from fleet.runtime.clock import SystemClock
from fleet.runtime.units import parse_size
from monitor.switching.freeing import free_gpu
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings

LADDER = Ladder(list(SEED_LADDER)[:3])


@pytest.fixture
def server() -> Iterator[StandinOllama]:
    settings = StandinSettings(vram=parse_size("64 GB"), pace=0.0)
    with standin(settings=settings) as running:
        yield running


def load(ollama: Ollama, *models: str) -> None:
    for model in models:
        ollama.generate({"model": model, "prompt": "1", "keep_alive": "30m"}, first_token=10, stall=10)


def test_all_models_of_the_ladder_leave_and_no_other(server: StandinOllama) -> None:
    ollama = Ollama(server.url)
    load(ollama, "llama3.2:3b", "tinyllama:1.1b", "qwen2.5:0.5b")
    assert free_gpu(ollama, LADDER, "llama3.2:3b", SystemClock(), idle=lambda: True) == []
    assert [one.name for one in ollama.loaded()] == ["qwen2.5:0.5b"]


def test_it_waits_for_the_call_that_is_being_cut(server: StandinOllama) -> None:
    ollama, left = Ollama(server.url), [3]

    def idle() -> bool:
        left[0] -= 1
        if left[0] == 1:
            load(ollama, "llama3.2:3b")  # the call was just loading it
        return left[0] <= 0

    assert free_gpu(ollama, LADDER, "llama3.2:3b", SystemClock(), idle=idle) == []
    assert ollama.loaded() == []


class Used(Ollama):
    """An Ollama in which another client keeps what is unloaded."""

    def unload(self, model: str, *, timeout: float = 1.0, cancel: Cancel | None = None) -> None:
        assert model


def test_what_another_client_keeps_is_named(server: StandinOllama) -> None:
    ollama = Used(server.url)
    load(ollama, "phi3:mini")
    assert free_gpu(ollama, LADDER, "llama3.2:3b", SystemClock(), idle=lambda: True, within=0.1) == [
        "phi3:mini"
    ]
