"""The fleet's own client against the stand-in: what one says, the other understands."""

from collections.abc import Iterator

import pytest

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama, PullProgress
from fleet.runtime.errors import OllamaAwayError, OllamaError, OllamaTimeoutError
from standin.faults import Fault, FaultKind
from standin.models.specs import SEED_MODELS
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings


@pytest.fixture
def server() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(pace=0, missing=frozenset({"phi3:mini"}))) as each:
        yield each


def test_the_client_sees_models_loads_and_details(server: StandinOllama) -> None:
    ollama = Ollama(server.url)
    assert ollama.version().endswith("+standin")
    assert {model.name for model in ollama.tags()} == {"llama3.2:3b", "tinyllama:1.1b", "qwen2.5:0.5b"}
    answer = ollama.generate({"model": "qwen2.5:0.5b", "prompt": "x"}, first_token=10, stall=10)
    assert answer.done_reason == "stop"
    assert answer.figures["eval_count"] > 1
    (loaded,) = ollama.loaded()
    assert (loaded.name, loaded.size_vram) == ("qwen2.5:0.5b", loaded.size)
    details = ollama.show("qwen2.5:0.5b")
    assert details.blob == f"sha256-{SEED_MODELS[3].blobs[0].digest}"
    assert details.info["qwen2.block_count"] == 24
    ollama.unload("qwen2.5:0.5b")
    assert ollama.loaded() == []


def test_the_client_pulls(server: StandinOllama) -> None:
    seen: list[PullProgress] = []
    Ollama(server.url).pull("phi3:mini", progress=seen.append, stall=5, cancel=Cancel())
    assert seen[-1].status == "success"
    assert max(each.completed for each in seen) == SEED_MODELS[1].weights
    assert "phi3:mini" in {model.name for model in Ollama(server.url).tags()}


def test_the_client_tells_failures_apart(server: StandinOllama) -> None:
    ollama = Ollama(server.url)
    ask = {"model": "qwen2.5:0.5b", "prompt": "x"}
    with pytest.raises(OllamaError, match="unable to allocate Vulkan0 buffer") as failed:
        ollama.generate({**ask, "model": "llama3.2:3b"}, first_token=10, stall=10)
    assert failed.value.status == 500
    server.apply(Fault(FaultKind.DIE, times=1))
    with pytest.raises(OllamaError, match="unexpected EOF") as died:
        ollama.generate(ask, first_token=10, stall=10)
    assert died.value.status == 200
    server.apply(Fault(FaultKind.BREAK, times=1))
    with pytest.raises(OllamaAwayError):
        ollama.generate(ask, first_token=10, stall=10)
    server.apply(Fault(FaultKind.STALL_STREAM, times=1))
    with pytest.raises(OllamaTimeoutError):
        ollama.generate(ask, first_token=10, stall=0.1)
    server.apply(Fault(FaultKind.STALL, path="/api/version"))
    with pytest.raises(OllamaTimeoutError):
        ollama.version(timeout=0.1)
    server.apply(Fault(FaultKind.REFUSE, path="/api/tags"))
    with pytest.raises(OllamaAwayError):
        ollama.tags()
