"""A real llama.cpp in the test's own process, with the tiny model of random weights."""

import importlib
from pathlib import Path
from typing import Any

from tests.parts.require import require
from tests.parts.tiny_model import make_model

PART = "llama"
MOST_TOKENS = 3000


class Llama:
    """llama.cpp's server on one thread; the model has no sense and says whatever a grammar allows."""

    def __init__(self, folder: Path) -> None:
        xllamacpp = _package("xllamacpp")
        _package("gguf")
        params = xllamacpp.CommonParams()
        params.model.path = str(make_model(folder / "tiny.gguf"))
        params.n_ctx = 4096
        params.n_parallel = 1
        params.cpuparams.n_threads = 1
        params.warmup = False
        self._server = xllamacpp.Server(params)

    def follow_schema(self, schema: dict[str, Any], seed: int, tokens: int = MOST_TOKENS) -> str:
        """Return a reply under a JSON schema, as Ollama's `format` asks for it."""
        form = {"type": "json_schema", "json_schema": {"name": "alphas", "schema": schema}}
        return self._reply({"response_format": form}, seed, tokens)

    def follow_grammar(self, grammar: str, seed: int, tokens: int = MOST_TOKENS) -> str:
        """Return a reply under a grammar in GBNF, by llama.cpp's own sampler."""
        return self._reply({"grammar": grammar}, seed, tokens)

    def _reply(self, form: dict[str, Any], seed: int, tokens: int) -> str:
        request = {
            "messages": [{"role": "user", "content": "Write alphas."}],
            "seed": seed,
            "temperature": 1.5,
            "max_tokens": tokens,
        }
        answer = self._server.handle_chat_completions(request | form)
        assert "choices" in answer, answer
        return str(answer["choices"][0]["message"]["content"] or "")


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        return require(PART, f"{error}; its packages are locked in requirements/llama.txt")
