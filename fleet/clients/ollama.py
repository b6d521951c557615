"""A client of Ollama's REST API: what the fleet needs of it, with our errors.

Shapes and texts were recorded from a real server; a failure in mid-stream arrives as a line
`{"error": …}` inside HTTP 200, and a pull has succeeded only if its last line says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet.clients.http import Answer, Cancel, HttpWire, Wire, WireError, WireTimeoutError
from fleet.runtime.errors import OllamaAwayError, OllamaError, OllamaTimeoutError
from fleet.runtime.units import Bytes, Seconds
from fleet.runtime.untrusted import parse_json, whole_number

DEFAULT_URL = "http://127.0.0.1:11434"
_SHORT: Seconds = 5.0
_LONGEST_ANSWER = 4 * 1024**2


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
    """What `/api/show` says of a model: its weights' blob and the figures its memory follows from.

    `thinks`: it lists the capability. `think_values` are the values of `think` that the model takes, None where
    the server is too old to list them.
    """

    blob: str | None
    info: Mapping[str, Any]
    family: str = ""
    thinks: bool = False
    think_values: Sequence[bool | str] | None = None


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One line of a pull: what is done now, and how many bytes of how many."""

    status: str
    digest: str = ""
    completed: Bytes = 0
    total: Bytes = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished answer; token counts and nanoseconds are Ollama's own."""

    text: str
    done_reason: str = ""
    figures: Mapping[str, int] = field(default_factory=dict)
    thinking: str = ""


def ollama_url(host: str) -> str:
    """Return the address that `OLLAMA_HOST` means in any of its forms.

    A bind address such as `0.0.0.0` means loopback to a client; the port is 11434 unless given, or the
    scheme's own where a scheme is given without a port.
    """
    text = host.strip().strip("\"'")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    address, _, path = rest.partition("/")
    address = address.rpartition("@")[2]  # no Ollama asks for a user, and a password is nobody's to read
    name, port = _host_and_port(address)
    if name in {"", "0.0.0.0", "::", "*"}:  # noqa: S104  # read as a bind address, never bound
        name = "127.0.0.1"
    default = {"http": 80, "https": 443}.get(scheme, 11434) if separator else 11434
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}:{port or default}" + (f"/{path.rstrip('/')}" if path.strip("/") else "")


def client_url(configured: str, environ: Mapping[str, str]) -> str:
    """Return where Ollama is: the configured address, else what `OLLAMA_HOST` means, else the default."""
    return ollama_url(configured or environ.get("OLLAMA_HOST", ""))


def alive_for(seconds: Seconds) -> str:
    """Return a time as Ollama reads it in `keep_alive`: whole seconds, for it knows no exponents."""
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
    """One Ollama server. Every call raises OllamaError, or its kinds for a server away or late."""

    def __init__(self, url: str = DEFAULT_URL, wire: Wire | None = None) -> None:
        self.url = url
        self._wire = wire or HttpWire(url)

    def version(self, *, timeout: Seconds = _SHORT) -> str:
        """Return the server's version."""
        return str(self._get("/api/version", timeout).get("version", ""))

    def tags(self, *, timeout: Seconds = _SHORT) -> list[LocalModel]:
        """Return the models that the server has on its disk."""
        return [
            LocalModel(_text(row, "name"), _number(row, "size"), _text(row, "digest"))
            for row in _rows(self._get("/api/tags", timeout))
        ]

    def loaded(self, *, timeout: Seconds = _SHORT) -> list[LoadedModel]:
        """Return the models in memory, as `/api/ps` lists them (a dead runner's too)."""
        return [
            LoadedModel(
                _text(row, "name"),
                _number(row, "size"),
                _number(row, "size_vram"),
                whole_number(row.get("context_length")),
            )
            for row in _rows(self._get("/api/ps", timeout))
        ]

    def show(self, model: str, *, timeout: Seconds = _SHORT) -> ModelDetails:
        """Return a model's details; an OllamaError with status 404 says that it is not here."""
        row = self._post("/api/show", {"model": model}, timeout)
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
            thinks=isinstance(capabilities, list) and "thinking" in capabilities,
            think_values=_think_values(row.get("thinking")),
        )

    def unload(self, model: str, *, timeout: Seconds = 1.0, cancel: Cancel | None = None) -> None:
        """Ask the server to free a model's memory now."""
        self._post("/api/generate", {"model": model, "keep_alive": 0}, timeout, cancel)

    def pull(
        self, model: str, *, progress: Callable[[PullProgress], None], stall: Seconds, cancel: Cancel
    ) -> None:
        """Pull a model, telling its progress; raise OllamaError if it does not end in success.

        There is no total time-out, since a pull may take hours. `stall` bounds the silence of the stream; a
        registry that stalls goes on repeating the last line, so that `progress` has to watch `completed`.
        """
        answer = self._send("POST", "/api/pull", {"model": model}, 60.0, cancel)
        last = ""
        for row in self._stream(answer, stall):
            last = _text(row, "status")
            progress(
                PullProgress(last, _text(row, "digest"), _number(row, "completed"), _number(row, "total"))
            )
        if last != "success":
            raise OllamaAwayError(f"the pull of {model} broke off", hint="Ollama resumes it where it stood.")

    def generate(
        self, body: Mapping[str, Any], *, first_token: Seconds, stall: Seconds, cancel: Cancel | None = None
    ) -> Generation:
        """Run `/api/generate` as a stream and return the whole answer.

        `first_token` bounds the wait for the first piece (loading included), `stall` the waits after it.
        """
        answer = self._send("POST", "/api/generate", {**body, "stream": True}, first_token, cancel)
        pieces: list[str] = []
        thoughts: list[str] = []
        length = 0
        for row in self._stream(answer, stall):
            pieces.append(_text(row, "response"))
            thoughts.append(_text(row, "thinking"))
            length += len(pieces[-1]) + len(thoughts[-1])
            if length > _LONGEST_ANSWER:
                raise OllamaError(f"{self.url} answered without end", status=200, hint="Is it Ollama?")
            if row.get("done") is True:
                figures = {
                    key: value for key, value in row.items() if isinstance(value, int) and key != "done"
                }
                return Generation("".join(pieces), _text(row, "done_reason"), figures, "".join(thoughts))
        raise OllamaAwayError(
            "the answer broke off", hint="The runner or the connection died; see Ollama's log."
        )

    def _get(self, path: str, timeout: Seconds) -> dict[str, Any]:
        return self._object(self._send("GET", path, None, timeout))

    def _post(
        self, path: str, body: object, timeout: Seconds, cancel: Cancel | None = None
    ) -> dict[str, Any]:
        # Without "stream": false an empty generate answers as a stream of one object, which reads the same.
        return self._object(self._send("POST", path, body, timeout, cancel))

    def _send(
        self, method: str, path: str, body: object, timeout: Seconds, cancel: Cancel | None = None
    ) -> Answer:
        try:
            answer = self._wire.request(method, path, body, timeout=timeout, cancel=cancel)
        except WireError as error:
            raise self._translated(error) from error
        if answer.status >= 400:  # noqa: PLR2004  # HTTP's own bound of errors
            raise self._refusal(answer)
        return answer

    def _object(self, answer: Answer) -> dict[str, Any]:
        try:
            content = answer.read()
        except WireError as error:
            raise self._translated(error) from error
        return self._row(content)

    def _stream(self, answer: Answer, stall: Seconds) -> Iterator[dict[str, Any]]:
        try:
            for line in answer.lines(stall=stall):
                if line.strip():
                    yield self._row(line)
        except WireError as error:
            raise self._translated(error) from error
        finally:
            answer.close()

    def _row(self, content: bytes) -> dict[str, Any]:
        try:
            row = parse_json(content)
        except ValueError as error:
            raise OllamaError(f"{self.url} answered what is no JSON", hint="Is it Ollama?") from error
        if not isinstance(row, dict):
            raise OllamaError(f"{self.url} answered no object", hint="Is it Ollama?")
        if "error" in row:
            raise OllamaError(error_text(row), status=200)
        return row

    def _refusal(self, answer: Answer) -> OllamaError:
        try:
            content = answer.read()
            row = parse_json(content)
        except (WireError, ValueError):
            return OllamaError(f"{self.url} answered {answer.status}", status=answer.status)
        text = error_text(row) if isinstance(row, dict) else str(row)
        return OllamaError(text or f"HTTP {answer.status}", status=answer.status)

    def _translated(self, error: WireError) -> OllamaError:
        if isinstance(error, WireTimeoutError):
            hint = "Is it stopped by a signal, or overloaded?"
            return OllamaTimeoutError(f"Ollama at {self.url} did not answer in time: {error}", hint=hint)
        return OllamaAwayError(
            f"Ollama at {self.url} is away: {error}", hint="Start it, or correct [ollama] url or OLLAMA_HOST."
        )


def error_text(row: Mapping[str, Any]) -> str:
    """Return the text of an error object, also of the OpenAI-like form that wraps it once more."""
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


def _number(row: Mapping[str, Any], key: str) -> int:
    return whole_number(row.get(key)) or 0
