"""Answers that are not Ollama's, of a web server or a proxy in front of it, and answers that end too early."""

from collections.abc import Callable, Iterator

import pytest

from fleet.clients.http import Cancel, Response, Transport, TransportError
from fleet.clients.ollama import Ollama
from fleet.runtime.errors import OllamaAwayError, OllamaError


class Page:
    """An answer of a web server, and the transport that brings it."""

    def __init__(self, status: int) -> None:
        self.status = status

    def request(self, *_: object, **__: object) -> Response:
        return self  # type: ignore[return-value]

    def read(self, *_: object) -> bytes:
        return b"<html><body>It works!</body></html>"

    def close(self) -> None:
        pass


@pytest.mark.parametrize("status", [200, 404, 405, 502])
def test_a_web_page_in_place_of_an_answer_asks_whether_the_address_is_ollamas(status: int) -> None:
    transport: Transport = Page(status)
    with pytest.raises(OllamaError) as error:
        Ollama("http://127.0.0.1:80", transport).tags()
    assert "Ollama's address" in error.value.hint


class Cut:
    """A response whose connection ends within it, and its transport."""

    status = 200

    def request(self, *_: object, **__: object) -> Response:
        return self

    def read(self) -> bytes:
        raise TransportError("the connection ended in mid-response")

    def lines(self, *, stall: float | None = None) -> Iterator[bytes]:
        del stall
        yield b"{}"
        raise TransportError("the connection ended in mid-response")

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("ask", "hint"),
    [
        (lambda one: one.tags(), "see Ollama's log."),
        (lambda one: one.generate({}, first_token=1.0, stall=1.0), "see Ollama's log."),
        (
            lambda one: one.pull("phi3:mini", progress=lambda _: None, stall=1.0, cancel=Cancel()),
            "The next pull resumes it.",
        ),
    ],
    ids=["tags", "generate", "pull"],
)
def test_an_answer_that_ends_too_early_asks_for_no_start(ask: Callable[[Ollama], object], hint: str) -> None:
    with pytest.raises(OllamaAwayError, match="mid-response") as error:
        ask(Ollama("http://127.0.0.1:80", Cut()))
    assert error.value.hint.endswith(hint)
