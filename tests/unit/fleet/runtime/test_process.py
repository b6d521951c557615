"""What a process arranges for itself; each in a process of its own, for it holds for the whole of it."""

import subprocess
import sys

import pytest

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

LOWERS = """
import os, sys
from fleet.runtime.process import lower_priority
os.nice(int(sys.argv[1]) - os.getpriority(os.PRIO_PROCESS, 0))
if os.getuid() == 0:
    os.setuid(65534)
lower_priority()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


def test_garbage_is_searched_for_once_what_stays_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n") == ["False False", "True True", ""]


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux alone")
@pytest.mark.parametrize("inherited", [10, 19])
def test_a_fleet_of_an_ordinary_user_keeps_a_lower_priority_that_it_was_started_with(inherited: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOWERS, str(inherited)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, f"{inherited}\n"), done.stderr
