"""The locked store of the state file.

Writers hold a file lock; a write is durable and atomic, and the last good file stays as `.bak`. Readers take
no lock. A damaged file is set aside as `*.corrupt-<time>`, never lost and never a crash loop.

Events that a write carries reach the history after it, and at the next write or start if a crash came
between: by their numbers, each exactly once. The state keeps them until the history has them on the disk, for
which no write that has something new to tell waits.
"""

import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fleet.config.ladder import Ladder
from fleet.policy.events import Event, EventKind
from fleet.policy.state import FleetState
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.clock import Clock, SystemClock
from fleet.runtime.errors import StateError
from fleet.runtime.home import Home
from fleet.runtime.logging import fields
from fleet.runtime.units import Seconds
from state.codec import StateFormatError, decode_state, default_state, encode_state, same_content
from state.history import History
from state.refit import fit_to_ladder

if TYPE_CHECKING:
    from filelock import FileLock

_log = logging.getLogger(__name__)
_TICK_NS = 1_000_000_000
_MOST_EVENTS = 64
"""How many events the state may hold that the history may not have on the disk yet."""


def read_state(home: Home) -> FleetState | None:
    """Return the state without a lock and without mending anything; None if there is none.

    A damaged file is answered with its `.bak`; raise StateError if that cannot be read either.
    """
    return read_damaged(home)[0]


def read_damaged(home: Home) -> tuple[FleetState | None, str]:
    """Return what `read_state` does, and what is wrong with the state file itself, empty for a good one."""
    damage: StateFormatError | None = None
    for path in (home.state, backup_of(home.state)):
        try:
            return _read(path), str(damage or "")
        except FileNotFoundError:
            continue
        except StateFormatError as error:
            damage = damage or error
        except OSError as error:
            raise _unreadable(path, error) from error
    if damage is None:
        return None, ""
    raise StateError(
        f"{home.state} is damaged and there is no good copy of it: {damage}",
        hint="The monitor sets it aside and begins anew; `reset` does the same by hand.",
    )


def _read(path: Path) -> FleetState:
    try:
        return decode_state(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise StateFormatError(f"{path} is no text") from error


def _unreadable(path: Path, error: OSError) -> StateError:
    return StateError(f"{path} cannot be read: {error.strerror}", hint="Check its permissions.")


def backup_of(path: Path) -> Path:
    """Return where the last good state stands."""
    return path.with_name(path.name + ".bak")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A state, whether it stands in the state file as it is, and what is wrong with that file if anything."""

    state: FleetState
    stored: bool
    damage: str = ""
    source: str = ""


class _Mark(NamedTuple):
    """By what a file is known again that writers replace and never change."""

    inode: int
    size: int
    changed: int


def _mark(path: Path) -> _Mark:
    status = path.stat()
    return _Mark(status.st_ino, status.st_size, status.st_mtime_ns)


class StateStore:
    """The state of one home, for those who change it; safe to share between threads."""

    def __init__(
        self, home: Home, ladder: Ladder, clock: Clock | None = None, *, timeout: Seconds = 10.0
    ) -> None:
        self._path = home.state
        self._ladder = ladder
        self._clock = clock or SystemClock()
        self._timeout = timeout
        self._history = History(home.history)
        self._swept = False
        self._known: tuple[_Mark, FleetState] | None = None

    def read(self) -> FleetState:
        """Return the state as it is now, fitted to the ladder; no file is changed, even a damaged one."""
        return fit_to_ladder(self._load().state, self._ladder, self._clock.time())

    def update(self, change: Callable[[FleetState], FleetState]) -> FleetState:
        """Apply a change under the lock and return the new state; nothing is written if nothing changed.

        Raise StateError if the lock cannot be had in time or the file cannot be written: then the old state
        stands. Whatever `change` raises leaves the state as it was.
        """
        with self._locked():
            self._sweep()
            return self._update(change)

    def settle(self, change: Callable[[FleetState], FleetState]) -> FleetState:
        """Do as `update` does, for a change that mostly changes nothing: then there is no lock either.

        `change` is called twice where it does change something.
        """
        loaded = self._load()
        if loaded.stored and not loaded.state.events:
            state = fit_to_ladder(loaded.state, self._ladder, self._clock.time())
            if state is loaded.state and change(state) == state:
                return state
        return self.update(change)

    def _sweep(self) -> None:
        """Remove what a writer left that was killed in mid-write; under the lock no other one is writing."""
        if self._swept:
            return
        self._swept = True
        for left in self._path.parent.glob(f".{self._path.name}.*"):
            with contextlib.suppress(OSError):
                left.unlink()

    def _update(self, change: Callable[[FleetState], FleetState]) -> FleetState:
        loaded, told = self._load(), self._last_told()
        # A copy that is older than the history must not give a new event a number that is taken.
        state = replace(loaded.state, events_told=max(loaded.state.events_told, told or 0))
        if loaded.damage:
            state = self._set_aside(state, loaded)
        state = change(fit_to_ladder(state, self._ladder, self._clock.time()))
        new = tuple(event for event in state.events if event.number > (told or 0))
        if len(new) < len(state.events) and self._may_forget(state, new):
            state = replace(state, events=new)
        if not loaded.stored or not same_content(state, loaded.state):
            self._write(state, keep=not loaded.damage)
        if new and told is not None:
            self._tell(new)
        return state

    def _may_forget(self, state: FleetState, new: Sequence[Event]) -> bool:
        """Tell whether the events that stand in the history are on the disk there; they are put there now.

        Not where there are new ones: that write is one that somebody waits for, and a later one does it.
        """
        if new and len(state.events) <= _MOST_EVENTS:
            return False
        try:
            self._history.sync()
        except OSError as error:
            _log.error("history.write_failed", extra=fields(reason=error.strerror))
            return False
        return True

    def _last_told(self) -> int | None:
        """Return the number of the history's last event; None, and nothing is told, if it is unreadable."""
        try:
            return self._history.last_number()
        except OSError as error:
            _log.error("history.read_failed", extra=fields(reason=error.strerror))
            return None

    def _tell(self, events: Sequence[Event]) -> None:
        try:
            self._history.append(events)
        except OSError as error:
            # The events stay in the state; the next write tries again.
            _log.error("history.write_failed", extra=fields(reason=error.strerror))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._lock()
        try:
            lock.acquire(poll_interval=0.005)
        except TimeoutError as error:
            raise StateError(
                f"{lock.lock_file} was held for more than {self._timeout:g}s",
                hint="Another program of the fleet hangs; see `supervisorctl status`.",
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

    def _lock(self) -> "FileLock":
        from filelock import FileLock  # noqa: PLC0415  # readers of the state never pay for it

        return FileLock(f"{self._path}.lock", timeout=self._timeout, fallback_to_soft=False)

    def _load(self) -> _Loaded:
        """Return the stored state, in its place the last good copy or the defaults; nothing is changed."""
        try:
            return _Loaded(self._stored(), stored=True)
        except FileNotFoundError:
            return self._backup("")
        except StateFormatError as error:
            return self._backup(str(error))
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def _stored(self) -> FleetState:
        """Return what the state file holds, without reading again the file that was read before."""
        mark, known = _mark(self._path), self._known
        if known is not None and known[0] == mark:
            return known[1]
        state = _read(self._path)
        # A file this young may be followed within its time stamp's tick by one that looks the same.
        settled = abs(time.time_ns() - mark.changed) > _TICK_NS
        self._known = (mark, state) if settled and mark == _mark(self._path) else None
        return state

    def _backup(self, damage: str) -> _Loaded:
        try:
            state, source = _read(backup_of(self._path)), "its last good copy"
        except (OSError, StateFormatError):
            now = self._clock.time()
            state, source = default_state(self._ladder, now), "there is no copy and the defaults are"
        return _Loaded(state, stored=False, damage=damage, source=source)

    def _set_aside(self, state: FleetState, loaded: _Loaded) -> FleetState:
        """Give the damaged file a second name, under which it stays when the good one takes its own.

        Until then it keeps that: after a crash in between the damage is found, and told, again.
        """
        now = self._clock.time()
        try:
            where = f"set aside as {self._aside(now).name}"
        except OSError as error:
            where = f"not set aside ({error.strerror})"
        reason = f"{loaded.damage}; {where}, {loaded.source} taken"
        _log.error("state.damaged", extra=fields(path=self._path, reason=reason))
        return state.tell(now, EventKind.STATE_REPAIRED, reason=reason)

    def _aside(self, now: float) -> Path:
        known = self._path.parent.glob(f"{self._path.name}.corrupt-*")
        same = next((path for path in known if path.samefile(self._path)), None)
        if same is not None:
            return same
        first = self._path.with_name(f"{self._path.name}.corrupt-{int(now)}")
        more = (first.with_name(f"{first.name}-{number}") for number in itertools.count(1))
        aside = next(path for path in itertools.chain([first], more) if not path.exists())
        _link(self._path, aside)
        return aside

    def _write(self, state: FleetState, *, keep: bool) -> None:
        try:
            if keep:
                self._keep_backup()
            replace_text(self._path, encode_state(state, self._clock.time()), durable=True)
        except OSError as error:
            raise StateError(
                f"{self._path} cannot be written: {error.strerror or error}",
                hint="Make room on the disk, or mend its permissions; the old state stands.",
            ) from error

    def _keep_backup(self) -> None:
        """Link the good file to `.bak` in one step, so that at every moment one of the two is whole.

        The write that follows puts the folder on the disk, and this with it.
        """
        if not self._path.exists():
            return
        fresh = self._path.with_name(self._path.name + ".bak.new")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        _link(self._path, fresh)
        fresh.replace(backup_of(self._path))


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    try:
        os.link(path, other)
    except OSError:
        from shutil import copyfile  # noqa: PLC0415  # readers of the state never pay for it

        copyfile(path, other)
