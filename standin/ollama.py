"""The stand-in Ollama as one object that starts and stops: for tests, and for `python -m standin`."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from standin.active_faults import FaultBoard
from standin.api import Api
from standin.dialects.base import Dialect
from standin.dialects.new import NewDialect
from standin.dialects.old import OldDialect
from standin.faults import Change, Fault
from standin.forms.log_text import Log
from standin.forms.requests import DEFAULT_CONTEXT
from standin.httpd import Exchange, Httpd
from standin.models import memory
from standin.models.model_store import ModelStore
from standin.models.specs import SEED_MODELS, ModelSpec
from standin.serving.generation import GenerateApi
from standin.serving.loading import Gpu, Loader
from standin.serving.scheduler import Scheduler
from standin.settings import Era, StandinSettings


class StandinOllama:
    """A stand-in in threads of this process.

    The stand-in listens from its creation on; a port of 0 takes a free one. It answers once started. A stop leaves
    neither thread nor socket behind. `log` gets each line without its end, one at a time.
    """

    def __init__(
        self,
        models: Iterable[ModelSpec] = SEED_MODELS,
        settings: StandinSettings | None = None,
        log: Callable[[str], None] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        settings = settings or StandinSettings()
        shelves = tuple(models)
        self._log = Log(log or _to_stderr)
        self._dialect = _dialect(settings.era)
        self._board = FaultBoard(settings.faults)
        self._shelf = ModelStore(shelves, settings.missing, settings.thinking)
        self._gpu = Gpu(settings.vram, settings.spill)
        self._gpu.whole = max([self._gpu.whole, *(2 * _size(spec, settings) for spec in shelves)])
        self._loader = Loader(
            settings=settings, gpu=self._gpu, dialect=self._dialect, log=self._log, board=self._board
        )
        self._scheduler = Scheduler(
            settings=settings, gpu=self._gpu, loader=self._loader, dialect=self._dialect, log=self._log
        )
        self._httpd = Httpd(host, port, self._answer)
        self._api = Api(
            settings=settings,
            shelf=self._shelf,
            gpu=self._gpu,
            scheduler=self._scheduler,
            board=self._board,
            generation=GenerateApi(
                settings=settings,
                shelf=self._shelf,
                scheduler=self._scheduler,
                board=self._board,
                log=self._log,
                dialect=self._dialect,
            ),
            log=self._log,
            version=self._dialect.version,
            leave=self._httpd.leave,
        )

    @property
    def url(self) -> str:
        """Return the server's address, such as `http://127.0.0.1:40741`."""
        return self._httpd.url

    def start(self) -> "StandinOllama":
        """Begin to answer; return the stand-in itself."""
        models = len(self._shelf.listed())
        self._log.say(self._dialect.server_starts(self.url, models=models, total=self._gpu.card))
        self._httpd.start()
        return self

    def stop(self) -> None:
        """Stop answering: close the port and every connection."""
        self._httpd.close()
        self._loader.close()

    def apply(self, *entries: Fault | Change) -> None:
        """Put faults in force or change the server, as `POST /standin/faults` does; raise ValueError."""
        self._api.apply(list(entries))

    def clear(self) -> None:
        """Lift all faults and release the requests that they held."""
        self._board.clear()

    def _answer(self, exchange: Exchange) -> None:
        self._api(exchange)


def _dialect(era: Era) -> Dialect:
    return NewDialect() if era is Era.NEW else OldDialect()


def _size(spec: ModelSpec, settings: StandinSettings) -> int:
    return memory.need(spec, num_ctx=DEFAULT_CONTEXT, parallel=settings.parallel).total


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def standin(
    models: Iterable[ModelSpec] = SEED_MODELS,
    settings: StandinSettings | None = None,
    log: Callable[[str], None] | None = None,
) -> Iterator[StandinOllama]:
    """Run a stand-in for the length of a `with` block; without `log` its lines are thrown away."""
    server = StandinOllama(models, settings, log or (lambda _: None)).start()
    try:
        yield server
    finally:
        server.stop()
