"""A real generator with a real dask scheduler and two workers of ours: all are killed, and no candidate is lost."""

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.runtime.home import ROOT
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.parts.dask_cluster import dask_cluster
from tests.parts.require import require
from tests.processes.generator import GeneratorProcess, generating

LONG = 400.0
"""Each process imports numba and dask, which takes minutes on a busy machine."""


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(vram=24 * 10**9)) as server:
        yield server


def workers(generator: GeneratorProcess) -> int:
    return int(generator.heartbeat().get("dask_workers") or 0)


def until_workers(generator: GeneratorProcess, count: int) -> None:
    generator.until(lambda: workers(generator) == count, what=f"{count} workers", seconds=LONG)


def until_more_is_done(generator: GeneratorProcess, more: int = 10) -> None:
    """Wait until what waits now is done, and more than that."""
    [(newest,)] = generator.query("SELECT max(id) FROM evaluations")
    before = generator.count("evaluations", "state = 'done'")
    generator.until(
        lambda: not generator.count("evaluations", f"state = 'pending' AND id <= {newest}"),
        what="the results of candidates that waited",
        seconds=LONG,
    )
    generator.until(
        lambda: generator.count("evaluations", "state = 'done'") >= before + more,
        what="more results",
        seconds=LONG,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killing_workers_and_scheduler_loses_nothing_and_stores_nothing_twice(
    tmp_path: Path, ollama: StandinOllama
) -> None:
    with dask_cluster(tmp_path / "dask") as cluster:
        scheduler, one, two = cluster.scheduler(), cluster.worker("one"), cluster.worker("two")
        with generating(tmp_path / "home", ollama.url, FLEET_GENERATOR_DASK=cluster.address) as generator:
            until_workers(generator, 2)
            until_more_is_done(generator)
            one.kill()
            until_workers(generator, 1)
            until_more_is_done(generator)
            two.kill()
            until_workers(generator, 0)
            away = generator.until(
                lambda: generator.heartbeat().get("dask_away"), what="the report", seconds=LONG
            )
            assert "has no workers" in away["reason"]
            assert f"python3 -m generator worker {cluster.address}" in away["hint"]
            until_more_is_done(generator)  # by the local engine
            cluster.worker("one")
            until_workers(generator, 1)
            assert generator.heartbeat()["dask_away"] is None
            scheduler.kill()
            until_workers(generator, 0)
            until_more_is_done(generator)
            cluster.scheduler()
            until_workers(generator, 1)
            cluster.worker("two")
            until_workers(generator, 2)
            until_more_is_done(generator)
            assert generator.end()[0] == 0
            stored = Counter(re.findall(r" evaluation\.done .*?\bid=(\d+)", generator.log))
            assert set(stored.values()) == {1}, "a result was stored twice"
            assert len(stored) == generator.count("evaluations", "state = 'done'")
            assert "Traceback" not in generator.log + generator.told
        # The panel stays on disk: a worker that comes back does not ask for it again.
        assert [cluster.log(name).count("worker.panel_received") for name in ("one", "two")] == [1, 1]
        assert generator.log.count("dask.panel_sent") == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_that_is_not_ours_is_named_and_gets_nothing(tmp_path: Path, ollama: StandinOllama) -> None:
    with dask_cluster(tmp_path / "dask") as cluster:
        cluster.scheduler()
        cluster.foreign_worker("foreign")
        with generating(tmp_path / "home", ollama.url, FLEET_GENERATOR_DASK=cluster.address) as generator:
            generator.until(lambda: "dask.worker_refused" in generator.log, what="the refusal", seconds=LONG)
            reason = generator.until(
                lambda: re.search(
                    r"no worker of 1 can be used: (.*)", str(generator.heartbeat().get("dask_away"))
                ),
                what="the reason",
                seconds=LONG,
            )
            assert "it was not started by `python3 -m generator worker`" in reason[1]
            until_more_is_done(generator)


def certificates(folder: Path) -> dict[str, str]:
    """Make a certificate, and return dask's settings that name it as everyone's."""
    if shutil.which("openssl") is None:
        require("openssl", "the search path has no openssl")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    form = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    made = ["openssl", "req", *form, "-subj", "/CN=fleet", "-keyout", key, "-out", certificate]
    subprocess.run(made, check=True, capture_output=True)
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    both = {"CERT": certificate, "KEY": key}
    roles = {
        f"{role}__{name}": path for role in ("SCHEDULER", "WORKER", "CLIENT") for name, path in both.items()
    }
    return {prefix + name: path for name, path in {"CA_FILE": certificate, **roles}.items()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_certificates_workers_are_used_over_tls(tmp_path: Path, ollama: StandinOllama) -> None:
    environ = certificates(tmp_path)
    with dask_cluster(tmp_path / "dask", scheme="tls", environ=environ) as cluster:
        cluster.scheduler()
        cluster.worker("one")
        home = tmp_path / "home"
        with generating(home, ollama.url, FLEET_GENERATOR_DASK=cluster.address, **environ) as generator:
            until_workers(generator, 1)
            until_more_is_done(generator)
        with generating(tmp_path / "bare", ollama.url, FLEET_GENERATOR_DASK=cluster.address) as bare:
            away = bare.until(lambda: bare.heartbeat().get("dask_away"), what="the report", seconds=LONG)
            assert "distributed.comm.tls.ca-file" in away["reason"]
            assert "docs/scale.md" in away["hint"]
            until_more_is_done(bare)


@pytest.mark.slow
def test_a_worker_off_loopback_without_tls_or_certificates_is_refused(tmp_path: Path) -> None:
    def refused(address: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "generator", "worker", address]
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "FLEET_HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    code, told = refused("tcp://gpu2.example.org:8786")
    assert code == 2
    assert "write tls://gpu2.example.org:8786" in told
    assert "Traceback" not in told
    code, told = refused("tls://gpu2.example.org:8786")
    assert code == 1
    assert "distributed.comm.tls.worker.cert" in told
    assert "docs/scale.md" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_worker_ends_at_sigterm_while_its_scheduler_is_away(tmp_path: Path) -> None:
    with dask_cluster(tmp_path / "dask") as cluster:
        worker = cluster.worker("one")
        while "worker.scheduler_away" not in cluster.log("one"):
            assert worker.poll() is None, cluster.log("one")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        assert "Traceback" not in cluster.log("one")
