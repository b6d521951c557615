"""Sizes in Ollama's answers: an odd one counts as 0, and none is negative."""

import json
from collections.abc import Iterator

import pytest

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama, PullProgress


class Answers:
    """A server whose every answer is one object; it is its own response."""

    status = 200

    def __init__(self, row: object) -> None:
        self._body = json.dumps(row).encode()

    def request(self, *_: object, **__: object) -> "Answers":
        return self

    def read(self) -> bytes:
        return self._body

    def lines(self, *, stall: float | None = None) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        pass


@pytest.mark.parametrize("odd", [-1, -(10**18), float("nan"), float("-inf"), 10**400, None, "x", []])
def test_an_odd_size_is_nothing(odd: object) -> None:
    loaded = {"name": "m", "size": odd, "size_vram": odd}
    ollama = Ollama("http://x", Answers({"models": [loaded]}))
    assert [model.size for model in ollama.tags()] == [0]
    assert [(model.size, model.size_vram) for model in ollama.loaded()] == [(0, 0)]
    seen: list[PullProgress] = []
    pulling = Ollama("http://x", Answers({"status": "success", "completed": odd, "total": odd}))
    pulling.pull("m", progress=seen.append, stall=1.0, cancel=Cancel())
    assert [(one.completed, one.total) for one in seen] == [(0, 0)]
