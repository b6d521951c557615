"""`/api/pull`: the progress of a pull as a stream of rows, with the faults in force.

The generator of rows knows no HTTP; it waits through `wait` and breaks off with its own error. A pull that ends early
keeps its bytes, and the next one resumes there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from fleet.runtime.units import Bytes, Seconds
from standin.active_faults import FaultBoard
from standin.faults import PULL_KINDS, Fault, FaultKind
from standin.httpd import Wait
from standin.models.model_store import ModelStore
from standin.models.specs import BLOBS, REGISTRY, Layer, ModelSpec

_TICK: Seconds = 0.06
_TICKS = 20
_RETRIES: Seconds = 60.0


class PullError(Exception):
    """The pull failed; the text is Ollama's."""


class PullBrokenError(Exception):
    """The server breaks the connection off."""


@dataclass(frozen=True, slots=True)
class Address:
    """The place of a model's manifest, as a pull's errors name it."""

    scheme: str
    host: str
    path: str

    @property
    def url(self) -> str:
        """Return the manifest's address."""
        return f"{self.scheme}://{self.host}/v2/{self.path}"


def address_of(name: str, *, insecure: bool) -> Address:
    """Return the address of a model's manifest."""
    path, _, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, "", "latest")
    parts = path.split("/")
    host = parts.pop(0) if len(parts) > 2 else REGISTRY  # noqa: PLR2004  # host, namespace, model
    rest = "/".join(parts if len(parts) > 1 else ["library", *parts])
    return Address("http" if insecure else "https", host, f"{rest}/manifests/{tag}")


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull: its model and its pace."""

    name: str
    insecure: bool
    shelf: ModelStore
    board: FaultBoard
    pace: float
    wait: Wait

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the stream; raise PullError, PullBrokenError, or what `wait` raises."""
        yield {"status": "pulling manifest"}
        fault = self.board.take(*PULL_KINDS, model=self.name)
        spec = self._manifest(fault)
        weights, *rest = spec.blobs
        yield from self._layer(weights, fault)
        for layer in rest:
            yield from self._layer(layer, None)
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        self.shelf.add(self.name, replace(spec, name=self.name))
        yield {"status": "success"}

    def _manifest(self, fault: Fault | None) -> ModelSpec:
        address = address_of(self.name, insecure=self.insecure)
        reasons = {
            FaultKind.PULL_REFUSED: f"dial tcp {address.host}: connect: connection refused",
            FaultKind.PULL_NO_NETWORK: f"dial tcp: lookup {address.host} on 127.0.0.11:53: no such host",
        }
        if fault is not None and fault.kind in reasons:
            raise PullError(f'pull model manifest: Get "{address.url}": {reasons[fault.kind]}')
        spec = self.shelf.offered(self.name)
        if spec is None:
            raise PullError("pull model manifest: file does not exist")
        return spec

    def _layer(self, layer: Layer, fault: Fault | None) -> Iterator[dict[str, Any]]:
        """Yield a layer's progress, from where an earlier pull left it."""
        here = self.shelf.find(self.name) is not None
        done = layer.size if here else min(layer.size, self.shelf.partial.get(layer.digest, 0))
        step = max(1, layer.size // _TICKS)
        limit = layer.size if fault is None else max(done, int(layer.size * fault.share))
        while done < layer.size:
            self.wait(_TICK * self.pace)
            done = min(layer.size, done + step)
            self.shelf.partial[layer.digest] = done
            if fault is not None and done >= limit:
                yield from self._trouble(layer, fault, done)
                fault = None
            if done < layer.size:
                yield _progress(layer, done)
        yield _progress(layer, layer.size)

    def _trouble(self, layer: Layer, fault: Fault, done: Bytes) -> Iterator[dict[str, Any]]:
        row = _progress(layer, done)
        yield row
        if fault.kind is FaultKind.PULL_STALL:
            before = self.board.cleared
            yield from self._same(row, lambda: self.board.cleared == before)
        elif fault.kind is FaultKind.PULL_BREAKS:
            raise PullBrokenError
        elif fault.kind is FaultKind.PULL_DISK_FULL:
            raise PullError(f"write {BLOBS}/sha256-{layer.digest}-partial-0: no space left on device")
        elif fault.kind is FaultKind.PULL_DIES:
            yield from self._dying(layer, fault, row)

    def _dying(self, layer: Layer, fault: Fault, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        left = int((_RETRIES * self.pace if fault.seconds is None else fault.seconds) / _TICK) + 3
        for _ in range(left):
            self.wait(_TICK if fault.seconds else _TICK * self.pace)
            yield row
        place = f"http://blobs.example/v2/blobs/sha256/{layer.digest[:2]}/{layer.digest}/data"
        reason = "dial tcp 127.0.0.2:80: connect: connection refused"
        raise PullError(f'max retries exceeded: Get "{place}": {reason}')

    def _same(self, row: dict[str, Any], goes_on: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        while goes_on():
            self.wait(_TICK)
            yield row


def _progress(layer: Layer, done: Bytes) -> dict[str, Any]:
    return {
        "status": f"pulling {layer.digest[:12]}",
        "digest": f"sha256:{layer.digest}",
        "total": layer.size,
        "completed": done,
    }
