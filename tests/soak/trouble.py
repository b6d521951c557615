"""What the soak does beside killing: odd lines, a full disk, steps of the clock."""

import contextlib
import os
import random
import resource
from pathlib import Path

from fleet.runtime.home import ROOT

ODD_FIELDS = (
    'total="12.0.1 GiB"',
    'total="' + "9" * 400 + ' GiB"',
    "seconds=NaN",
    "seconds=1e999",
    "layers.model=" + "9" * 5000,
    'model="sha256-\ud800"',
    "time=" + "9" * 300,
)
"""Fields that no program reads, for the end of a failure line, which counts all the same."""

ODD_LINES = (
    'time=2026-11-23T22:22:42.331Z level=INFO source=types.go:32 msg="inference compute" library=CUDA total="12.0.1 GiB"',
    'time=2026-11-23T22:22:42.331Z level=INFO source=types.go:32 msg="inference compute" library=CUDA total=". GiB"',
    'time=2025-01-17T16:39:27.986Z level=INFO source=memory.go:356 msg="offload to cuda" layers.offload='
    + "8" * 5000,
    '{"time": 1e308, "level":"INFO","msg":"' + "[" * 3000,
    '{"time": NaN, "level":"INFO", "msg":"\\ud800"}',
    "[GIN] 2026/11/23 - 22:24:52 | 200 | " + "999999999h" * 3000 + ' | 127.0.0.1 | POST     "/api/embed"',
    "time=2026-11-23T99:99:99.776Z level=INFO msg=x",
    "9999-12-31T23:59:59.999999999Z llama_model_loader: loaded meta data with 9e999 key-value pairs",
    "\x00\x00\x1b[31m\ufffd",
    "x" * 70_000,
    "",
)
"""Lines that tell of no failure and that are hard to read."""

ODD_CALLS = (
    '{"id":"1","started":1,"ended":2,"model":"m","switches":1e999,"status":200,"error":""}',
    '{"id":"1","started":NaN,"ended":Infinity,"model":"m","switches":-1,"status":200,"error":""}',
    '{"id":"1","started":1e308',
    "[" * 5000,
    "\x00",
)
"""Rows of `signals.jsonl` that are no call of this generator, or none at all."""


def odd_line(chance: random.Random) -> bytes:
    """Return a line of the log that tells of no failure."""
    if chance.random() < 0.2:
        return bytes(chance.choice(b'\xff\xfe\x80abc ="{') for _ in range(200)).replace(b"\n", b" ")
    return chance.choice(ODD_LINES).encode("utf-8", "surrogatepass")


class FullDisk:
    """A disk that is full for one process: none of its files may grow. Needs no privilege."""

    def __init__(self) -> None:
        self._limited: dict[int, tuple[int, int]] = {}

    def fill(self, pid: int) -> None:
        """Let every write of a process to a file fail (EFBIG), as on a full disk (ENOSPC)."""
        if not pid:
            return  # 0 would be this very process
        with contextlib.suppress(OSError, ValueError):
            self._limited[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, self._limited[pid][1]))

    def free(self) -> None:
        """End all of this; a process that has ended meanwhile needs nothing."""
        for pid, limits in self._limited.items():
            with contextlib.suppress(OSError, ValueError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        self._limited.clear()


_SHIM = '''"""Lets the clock of the monitor step: `time.time` reads the offset from a file."""
import os, sys, time

if "monitor" in sys.orig_argv[1:3]:
    _real, _file = time.time, os.environ["SOAK_CLOCK"]

    def _stepped():
        try:
            with open(_file) as offset:
                return _real() + float(offset.read() or 0)
        except (OSError, ValueError):
            return _real()

    time.time = _stepped
'''


class SteppingClock:
    """The monitor's clock, which steps: a `sitecustomize` of the soak's own adds an offset to `time.time`."""

    def __init__(self, folder: Path) -> None:
        self.steps = 0
        self._offset = folder / "offset"
        self._offset.write_text("0")
        shim = folder / "shim"
        shim.mkdir()
        (shim / "sitecustomize.py").write_text(_SHIM)
        self.environ = {
            "PYTHONPATH": os.pathsep.join((str(shim), str(ROOT))),
            "SOAK_CLOCK": str(self._offset),
        }

    def step(self, seconds: float) -> None:
        """Set the clock to so many seconds beside the right time."""
        fresh = self._offset.with_name("offset.new")
        fresh.write_text(f"{seconds:.3f}")
        fresh.replace(self._offset)
        self.steps += 1
