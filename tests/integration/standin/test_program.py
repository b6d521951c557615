"""`python -m standin` as a process: its one line, its log, its end."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.processes.standin_client import client_of, failing

PACE = {"FLEET_STANDIN_PACE": "0"}


@contextmanager
def program(*arguments: str, **environ: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "standin", *arguments],
        env={**os.environ, **PACE, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), line
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]") -> str:
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert not out
    return err


def test_says_where_it_listens_and_logs_to_stderr() -> None:
    with program() as (process, url), client_of(url) as client:
        assert client.generate("llama3.2:3b").status == 500
        log = ended(process)
    assert log.startswith("stand-in: ")
    assert 'msg="Load failed"' in log
    assert "Traceback" not in log


def test_ends_on_sigterm_with_requests_in_flight() -> None:
    faults = json.dumps(
        [{"kind": "stall_stream", "model": "qwen2.5:0.5b"}, {"kind": "stall", "path": "/api/ps"}]
    )
    with (
        program(FLEET_STANDIN_FAULTS=faults) as (process, url),
        client_of(url) as streaming,
        client_of(url) as stalled,
        client_of(url) as last,
    ):
        response = streaming.begin("POST", "/api/generate", {"model": "qwen2.5:0.5b", "prompt": "x"})
        assert response.readline()
        waiting = threading.Thread(target=failing, args=(stalled.ask, "GET", "/api/ps"), daemon=True)
        waiting.start()
        assert last.ask("GET", "/").status == 200
        log = ended(process)
        waiting.join(5.0)
    assert "Traceback" not in log


def test_takes_models_and_settings() -> None:
    arguments = ("--model", "own:7b=4000000000", "--model", "tinyllama:1.1b=637MB")
    with (
        program(*arguments, FLEET_STANDIN_ERA="old", FLEET_STANDIN_MISSING="own:7b") as (_, url),
        client_of(url) as client,
    ):
        assert [row["name"] for row in client.ask("GET", "/api/tags").body["models"]] == ["tinyllama:1.1b"]
        client.ask("POST", "/api/pull", {"model": "own:7b"})
        assert "CUDA0" in client.generate("own:7b").body["error"]


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        ((), {"FLEET_STANDIN_VRAM": "much", "FLEET_STANDIN_ERA": "middle"}, ["not a size", "new or old"]),
        ((), {"FLEET_STANDIN_FAULTS": '{"kind": "nosuch"}'}, ["'nosuch' is not known"]),
        (("--model", "own"), {}, ["not NAME=BYTES"]),
        (("--port", "99999"), {}, ["not a port"]),
    ],
)
def test_wrong_settings_end_it_with_a_sentence(
    arguments: tuple[str, ...], environ: dict[str, str], words: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "standin", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert not done.stdout
    assert "Traceback" not in done.stderr
    for each in words:
        assert each in done.stderr


def test_a_port_in_use_is_a_sentence() -> None:
    with program() as (_, url):
        done = subprocess.run(
            [sys.executable, "-m", "standin", "--port", url.rsplit(":", 1)[1]],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 2
    assert "Address already in use" in done.stderr
