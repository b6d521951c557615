"""A journal for tests: a real one, written by systemd-journal-remote and read by the real journalctl.

journald itself wants to be the machine's only one. `systemd-journal-remote` writes the same files from journald's
export format, with whatever fields it is told, the trusted ones too.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from monitor.sources.base import Keep, LogSource, Since, keep_all
from monitor.sources.open import open_source
from tests.parts.require import require
from tests.parts.supervisord import wait_until

_WRITER = Path("/lib/systemd/systemd-journal-remote")
_ENTRIES_AT = 152
_CUT = 48 * 1024
_BOOT = b"0123456789abcdef0123456789abcdef"
_STREAM = b"fedcba9876543210fedcba9876543210"


class JournalFolder:
    """A folder of journal files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._writer: subprocess.Popen[bytes] | None = None
        self._files = 0
        self.rotate()

    def rotate(self) -> None:
        """Begin a new file, as journald does when one is full."""
        self.close()
        self._files += 1
        path = self.folder / f"part{self._files}.journal"
        self._writer = subprocess.Popen(
            [str(_WRITER), f"--output={path}", "-"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._path, self._written = path, 0
        wait_until(path.exists, lambda: "no journal file was made")

    def vacuum(self) -> None:
        """Remove all files but the last."""
        for path in sorted(self.folder.glob("*.journal"))[:-1]:
            path.unlink()

    def write(self, fields: dict[str, bytes], unit: str = "ollama.service") -> None:
        """Write an entry of a unit."""
        assert self._writer is not None
        assert self._writer.stdin is not None
        own = {
            "__REALTIME_TIMESTAMP": b"%d" % (time.time_ns() // 1000),
            "__MONOTONIC_TIMESTAMP": b"%d" % (time.monotonic_ns() // 1000),
            "_BOOT_ID": _BOOT,
            "_SYSTEMD_UNIT": unit.encode(),
        }
        self._writer.stdin.write(b"".join(_field(*item) for item in {**own, **fields}.items()) + b"\n")
        self._written += 1

    def settle(self) -> None:
        """Wait until all that was written is in the file; its header counts the entries."""

        def entries() -> int:
            with self._path.open("rb") as stream:
                stream.seek(_ENTRIES_AT)
                return int.from_bytes(stream.read(8), "little")

        wait_until(lambda: entries() >= self._written, lambda: f"{entries()} of {self._written} entries")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.communicate(timeout=30)
            self._writer = None


def _field(name: str, value: bytes) -> bytes:
    if all(byte >= 32 for byte in value) or name.startswith("__"):
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


class JournalWorld:
    """A unit's standard output in a journal, taken apart to lines as journald does it."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("journalctl")
        if program is None or not _WRITER.exists():
            require("journal", "journalctl and systemd-journal-remote write and read a journal for the test")
        self.journal = JournalFolder(folder / "journal")
        self.journal.write(
            {"_PID": b"1", "UNIT": b"ollama.service"}
        )  # it was started once; no line of its own
        self.journal.settle()
        self.program = folder / "bin" / "journalctl"
        self.program.parent.mkdir()
        self.program.write_text(
            f'#!/bin/sh\necho $$ >>{folder}/pids\nexec {program} --directory={self.journal.folder} "$@"\n'
        )
        self.program.chmod(0o755)
        self._pids = folder / "pids"
        self._rest = b""
        self._environment = pytest.MonkeyPatch()
        self._environment.setenv("PATH", str(self.program.parent))

    def source(self, *, keep: Keep = keep_all, since: Since = None) -> LogSource:
        return open_source("journal:ollama", keep=keep, since=since)

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            for start in range(0, max(1, len(line)), _CUT):
                cut = {"_LINE_BREAK": b"line-max"} if start + _CUT < len(line) else {}
                self.journal.write({"MESSAGE": line[start : start + _CUT], "_STREAM_ID": _STREAM, **cut})
        self.journal.settle()

    def children(self) -> Iterator[int]:
        """Yield the processes of journalctl that live."""
        for text in self._pids.read_text().split() if self._pids.exists() else ():
            with suppress(OSError):
                if b"--follow" in Path(f"/proc/{text}/cmdline").read_bytes():
                    yield int(text)

    def vanish(self) -> None:
        self.program.rename(self.program.with_suffix(".away"))
        self.kill()

    def kill(self) -> None:
        """Kill whoever follows."""
        for pid in self.children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def come_back(self) -> None:
        self.program.with_suffix(".away").rename(self.program)

    def close(self) -> None:
        self.journal.close()
        self._environment.undo()
