"""Client of Ollama's REST API, limited to the calls that the fleet needs, with our errors.

Formats and texts were recorded from a real server. A failure in mid-stream is a line `{"error": …}` within HTTP 200.
A pull has succeeded only if its last line has the status `success`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet.clients.http import (
    Cancel,
    HttpTransport,
    Response,
    Transport,
    TransportError,
    TransportTimeoutError,
)
from fleet.runtime.errors import OllamaAwayError, OllamaError, OllamaTimeoutError
from fleet.runtime.units import Bytes, Seconds, show_size
from fleet.runtime.untrusted import parse_json, whole_number

DEFAULT_URL = "http://127.0.0.1:11434"
_SHORT: Seconds = 5.0
_LONGEST_ANSWER = 4 * 1024**2
_NOT_OLLAMA = "Check that this is Ollama's address."
_START = "Start it, or correct [ollama] url or OLLAMA_HOST."
_DIED = "The runner or the connection died; see Ollama's log."
_RESUMES = "The next pull resumes it."


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that Ollama has: a row of `/api/tags`."""

    name: str
    size: Bytes
    digest: str = ""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory: a row of `/api/ps`; `size_vram` of `size` bytes are in GPU memory."""

    name: str
    size: Bytes
    size_vram: Bytes
    context_length: int | None = None


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """A model's details by `/api/show`: its weights' blob and the figures that its memory need is computed from.

    `format`: "gguf", or "safetensors" for the MLX engine, whose models have no blob of weights. `thinks`: the model lists
    the capability "thinking". `think_values` are the values of `think` that it accepts, None where the server is too old
    to list them.
    """

    blob: str | None
    info: Mapping[str, Any]
    family: str = ""
    format: str = ""
    thinks: bool = False
    think_values: Sequence[bool | str] | None = None


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One progress line of a pull: its status, and the completed bytes of the total."""

    status: str
    digest: str = ""
    completed: Bytes = 0
    total: Bytes = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished answer; `figures` are Ollama's token counts and nanoseconds."""

    text: str
    done_reason: str = ""
    figures: Mapping[str, int] = field(default_factory=dict)
    thinking: str = ""


def ollama_url(host: str) -> str:
    """Return the URL of an `OLLAMA_HOST` value in any of its forms.

    A bind address such as `0.0.0.0` means loopback for a client. The default port is 11434, or the scheme's own where
    the value has a scheme.
    """
    text = host.strip().strip("\"'")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    address, _, path = rest.partition("/")
    address = address.rpartition("@")[2]  # Ollama has no users; a password must not reach logs
    name, port = _host_and_port(address)
    if name in {"", "0.0.0.0", "::", "*"}:  # noqa: S104  # read as a bind address, never bound
        name = "127.0.0.1"
    default = {"http": 80, "https": 443}.get(scheme, 11434) if separator else 11434
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}:{port or default}" + (f"/{path.rstrip('/')}" if path.strip("/") else "")


def client_url(configured: str, environ: Mapping[str, str]) -> str:
    """Return Ollama's URL: the configured one, else that of `OLLAMA_HOST`, else the default."""
    return ollama_url(configured or environ.get("OLLAMA_HOST", ""))


def keep_alive_text(seconds: Seconds) -> str:
    """Return a duration for `keep_alive` in whole seconds, since Ollama's format has no exponents."""
    return f"{round(seconds)}s"


def _host_and_port(address: str) -> tuple[str, int | None]:
    if address.startswith("["):
        name, _, tail = address[1:].partition("]")
        return name, _port(tail.removeprefix(":"))
    if address.count(":") > 1:
        return address, None
    name, _, tail = address.partition(":")
    return name, _port(tail)


def _port(text: str) -> int | None:
    return int(text) if text.isdigit() and 0 < int(text) < 65536 else None  # noqa: PLR2004  # TCP's own bound


class Ollama:
    """One Ollama server. Every call raises OllamaError, OllamaAwayError or OllamaTimeoutError."""

    def __init__(
        self, url: str = DEFAULT_URL, transport: Transport | None = None, *, start: str = _START
    ) -> None:
        """Take the server's address, and in `start` the mend where nothing listens there."""
        self.url = url
        self._start = start
        self._transport = transport or HttpTransport(url)

    def version(self, *, timeout: Seconds = _SHORT, cancel: Cancel | None = None) -> str:
        """Return the server's version."""
        return str(self._ask("GET", "/api/version", None, timeout, cancel).get("version", ""))

    def tags(self, *, timeout: Seconds = _SHORT) -> list[LocalModel]:
        """Return the models on the server's disk."""
        return [
            LocalModel(_text(row, "name"), _size(row, "size"), _text(row, "digest"))
            for row in _rows(self._ask("GET", "/api/tags", None, timeout))
        ]

    def loaded(self, *, timeout: Seconds = _SHORT) -> list[LoadedModel]:
        """Return the models in memory, as listed by `/api/ps`, which includes a dead runner's."""
        return [
            LoadedModel(
                _text(row, "name"),
                _size(row, "size"),
                _size(row, "size_vram"),
                whole_number(row.get("context_length")),
            )
            for row in _rows(self._ask("GET", "/api/ps", None, timeout))
        ]

    def show(self, model: str, *, timeout: Seconds = _SHORT) -> ModelDetails:
        """Return a model's details; raise OllamaError with status 404 if the server does not have it."""
        row = self._ask("POST", "/api/show", {"model": model}, timeout)
        info = row.get("model_info")
        blobs = [
            line[5:].strip()
            for line in str(row.get("modelfile", "")).splitlines()
            if line.startswith("FROM ")
        ]
        digest = next((blob for blob in blobs if "sha256-" in blob), None)
        details, capabilities = row.get("details"), row.get("capabilities")
        return ModelDetails(
            None if digest is None else "sha256-" + digest.rsplit("sha256-", 1)[1],
            info if isinstance(info, dict) else {},
            family=_text(details, "family") if isinstance(details, dict) else "",
            format=_text(details, "format") if isinstance(details, dict) else "",
            thinks=isinstance(capabilities, list) and "thinking" in capabilities,
            think_values=_think_values(row.get("thinking")),
        )

    def unload(self, model: str, *, timeout: Seconds = 1.0, cancel: Cancel | None = None) -> None:
        """Ask the server to free a model's memory now."""
        self._ask("POST", "/api/generate", {"model": model, "keep_alive": 0}, timeout, cancel)

    def pull(
        self, model: str, *, progress: Callable[[PullProgress], None], stall: Seconds, cancel: Cancel
    ) -> None:
        """Pull a model, reporting to `progress`; raise OllamaError if it does not end in success.

        There is no total time-out, since a pull may take hours. `stall` bounds the wait for a line. With a stalled
        registry Ollama repeats the last line, so `progress` has to watch `completed`.
        """
        answer = self._send("POST", "/api/pull", {"model": model}, 60.0, cancel)
        last = ""
        for row in self._stream(answer, stall, _RESUMES):
            last = _text(row, "status")
            progress(PullProgress(last, _text(row, "digest"), _size(row, "completed"), _size(row, "total")))
        if last != "success":
            raise OllamaAwayError(f"the pull of {model} broke off", hint=_RESUMES)

    def generate(
        self, body: Mapping[str, Any], *, first_token: Seconds, stall: Seconds, cancel: Cancel | None = None
    ) -> Generation:
        """Stream `/api/generate` and return the whole answer.

        `first_token` bounds the wait for the first piece, which includes loading; `stall` bounds each later wait.
        """
        answer = self._send("POST", "/api/generate", {**body, "stream": True}, first_token, cancel)
        pieces: list[str] = []
        thoughts: list[str] = []
        length = 0
        for row in self._stream(answer, stall, _DIED):
            pieces.append(_text(row, "response"))
            thoughts.append(_text(row, "thinking"))
            length += len(pieces[-1]) + len(thoughts[-1])
            if length > _LONGEST_ANSWER:
                raise OllamaError(
                    f"{self.url} answered with more than {show_size(_LONGEST_ANSWER)}",
                    status=200,
                    hint=_NOT_OLLAMA,
                )
            if row.get("done") is True:
                figures = {
                    key: value for key, value in row.items() if isinstance(value, int) and key != "done"
                }
                return Generation("".join(pieces), _text(row, "done_reason"), figures, "".join(thoughts))
        raise OllamaAwayError("the answer broke off", hint=_DIED)

    def _ask(
        self, method: str, path: str, body: object, timeout: Seconds, cancel: Cancel | None = None
    ) -> dict[str, Any]:
        """Return the object of an answer; an empty `generate` streams a single one, which is read the same way."""
        answer = self._send(method, path, body, timeout, cancel)
        try:
            content = answer.read()
        except TransportError as error:
            raise self._translate(error, _DIED) from error
        return self._parse_object(content)

    def _send(
        self, method: str, path: str, body: object, timeout: Seconds, cancel: Cancel | None = None
    ) -> Response:
        try:
            answer = self._transport.request(method, path, body, timeout=timeout, cancel=cancel)
        except TransportError as error:
            raise self._translate(error, self._start) from error
        if answer.status >= 400:  # noqa: PLR2004  # HTTP's own bound of errors
            raise self._error_of(answer)
        return answer

    def _stream(self, answer: Response, stall: Seconds, broken: str) -> Iterator[dict[str, Any]]:
        """Yield the objects of an answer; `broken` is the hint where the connection ends within it."""
        try:
            for line in answer.lines(stall=stall):
                if line.strip():
                    yield self._parse_object(line)
        except TransportError as error:
            raise self._translate(error, broken) from error
        finally:
            answer.close()

    def _parse_object(self, content: bytes) -> dict[str, Any]:
        try:
            row = parse_json(content)
        except ValueError as error:
            raise OllamaError(f"the response of {self.url} is no JSON", hint=_NOT_OLLAMA) from error
        if not isinstance(row, dict):
            raise OllamaError(f"the response of {self.url} is no JSON object", hint=_NOT_OLLAMA)
        if "error" in row:
            raise OllamaError(error_text(row), status=200)
        return row

    def _error_of(self, answer: Response) -> OllamaError:
        try:
            content = answer.read()
            row = parse_json(content)
        except (TransportError, ValueError):
            return OllamaError(f"{self.url} answered {answer.status}", hint=_NOT_OLLAMA, status=answer.status)
        text = error_text(row) if isinstance(row, dict) else str(row)
        return OllamaError(text or f"HTTP {answer.status}", status=answer.status)

    def _translate(self, error: TransportError, hint: str) -> OllamaError:
        if isinstance(error, TransportTimeoutError):
            stopped = "Check whether it is stopped by a signal, or overloaded."
            return OllamaTimeoutError(f"Ollama at {self.url} did not answer in time: {error}", hint=stopped)
        return OllamaAwayError(f"no answer from Ollama at {self.url}: {error}", hint=hint)


def error_text(row: Mapping[str, Any]) -> str:
    """Return the text of an error object, also where an OpenAI-like object wraps it."""
    error = row.get("error")
    if isinstance(error, Mapping):
        error = error.get("message", error)
    return str(error)


def _rows(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    models = table.get("models")
    return [row for row in models if isinstance(row, dict)] if isinstance(models, list) else []


def _think_values(thinking: object) -> tuple[bool | str, ...] | None:
    values = thinking.get("values") if isinstance(thinking, dict) else None
    return tuple(one for one in values if isinstance(one, (bool, str))) if isinstance(values, list) else None


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _size(row: Mapping[str, Any], key: str) -> int:
    return max(whole_number(row.get(key)) or 0, 0)
