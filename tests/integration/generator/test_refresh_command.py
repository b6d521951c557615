"""`python3 -m generator refresh` against a stand-in BRAIN."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from generator.brain.account_catalogue import kept_listing
from standin.brain.faults import BrainFault, BrainFaultKind
from standin.brain.server import StandinBrain, standin_brain
from standin.brain.settings import BrainStandinSettings
from tests.processes.generator import OURS, ROOT, embed, no_account


@pytest.fixture
def brain() -> Iterator[StandinBrain]:
    with standin_brain() as server:
        yield server


def refresh(home: Path, brain: StandinBrain, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    (home / "credential.txt").write_text(json.dumps(["someone@example.com", "standin"]))
    (home / "credential.txt").chmod(0o600)
    return subprocess.run(
        [sys.executable, "-m", "generator", "refresh"],
        cwd=ROOT,
        env={**clean, "FLEET_HOME": str(home), **no_account(home), "FLEET_BRAIN_URL": brain.url, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_lists_are_kept_with_their_date(tmp_path: Path, brain: StandinBrain) -> None:
    brain.apply(
        BrainFault(BrainFaultKind.ERROR, path="/data-fields", status=429, text="slow down", retry_after="0.2")
    )
    done = refresh(tmp_path, brain)
    path = tmp_path / "catalogue-USA-D1-TOP3000.json"
    assert done.returncode == 0, done.stderr
    assert f"66 operators and 72 fields, saved in {path}" in done.stdout
    kept = kept_listing(path)
    assert kept is not None
    assert kept.source == "brain"
    assert len(kept.operators) == 66
    assert kept.date == time.strftime("%Y-%m-%d", time.gmtime())
    assert brain.requests.count(("GET", "/data-fields")) == 3


@pytest.mark.slow
def test_another_universe_has_a_list_of_its_own(tmp_path: Path, brain: StandinBrain) -> None:
    assert refresh(tmp_path, brain, FLEET_BRAIN_UNIVERSE="TOP500", FLEET_PANEL_DELAY="0").returncode == 0
    assert (tmp_path / "catalogue-USA-D0-TOP500.json").exists()


@pytest.mark.slow
def test_a_wrong_password_is_an_error_with_a_hint(tmp_path: Path, brain: StandinBrain) -> None:
    brain.world.settings = BrainStandinSettings(password="another")
    done = refresh(tmp_path, brain)
    assert done.returncode == 1
    assert "BRAIN refuses the credentials" in done.stderr
    assert "Hint:" in done.stderr
    assert '"standin"' not in done.stderr
    assert brain.world.wrong == 1


@pytest.mark.slow
def test_a_stand_in_fleet_asks_nothing(tmp_path: Path, brain: StandinBrain) -> None:
    embed(tmp_path, "http://127.0.0.1:9")
    done = refresh(tmp_path, brain)
    assert done.returncode == 2
    assert "stand-in" in done.stderr
    assert brain.requests == []


@pytest.mark.slow
def test_a_biometric_sign_in_is_waited_for(tmp_path: Path, brain: StandinBrain) -> None:
    brain.world.settings = BrainStandinSettings(persona=True)
    brain.world.opened = False
    url = f"{brain.url}/authentication/persona?inquiry={brain.world.inquiry}"

    def somebody() -> None:
        while not any(path == "/authentication" for _, path in brain.requests):
            time.sleep(0.05)
        requests.get(url, timeout=10)

    thread = threading.Thread(target=somebody)
    thread.start()
    done = refresh(tmp_path, brain)
    thread.join()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(url) == 1
