"""The locked store of the state file.

Writers hold a file lock. A write is durable and atomic, and the last good file stays as `.bak`. Readers take no lock. A
damaged file is set aside as `*.corrupt-<time>`: no damaged file is lost or causes a crash loop.

A write's events are appended to the history after it, or at the next write if a crash came between. Their numbers make
that exactly once. The state keeps the events until the history is flushed to the disk. A write with new events does
not wait for that flush while the state holds few.
"""

import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fleet.config.ladder import Ladder
from fleet.policy.events import EventKind
from fleet.policy.state import FleetState
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.clock import Clock, SystemClock
from fleet.runtime.errors import StateError
from fleet.runtime.home import Home
from fleet.runtime.logging import with_command_sentence
from fleet.runtime.units import Seconds
from state.codec import StateFormatError, decode_state, default_state, encode_state
from state.history import HistoryFile
from state.refit import fit_to_ladder

_log = logging.getLogger(__name__)
_MAX_EVENTS = 64
"""Events in the state above which a write with new events flushes the history too."""
_MOST_EVENTS = 1000
"""Events of earlier writes that the state keeps at most, the newest, while the history takes none."""


def read_state(home: Home) -> FleetState | None:
    """Return the state without a lock and without any repair; None if there is none.

    In place of a damaged file return its `.bak`; raise StateError if that cannot be read either.
    """
    return read_with_damage(home)[0]


def read_with_damage(home: Home) -> tuple[FleetState | None, str]:
    """Return the state as `read_state` does, and the damage of the state file, empty for a good file."""
    found = _load(home)
    if found.state is None and found.damage:
        raise StateError(
            f"{home.state} is damaged and there is no good copy of it: {found.damage}",
            hint="The monitor moves it aside and starts with the defaults; `reset` does the same by hand.",
        )
    return found.state, found.damage


def backup_of(path: Path) -> Path:
    """Return the path of the last good state."""
    return path.with_name(path.name + ".bak")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The state file's content (`stored`), or its last good copy, None without one. `damage` is the file's fault."""

    state: FleetState | None
    stored: bool = False
    damage: str = ""


def _load(home: Home) -> _Loaded:
    """Return the stored state, or in its place the last good copy; change no file; raise StateError."""
    damage = ""
    for path in (home.state, backup_of(home.state)):
        try:
            return _Loaded(decode_state(path.read_bytes()), stored=path == home.state, damage=damage)
        except FileNotFoundError:
            continue
        except StateFormatError as error:
            damage = damage or str(error)
        except OSError as error:
            folder = isinstance(error, IsADirectoryError)
            unreadable = StateError(
                f"{path} cannot be read: {error.strerror}",
                hint="Move that folder away." if folder else "Check its permissions.",
            )
            if path == home.state:
                raise unreadable from error
            damage = damage or unreadable.message
    return _Loaded(None, damage=damage)


class StateStore:
    """The state of one home, with locked changes; safe to share between threads."""

    def __init__(
        self, home: Home, ladder: Ladder, clock: Clock | None = None, *, timeout: Seconds = 10.0
    ) -> None:
        self._home = home
        self._path = home.state
        self._ladder = ladder
        self._clock = clock or SystemClock()
        self._timeout = timeout
        self._history = HistoryFile(home.history)
        self._temporary_files_removed = False

    def read(self) -> FleetState:
        """Return the current state, fitted to the ladder; change no file, not even a damaged one."""
        now = self._clock.time()
        return fit_to_ladder(_load(self._home).state or default_state(self._ladder, now), self._ladder, now)

    def update(self, change: Callable[[FleetState], FleetState]) -> FleetState:
        """Apply a change under the lock and return the new state; write only if it differs.

        Raise StateError if the lock is not acquired in time or the file cannot be written. The old state then stays. An
        exception of `change` leaves the state unchanged too.
        """
        with self._locked():
            if not self._temporary_files_removed:
                self._remove_temporary_files()
            return self._update(change)

    def _remove_temporary_files(self) -> None:
        """Remove temporary files of killed writers; under the lock there is no other writer."""
        self._temporary_files_removed = True
        for left in self._path.parent.glob(f".{self._path.name}.*"):
            with contextlib.suppress(OSError):
                left.unlink()

    def _update(self, change: Callable[[FleetState], FleetState]) -> FleetState:
        now, loaded, in_history = self._clock.time(), _load(self._home), None
        # A history that cannot be read gets no events: they stay in the state.
        with _logged("history.read_failed"):
            in_history = self._history.last_number()
        if loaded.state is None and not loaded.damage and in_history:
            loaded = _Loaded(None, damage="the fleet has a history and no state")
        state = loaded.state or default_state(self._ladder, now)
        # A backup may be older than the history: do not use its event numbers a second time.
        state = replace(state, last_event_number=max(state.last_event_number, in_history or 0))
        if loaded.damage:
            state = self._set_aside(state, loaded)
        # Before the change: all its own events reach a history that takes them.
        if len(state.events) > _MOST_EVENTS:
            state = replace(state, events=state.events[-_MOST_EVENTS:])
        state = change(fit_to_ladder(state, self._ladder, now))
        new = tuple(event for event in state.events if event.number > (in_history or 0))
        # A write with new events has a waiting caller: up to _MAX_EVENTS a later one flushes the others.
        if len(new) < len(state.events) and (not new or len(state.events) > _MAX_EVENTS):
            with _logged("history.write_failed"):
                self._history.sync()
                state = replace(state, events=new)
        if not loaded.stored or state != loaded.state:
            self._write(state, backup=not loaded.damage)
        if new and in_history is not None:
            with _logged("history.write_failed"):
                self._history.append(new)
        return state

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock  # noqa: PLC0415  # slow import, which readers of the state do not need

        lock = FileLock(f"{self._path}.lock", timeout=self._timeout, fallback_to_soft=False)
        try:
            lock.acquire(poll_interval=0.005)
        except TimeoutError as error:
            raise StateError(
                f"{lock.lock_file} was held for more than {self._timeout:g}s",
                hint=f"Another program of the fleet hangs: see `{self._home.supervisorctl('status')}`.",
            ) from error
        except OSError as error:
            raise StateError(
                f"{lock.lock_file} cannot be locked: {error.strerror or error}",
                hint="One user runs all of a fleet, on a local disk: check the owner and the file system.",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _set_aside(self, state: FleetState, loaded: _Loaded) -> FleetState:
        """Give the damaged file a second name, under which it survives the write of a good file; return the state.

        The damaged file keeps its first name until that write: after an earlier crash the damage is reported again.
        """
        now = self._clock.time()
        try:
            where = f"set aside as {self._link_damaged(now).name}"
        except FileNotFoundError:
            where = "the file is gone"
        except OSError as error:
            where = f"not set aside ({error.strerror})"
        source = "no good copy, the defaults are" if loaded.state is None else "its last good copy is"
        reason = f"{loaded.damage}; {where}; {source} used"
        sentence = f"the state file {self._path} was repaired: {reason}"
        _log.error("state.damaged", extra=with_command_sentence(sentence, path=self._path, reason=reason))
        return state.with_event(now, EventKind.STATE_REPAIRED, reason=reason)

    def _link_damaged(self, now: float) -> Path:
        """Link the damaged file to a `.corrupt-` name and return that; a file linked before keeps its name."""
        known = self._path.parent.glob(f"{self._path.name}.corrupt-*")
        same = next((path for path in known if path.samefile(self._path)), None)
        if same is not None:
            return same
        first = self._path.with_name(f"{self._path.name}.corrupt-{int(now)}")
        more = (first.with_name(f"{first.name}-{number}") for number in itertools.count(1))
        aside = next(path for path in itertools.chain([first], more) if not path.exists())
        _link(self._path, aside)
        return aside

    def _write(self, state: FleetState, *, backup: bool) -> None:
        try:
            if backup:
                self._keep_backup()
            replace_text(self._path, encode_state(state, self._clock.time()), durable=True)
        except OSError as error:
            raise StateError(
                f"{self._path} cannot be written: {error.strerror or error}",
                hint="Free disk space or correct the permissions; the old state is unchanged.",
            ) from error

    def _keep_backup(self) -> None:
        """Link the good file to `.bak` atomically, so that at every moment one of the two is complete.

        The write that follows flushes the folder, and with it this link.
        """
        if not self._path.exists():
            return
        fresh = self._path.with_name(self._path.name + ".bak.new")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        _link(self._path, fresh)
        fresh.replace(backup_of(self._path))


@contextlib.contextmanager
def _logged(event: str) -> Iterator[None]:
    """Log an OSError of the history; its events stay in the state, and the next write tries again."""
    try:
        yield
    except OSError as error:
        verb = "read" if event == "history.read_failed" else "written"
        sentence = f"the history cannot be {verb}: {error.strerror}; the last {_MOST_EVENTS} events stay in the state"
        _log.error(event, extra=with_command_sentence(sentence, reason=error.strerror))


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    try:
        os.link(path, other)
    except OSError:
        from shutil import copyfile  # noqa: PLC0415  # slow import, rarely needed

        copyfile(path, other)
