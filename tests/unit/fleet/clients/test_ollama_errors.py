"""Answers that are not Ollama's: of a web server, or of a proxy in front of it."""

import pytest

from fleet.clients.http import Response, Transport
from fleet.clients.ollama import Ollama
from fleet.runtime.errors import OllamaError


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
