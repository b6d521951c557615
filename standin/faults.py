"""The faults of a stand-in Ollama.

`POST /standin/faults` takes one fault, or a list of them. `GET` shows the faults in force. `DELETE`, or a POST of
`{"clear": true}`, lifts all and releases the requests that they hold. `FLEET_STANDIN_FAULTS` takes the same JSON for a
whole run. A fault is an object with a `kind` and, all optional:

- `times`: how often it happens; without it, until it is cleared;
- `skip`: how many requests that it could meet are spared first;
- `model`, `path`: only requests for this model, only this path (`"/api/generate"`).

| kind | what happens | its own keys |
|---|---|---|
| `refuse` | the connection is reset as soon as the request is read | |
| `away` | nothing listens on the port, at once and for `seconds` | `seconds` (1) |
| `stall` | the request is accepted and not answered | |
| `error` | the request is answered with an error | `status` (503), `text` |
| `slow` | answers come slowly | `first` and `each`: seconds before the first and every token |
| `stall_stream` | the answer stops after some tokens | `after` (3) |
| `break` | the connection is cut after some tokens | `after` (3) |
| `rubbish` | the reply is none that was asked for | `what`: `text`, `cut`, `schema`, `nested`, `html` |
| `die` | the runner dies after some tokens (the new log reports it at the next request) | `after` (3) |
| `oom` | GPU memory runs out after some tokens | `after` (3) |
| `fail_load` | the load fails, whatever the budget | `cause`: `gpu`, `host` |
| `hang_load` | the load never ends, nor does any after it | |
| `pull_refused` | the registry refuses the connection | |
| `pull_no_network` | the registry's name cannot be resolved | |
| `pull_stall` | after `share` of the pull the same line comes again and again | `share` (0.2) |
| `pull_dies` | the same for `seconds`, then the error | `share`, `seconds` (60 at pace 1) |
| `pull_disk_full` | the disk is full after `share` of the pull | `share` |
| `pull_breaks` | the connection is cut after `share` of the pull | `share` |

Four more change the server at once: `{"kind": "vram", "size": "1.0 GB"}` and `{"kind": "spill", "on": true}`.
`{"kind": "add_model", "model": NAME, "size": "637 MB"}` and `{"kind": "remove_model", "model": NAME}` change its
models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from fleet.runtime.units import Bytes, Seconds, parse_size


class FaultKind(Enum):
    """The kinds of faults; the table above has their effects."""

    REFUSE = "refuse"
    AWAY = "away"
    STALL = "stall"
    ERROR = "error"
    SLOW = "slow"
    STALL_STREAM = "stall_stream"
    BREAK = "break"
    RUBBISH = "rubbish"
    DIE = "die"
    OOM = "oom"
    FAIL_LOAD = "fail_load"
    HANG_LOAD = "hang_load"
    PULL_REFUSED = "pull_refused"
    PULL_NO_NETWORK = "pull_no_network"
    PULL_STALL = "pull_stall"
    PULL_DIES = "pull_dies"
    PULL_DISK_FULL = "pull_disk_full"
    PULL_BREAKS = "pull_breaks"


PULL_KINDS = tuple(kind for kind in FaultKind if kind.value.startswith("pull_"))
_WHATS = ("text", "cut", "schema", "nested", "html")
_CAUSES = ("gpu", "host")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and the requests it meets. Keys that its kind lacks keep their defaults."""

    kind: FaultKind
    times: int | None = None
    skip: int = 0
    model: str = ""
    path: str = ""
    after: int = 3
    seconds: Seconds | None = None
    first: Seconds = 0.0
    each: Seconds = 0.0
    share: float = 0.2
    what: str = "text"
    cause: str = "gpu"
    status: int = 503
    text: str = "server busy, please try again.  maximum pending requests exceeded"


@dataclass(frozen=True, slots=True)
class SetVram:
    """Change the free GPU memory."""

    size: Bytes


@dataclass(frozen=True, slots=True)
class SetSpill:
    """Change whether models spill."""

    on: bool


@dataclass(frozen=True, slots=True)
class AddModel:
    """Put a model on the server's disk; without a size, the registry's."""

    model: str
    size: Bytes | None


@dataclass(frozen=True, slots=True)
class RemoveModel:
    """Take a model off the server's disk; the registry keeps it."""

    model: str


Change: TypeAlias = SetVram | SetSpill | AddModel | RemoveModel


def _whole(value: object, least: int = 0, most: int = 10**6) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"a whole number from {least} to {most} is allowed")
    return value


def _number(value: object, most: float = 10**6) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"a number from 0 to {most:g} is allowed")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text is allowed")  # noqa: TRY004  # one kind of error for all bad values
    return value


def _one_of(words: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{', '.join(words)} are allowed")
        return value

    return read


def _status(value: object) -> int:
    return _whole(value, 400, 599)


_EVERY: dict[str, Callable[[object], object]] = {
    "times": lambda value: _whole(value, 1),
    "skip": _whole,
    "model": _text,
    "path": _text,
}
_AFTER: dict[str, Callable[[object], object]] = {"after": _whole}
_SHARE: dict[str, Callable[[object], object]] = {"share": lambda value: _number(value, 1)}
_OWN: dict[FaultKind, dict[str, Callable[[object], object]]] = {
    FaultKind.AWAY: {"seconds": _number},
    FaultKind.ERROR: {"status": _status, "text": _text},
    FaultKind.SLOW: {"first": _number, "each": _number},
    FaultKind.STALL_STREAM: _AFTER,
    FaultKind.BREAK: _AFTER,
    FaultKind.RUBBISH: {"what": _one_of(_WHATS)},
    FaultKind.DIE: _AFTER,
    FaultKind.OOM: _AFTER,
    FaultKind.FAIL_LOAD: {"cause": _one_of(_CAUSES)},
    FaultKind.PULL_STALL: _SHARE,
    FaultKind.PULL_DIES: {**_SHARE, "seconds": _number},
    FaultKind.PULL_DISK_FULL: _SHARE,
    FaultKind.PULL_BREAKS: _SHARE,
}


def parse_faults(document: object) -> list[Fault]:
    """Return the faults of a JSON document; raise ValueError with the allowed values."""
    found = parse(document)
    faults = [entry for entry in found if isinstance(entry, Fault)]
    if len(faults) < len(found):
        raise ValueError("only faults are allowed here, no changes of the server")
    return faults


def parse(document: object) -> list[Fault | Change]:
    """Return the faults and changes of a JSON document; raise ValueError as `parse_faults` does."""
    rows = document if isinstance(document, list) else [document]
    return [_entry(row, f"fault {place}") for place, row in enumerate(rows, 1)]


def _entry(row: object, where: str) -> Fault | Change:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: an object with a kind is allowed, not {row!r}")  # noqa: TRY004
    kind = row.get("kind")
    rest = {key: value for key, value in row.items() if key != "kind"}
    if isinstance(kind, str) and kind in _CHANGES:
        needed, make = _CHANGES[kind]
        return make(_values(rest, needed, f"{where} ({kind})"))
    known = [each.value for each in FaultKind]
    if kind not in known:
        raise ValueError(f"{where}: kind {kind!r} is not known; {', '.join([*known, *_CHANGES])} are")
    found = FaultKind(kind)
    values: dict[str, Any] = _values(rest, _EVERY | _OWN.get(found, {}), f"{where} ({found.value})")
    return Fault(found, **values)


def _values(
    row: dict[str, object], readers: dict[str, Callable[[object], object]], where: str
) -> dict[str, Any]:
    values = {}
    for key, value in row.items():
        if key not in readers:
            raise ValueError(f"{where}: there is no key {key!r}; {', '.join(readers)} are known")
        try:
            values[key] = readers[key](value)
        except ValueError as error:
            raise ValueError(f"{where}: {key}={value!r}: {error}") from None
    return values


def _size(value: object) -> Bytes:
    return parse_size(value) if isinstance(value, str) else _whole(value, 0, 10**15)


def _yes(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is allowed")  # noqa: TRY004  # one kind of error for all bad values
    return value


def _required(values: dict[str, Any], key: str) -> Any:
    if key not in values:
        raise ValueError(f"the key {key} is missing")
    return values[key]


_CHANGES: dict[str, tuple[dict[str, Callable[[object], object]], Callable[[dict[str, Any]], Change]]] = {
    "vram": ({"size": _size}, lambda row: SetVram(_required(row, "size"))),
    "spill": ({"on": _yes}, lambda row: SetSpill(_required(row, "on"))),
    "add_model": (
        {"model": _text, "size": _size},
        lambda row: AddModel(_required(row, "model"), row.get("size")),
    ),
    "remove_model": ({"model": _text}, lambda row: RemoveModel(_required(row, "model"))),
}
