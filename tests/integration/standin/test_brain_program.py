"""`python -m standin.brain`, as a person starts it."""

import signal
import subprocess
import sys

import requests

from tests.processes.generator import ROOT


def test_it_serves_until_it_is_told_to_end() -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "standin.brain",
            "--port",
            "0",
            "--slots",
            "1",
            "--seconds",
            "30",
            "--retry-after",
            "2.5",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with requests.Session() as session:
                signed = session.post(
                    f"{url}/authentication", auth=("someone@example.com", "standin"), timeout=10
                )
                assert (signed.status_code, signed.headers["Server"]) == (201, "model-fleet-standin")
                settings = {"universe": "TOP3000", "neutralization": "INDUSTRY"}
                body = {"type": "REGULAR", "settings": settings, "regular": "rank(close)"}
                taken = session.post(f"{url}/simulations", json=body, timeout=10)
                assert taken.status_code == 201
                running = session.get(taken.headers["Location"], timeout=10)
                assert running.headers["Retry-After"] == "2.5"
                assert 0 <= running.json()["progress"] < 1
                assert session.post(f"{url}/simulations", json=body, timeout=10).status_code == 429
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_port_that_is_taken_is_an_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "standin.brain"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as first:
        try:
            assert first.stdout is not None
            port = first.stdout.readline().rpartition(":")[2].strip()
            second = subprocess.run(
                [sys.executable, "-m", "standin.brain", "--port", port],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert second.returncode == 2
            assert "standin.brain:" in second.stderr
        finally:
            first.kill()
