"""What a process arranges for itself; each in a process of its own, for it holds for the whole of it."""

import subprocess
import sys

from fleet.runtime.home import ROOT

SEARCHES = """
import gc, time
from fleet.runtime.process import delay_garbage_collection
kept = [[] for _ in range(1000)]
delay_garbage_collection(0.2)
print(gc.isenabled(), gc.get_freeze_count() > 1000)
end = time.monotonic() + 30
while not gc.isenabled() and time.monotonic() < end:
    time.sleep(0.01)
print(gc.isenabled(), gc.get_freeze_count() > 1000)
"""


def test_garbage_is_searched_for_once_what_stays_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n") == ["False False", "True True", ""]
