"""journalctl as a log source needs it: a look at what a unit logged last, and a child that follows the unit.

There is at most one child, and it goes with whoever reads it: journalctl ends when its output is closed, also
when that is because the reader was killed.
"""

import os
import subprocess

from monitor.sources.journal.entries import FIELDS, Entry, JournalPosition, parse_entry
from monitor.sources.wakeup import Wakeup

TIMEOUT = 10.0
"""Seconds for a look."""

_BUFFER = 128 * 1024  # an entry takes some 200 bytes: no more than MOST_LINES of them
_FORM = ("--output=json", f"--output-fields={FIELDS}", "--all", "--no-pager")

_ELSEWHERE = 'or send Ollama\'s output to a file and set [ollama] log = "file:PATH"'
_HINT_MISSING = f"Run the fleet on the host that has the journal, not in a container, {_ELSEWHERE}."
_HINT_CLOSED = (
    "Add the user that the fleet runs as to the group systemd-journal: sudo usermod -aG systemd-journal USER"
)
_HINT_NONE = f"Is systemd-journald running here? Otherwise follow another source: docker:NAME, {_ELSEWHERE}."
_HINT_UNIT = "Is that its name, and has it been started? `systemctl list-units --all` lists them."


class JournalError(Exception):
    """The journal cannot be read just now; with what a person can do about it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint

    @property
    def told(self) -> str:
        """Return both in a line."""
        return f"{self.reason[:1].upper()}{self.reason[1:]}. {self.hint}"


def look(unit: str) -> Entry | None:
    """Return the last entry of a unit, None if the journal can be read and holds none; raises JournalError."""
    command = ["journalctl", f"--unit={unit}", "--lines=1", *_FORM]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TIMEOUT,
            env=_environ(),
        )
    except subprocess.TimeoutExpired:
        raise JournalError("journalctl does not answer", "Does `journalctl --lines=1` hang too?") from None
    except OSError as error:
        raise _unstartable(error) from error
    told = done.stderr.decode("utf-8", "replace")
    complaint = explain(told, done.returncode)
    if complaint is not None:
        raise complaint
    rows = done.stdout.splitlines()
    return parse_entry(rows[-1]) if rows else None


def explain(told: str, status: int) -> JournalError | None:
    """Return what journalctl's complaints come to, None if it has none that matter."""
    if any(text in told for text in ("insufficient permissions", "not seeing messages", "Permission denied")):
        return JournalError("no permission to read the journal", _HINT_CLOSED)
    if "No journal files were found" in told:
        return JournalError("there is no journal here", _HINT_NONE)
    if status:
        first = told.strip().partition("\n")[0][:200]
        return JournalError(f"journalctl fails: {first or f'exit status {status}'}", _HINT_NONE)
    return None


def nothing_of(unit: str) -> JournalError:
    """Return what to say of a unit that has never logged a line."""
    return JournalError(f"the journal holds nothing of the unit {unit}", _HINT_UNIT)


def ends_by_itself(told: str) -> JournalError:
    """Return what to say of a journalctl that does not stay, with its own words."""
    words = told.strip().partition("\n")[0][:200]
    return JournalError(
        f"journalctl ends again and again{f': {words}' if words else ''}",
        "Does `journalctl --follow --unit=UNIT` stay?",
    )


class Journalctl:
    """A child that writes a unit's entries from a place on; read by one thread."""

    def __init__(self, unit: str, place: JournalPosition, waker: Wakeup) -> None:
        """Start it; raises JournalError if that cannot be done."""
        self._waker = waker
        command = ["journalctl", f"--unit={unit}", "--follow", "--no-tail", *_beginning(place), *_FORM]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environ(),
            )
        except OSError as error:
            raise _unstartable(error) from error
        assert self._child.stdout is not None  # asked for
        self._output = self._child.stdout
        os.set_blocking(self._output.fileno(), False)

    @property
    def pid(self) -> int:
        """Return the child's process."""
        return self._child.pid

    def read(self, seconds: float | None) -> bytes | None:
        """Return what it wrote next: empty at the end, None if nothing comes in this time or the waker is set."""
        while True:
            try:
                return os.read(self._output.fileno(), _BUFFER)
            except BlockingIOError:
                if not self._waker.wait(self._output.fileno(), seconds):
                    return None

    def close(self) -> str:
        """End it, if it has not ended, and return what it complained of."""
        self._child.kill()
        _, told = self._child.communicate()
        return bytes(told).decode("utf-8", "replace")


def _beginning(place: JournalPosition) -> list[str]:
    """Return the options for a place; the entry of the cursor comes once more, to show that it is still there."""
    if place.cursor:
        return [f"--cursor={place.cursor}"]
    return [f"--since=@{place.time // 1_000_000}.{place.time % 1_000_000:06}"] if place.time else []


def _environ() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}


def _unstartable(error: OSError) -> JournalError:
    if isinstance(error, FileNotFoundError):
        return JournalError("journalctl is not installed here", _HINT_MISSING)
    return JournalError(f"journalctl cannot be started: {error.strerror}", _HINT_MISSING)
