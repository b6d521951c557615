"""journalctl for a log source: a query for a unit's last entry, and a child process that follows the unit.

There is at most one child. journalctl ends when its output is closed, also after a kill of the reader.
"""

import os
import subprocess

from fleet.runtime.untrusted import printable
from monitor.sources.base import Wakeup
from monitor.sources.journal.entries import FIELDS, Entry, JournalPosition, parse_entry

TIMEOUT = 10.0
"""Seconds for a query."""

_BUFFER = 128 * 1024  # an entry takes some 200 bytes: at most MOST_LINES of them
_FORM = ("--output=json", f"--output-fields={FIELDS}", "--all", "--no-pager")

_ELSEWHERE = 'or send Ollama\'s output to a file and set [ollama] log = "file:PATH"'
_HINT_MISSING = f"Run the fleet on the host that has the journal, not in a container, {_ELSEWHERE}."
_HINT_CLOSED = (
    "Add the user that the fleet runs as to the group systemd-journal: sudo usermod -aG systemd-journal USER"
)
_HINT_NONE = f"Is systemd-journald running here? Otherwise follow another source: docker:NAME, {_ELSEWHERE}."
_HINT_UNIT = "Is that its name, and has it been started? `systemctl list-units --all` lists them."


class JournalError(Exception):
    """The journal cannot be read at present; `hint` names the remedy."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint

    @property
    def sentence(self) -> str:
        """Return reason and hint in one line."""
        return f"{self.reason[:1].upper()}{self.reason[1:]}. {self.hint}"


def last_entry(unit: str) -> Entry | None:
    """Return the last entry of a unit, None if the journal is readable and holds none; raises JournalError."""
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
    refusal = explain(done.stderr.decode("utf-8", "replace"), done.returncode)
    if refusal is not None:
        raise refusal
    rows = done.stdout.splitlines()
    return parse_entry(rows[-1]) if rows else None


def explain(message: str, status: int) -> JournalError | None:
    """Return the JournalError for journalctl's messages, None if they report no error."""
    if any(
        text in message for text in ("insufficient permissions", "not seeing messages", "Permission denied")
    ):
        return JournalError("no permission to read the journal", _HINT_CLOSED)
    if "No journal files were found" in message:
        return JournalError("there is no journal here", _HINT_NONE)
    if status:
        first = printable(message.strip().partition("\n")[0])
        return JournalError(f"journalctl fails: {first or f'exit status {status}'}", _HINT_NONE)
    return None


def nothing_of(unit: str) -> JournalError:
    """Return the error for a unit that has never logged a line."""
    return JournalError(f"the journal has no entry of the unit {unit}", _HINT_UNIT)


def ends_by_itself(message: str) -> JournalError:
    """Return the error for a journalctl that keeps ending, with its own message."""
    words = printable(message.strip().partition("\n")[0])
    return JournalError(
        f"journalctl ends again and again{f': {words}' if words else ''}",
        "Does `journalctl --follow --unit=UNIT` stay?",
    )


class Journalctl:
    """A child process that writes a unit's entries from a position on; read by one thread."""

    def __init__(self, unit: str, position: JournalPosition, wakeup: Wakeup) -> None:
        """Start the child; raises JournalError if that fails."""
        self._wakeup = wakeup
        command = ["journalctl", f"--unit={unit}", "--follow", "--no-tail", *_beginning(position), *_FORM]
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
        """Return the child's pid."""
        return self._child.pid

    def read(self, seconds: float | None) -> bytes | None:
        """Return the next bytes: empty at the end, None if none come within the time or the wakeup is set."""
        while True:
            try:
                return os.read(self._output.fileno(), _BUFFER)
            except BlockingIOError:
                if not self._wakeup.wait(self._output.fileno(), seconds):
                    return None

    def close(self) -> str:
        """End the child and return its error messages."""
        self._child.kill()
        _, messages = self._child.communicate()
        return bytes(messages).decode("utf-8", "replace")


def _beginning(position: JournalPosition) -> list[str]:
    """Return the options for a position. The entry at the cursor comes again, which proves that it still exists."""
    if position.cursor:
        return [f"--cursor={position.cursor}"]
    return [f"--since=@{position.time // 1_000_000}.{position.time % 1_000_000:06}"] if position.time else []


def _environ() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}


def _unstartable(error: OSError) -> JournalError:
    if isinstance(error, FileNotFoundError):
        return JournalError("journalctl is not installed here", _HINT_MISSING)
    return JournalError(f"journalctl cannot be started: {error.strerror}", _HINT_MISSING)
