"""Opens the source that a spec names: `docker:NAME | file:PATH | journal:UNIT`."""

import importlib
import re
import sys
import warnings
from collections.abc import Callable

from fleet.runtime.clock import Clock, SystemClock
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import expanded
from monitor.sources.base import Keep, LogSource, Since, keep_all

_GUESSERS = ("chardet", "charset_normalizer")
_HINT = "Write docker:NAME for a container, file:PATH for a file, journal:UNIT for a systemd unit."
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]{0,254}")


def open_source(
    spec: str, *, keep: Keep = keep_all, since: Since = None, clock: Clock | None = None
) -> LogSource:
    """Return the source that a spec names; it opens nothing before `items` is iterated.

    Raises ConfigError for an invalid spec. docker-py is imported only for a container.
    """
    kind, colon, target = spec.strip().partition(":")
    opener = _OPENERS.get(kind)
    if not colon or opener is None:
        raise ConfigError(f"the log source {spec!r} is of an unknown kind", hint=_HINT)
    if not target or "\0" in target:
        raise ConfigError(f"the log source {spec!r} names no log", hint=_HINT)
    if isinstance(since, str) and since != "start":
        raise ConfigError(f"since {since!r} is no time", hint='Use "start" or Unix seconds.')
    return opener(target, keep, since, clock or SystemClock())


def _open_file(target: str, keep: Keep, since: Since, clock: Clock) -> LogSource:
    from monitor.sources.file.source import FileSource  # noqa: PLC0415  # each kind loads only what it needs

    return FileSource(expanded(target), keep=keep, since=since, clock=clock)


def _open_docker(target: str, keep: Keep, since: Since, clock: Clock) -> LogSource:
    if not _CONTAINER.fullmatch(target):
        raise ConfigError(f"{target!r} cannot be a container's name", hint=_HINT)
    _import_requests()
    from monitor.sources.docker.source import DockerSource  # noqa: PLC0415  # docker-py takes 100 ms and 15 MB

    return DockerSource(target, keep=keep, since=since, clock=clock)


def _import_requests() -> None:
    """Import requests as if no library that guesses encodings were installed; their tables take 5 to 10 MB.

    The Engine answers in JSON or bytes: no encoding is guessed. A later import of such a library works.
    """
    if "requests" in sys.modules:
        return
    hidden = [name for name in _GUESSERS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None means "not found" there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # requests warns of its absence
            importlib.import_module("requests")
    finally:
        for name in hidden:
            del sys.modules[name]


def _open_journal(target: str, keep: Keep, since: Since, clock: Clock) -> LogSource:
    if not _UNIT.fullmatch(target):
        raise ConfigError(f"{target!r} cannot be a systemd unit's name", hint=_HINT)
    from monitor.sources.journal.source import JournalSource  # noqa: PLC0415  # as above

    return JournalSource(target, keep=keep, since=since, clock=clock)


_OPENERS: dict[str, Callable[[str, Keep, Since, Clock], LogSource]] = {
    "docker": _open_docker,
    "file": _open_file,
    "journal": _open_journal,
}
