"""A bare HTTP client for tests of the stand-in: it shows status, content type and body as they came."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from standin.ollama import StandinOllama


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    text: str

    @property
    def body(self) -> Any:
        if self.content_type == "application/x-ndjson":
            return [json.loads(line) for line in self.text.splitlines()]
        return json.loads(self.text) if self.content_type.startswith("application/json") else self.text

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.body
        return rows


class Client:
    """Sends requests over one connection that is kept alive."""

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        response = self.begin(method, path, body)
        text = response.read().decode("utf-8", "replace")
        return Answer(response.status, response.headers["Content-Type"] or "", text)

    def begin(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        """Send a request and return once the answer's head is here; its body is still to be read."""
        content = body if isinstance(body, str) or body is None else json.dumps(body)
        self._connection.request(method, path, content)
        return self._connection.getresponse()

    def generate(self, model: str = "qwen2.5:0.5b", **more: object) -> Answer:
        body = {"model": model, "prompt": "hello", "stream": False, **more}
        return self.ask("POST", "/api/generate", body)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def client_of(server: StandinOllama | str, timeout: float = 20.0) -> Iterator[Client]:
    client = Client(server if isinstance(server, str) else server.url, timeout)
    try:
        yield client
    finally:
        client.close()


def failing(call: Callable[..., object], *values: object) -> None:
    """Make a request whose connection is to be broken off, and be content with that."""
    with suppress(OSError, http.client.HTTPException):
        call(*values)
