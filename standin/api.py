"""Routes of the stand-in Ollama: faults first, then the handler, errors and the access log."""

import json
import time
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from standin.active_faults import FaultBoard
from standin.faults import AddModel, Change, Fault, FaultKind, RemoveModel, SetSpill, SetVram, parse
from standin.forms.go_format import timestamp
from standin.forms.log_text import Log
from standin.forms.requests import ApiError, decode, flag_of, model_of
from standin.httpd import NDJSON, ClientGoneError, Exchange
from standin.models.model_store import ModelStore
from standin.models.specs import ModelSpec, details, show_body, spec_for, tags_row
from standin.serving.generation import GenerateApi
from standin.serving.loading import Gpu
from standin.serving.pulls import Pull, PullBrokenError, PullError
from standin.serving.scheduler import Runner, Scheduler
from standin.settings import Era, StandinSettings, model_name

_PLAIN = "text/plain"
_TEXT = "text/plain; charset=utf-8"
_ADMIN = "/standin/faults"
_CLIENT_CLOSED = 499


class Api:
    """Answers one request after the other, from as many threads as there are connections."""

    def __init__(
        self,
        *,
        settings: StandinSettings,
        shelf: ModelStore,
        gpu: Gpu,
        scheduler: Scheduler,
        board: FaultBoard,
        generation: GenerateApi,
        log: Log,
        version: str,
        leave: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._shelf = shelf
        self._gpu = gpu
        self._scheduler = scheduler
        self._board = board
        self._log = log
        self._version = version
        self._leave = leave
        self._routes: Mapping[str, Mapping[str, Callable[[Exchange], None]]] = {
            "/": {"GET": self._root, "HEAD": self._root},
            "/api/version": {"GET": self._tell_version, "HEAD": self._tell_version},
            "/api/tags": {"GET": self._tags, "HEAD": self._tags},
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            "/api/pull": {"POST": self._pull},
            "/api/delete": {"DELETE": self._delete},
            "/api/generate": {"POST": generation.generate},
            "/api/chat": {"POST": generation.chat},
            _ADMIN: {"GET": self._faults, "POST": self._set_faults, "DELETE": self._clear_faults},
        }

    def __call__(self, exchange: Exchange) -> None:
        """Answer a request and write its line into the access log."""
        began = time.monotonic_ns()
        try:
            self._guarded(exchange)
        except ClientGoneError:
            exchange.status = exchange.status or _CLIENT_CLOSED
            raise
        finally:
            if exchange.path != _ADMIN and not exchange.quiet:
                self._log.access(
                    status=exchange.status,
                    latency_ns=time.monotonic_ns() - began,
                    client=exchange.client,
                    method=exchange.method,
                    path=exchange.path,
                )

    def _guarded(self, exchange: Exchange) -> None:
        try:
            if exchange.path != _ADMIN:
                self._first(exchange)
            self._routed(exchange)
        except ApiError as error:
            row = {"error": error.text}
            if exchange.streaming:
                exchange.line(row)
            else:
                exchange.json(row, status=error.status)

    def _first(self, exchange: Exchange) -> None:
        """Apply the faults that meet a request before its route."""
        model = _named(exchange.body) if self._board.shown() else ""
        if self._board.take(FaultKind.REFUSE, model=model, path=exchange.path):
            exchange.quiet = True
            exchange.cut()
        if self._board.take(FaultKind.STALL, model=model, path=exchange.path):
            exchange.quiet = True
            before = self._board.cleared
            while self._board.cleared == before:
                exchange.wait(0.05)
            exchange.quiet = False
        error = self._board.take(FaultKind.ERROR, model=model, path=exchange.path)
        if error is not None:
            raise ApiError(error.status, error.text)

    def _routed(self, exchange: Exchange) -> None:
        methods = self._routes.get(exchange.path)
        if methods is None:
            exchange.send(404, _PLAIN, b"404 page not found")
        elif exchange.method not in methods:
            exchange.send(405, _PLAIN, b"405 method not allowed")
        else:
            methods[exchange.method](exchange)

    def _root(self, exchange: Exchange) -> None:
        exchange.send(200, _TEXT, b"Ollama is running")

    def _tell_version(self, exchange: Exchange) -> None:
        exchange.json({"version": self._version})

    def _tags(self, exchange: Exchange) -> None:
        exchange.json(
            {
                "models": [
                    tags_row(spec, since, self._capabilities(spec)) for spec, since in self._shelf.listed()
                ]
            }
        )

    def _ps(self, exchange: Exchange) -> None:
        rows = sorted(self._scheduler.listed(), key=lambda each: -each[1])
        exchange.json({"models": [_ps_row(runner, left) for runner, left in rows]})

    def _show(self, exchange: Exchange) -> None:
        name = model_of(decode(exchange.body))
        if not name:
            raise ApiError(400, "model is required")
        found = self._shelf.find(name)
        if found is None:
            raise ApiError(404, f"model '{name}' not found")
        spec, since = found
        exchange.json(show_body(spec, since, self._capabilities(spec)))

    def _capabilities(self, spec: ModelSpec) -> list[str]:
        """Return the capabilities that the server lists of a model; an old server does not know thinking."""
        return spec.capabilities if self._settings.era is Era.NEW else ["completion"]

    def _delete(self, exchange: Exchange) -> None:
        name = model_of(decode(exchange.body))
        if not self._shelf.remove(name):
            raise ApiError(404, f"model '{name}' not found")
        exchange.send(200, _PLAIN, b"")

    def _pull(self, exchange: Exchange) -> None:
        body = decode(exchange.body)
        try:
            name = model_name(model_of(body))
        except ValueError:
            raise ApiError(400, "invalid model name") from None
        insecure = flag_of(body, "insecure", default=False)
        pull = Pull(name, insecure, self._shelf, self._board, self._settings.pace, exchange.wait)
        try:
            (self._pull_stream if flag_of(body, "stream", default=True) else self._pull_once)(exchange, pull)
        except PullBrokenError:
            exchange.cut()

    def _pull_stream(self, exchange: Exchange, pull: Pull) -> None:
        try:
            for row in pull.rows():
                exchange.line(row, content_type=NDJSON)
        except PullError as error:
            exchange.line({"error": str(error)})

    def _pull_once(self, exchange: Exchange, pull: Pull) -> None:
        try:
            *_, last = pull.rows()
            exchange.json(last, content_type="application/json")
        except PullError as error:
            exchange.json({"error": str(error)}, status=500, content_type="application/json")

    def _faults(self, exchange: Exchange) -> None:
        exchange.json(
            {
                "faults": self._board.shown(),
                "vram": self._gpu.vram,
                "spill": self._gpu.spill,
                "models": [spec.name for spec, _ in self._shelf.listed()],
            }
        )

    def _clear_faults(self, exchange: Exchange) -> None:
        self._board.clear()
        self._faults(exchange)

    def _set_faults(self, exchange: Exchange) -> None:
        try:
            document = json.loads(exchange.body)
            if document == {"clear": True}:
                self._board.clear()
            else:
                self.apply(parse(document))
        except (ValueError, RecursionError) as error:
            raise ApiError(400, str(error)) from error
        self._faults(exchange)

    def apply(self, entries: list[Fault | Change]) -> None:
        """Put faults in force and make changes; raise ValueError, without any change, if one is impossible."""
        changes = list(chain.from_iterable(self._change(entry) for entry in entries))
        for change in changes:
            change()

    def _change(self, entry: Fault | Change) -> list[Callable[[], object]]:
        match entry:
            case SetVram(size=free):
                return [lambda: setattr(self._gpu, "vram", free)]
            case SetSpill(on):
                return [lambda: setattr(self._gpu, "spill", on)]
            case RemoveModel(model):
                return [lambda: self._shelf.remove(model)]
            case AddModel(model, size):
                name = model_name(model)
                spec = self._shelf.offered(name) if size is None else spec_for(name, size)
                if spec is None:
                    raise ValueError(f"the registry has no {model!r}; give its size")
                return [lambda: self._shelf.add(name, spec)]
            case Fault(kind=FaultKind.AWAY, seconds=seconds):
                return [lambda: self._leave(1.0 if seconds is None else seconds)]
            case Fault():
                return [lambda: self._board.add([entry])]


def _named(body: bytes) -> str:
    try:
        return model_of(decode(body))
    except ApiError:
        return ""


def _ps_row(runner: Runner, left: float) -> dict[str, Any]:
    spec, need = runner.spec, runner.load.need
    until = time.time_ns() + int(min(left, 9e9) * 10**9)
    return {
        "name": spec.name,
        "model": spec.name,
        "size": need.total,
        "digest": spec.digest,
        "details": details(spec),
        "expires_at": timestamp(until),
        "size_vram": need.gpu,
        "context_length": runner.load.num_ctx,
    }
