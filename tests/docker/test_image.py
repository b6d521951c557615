"""The images themselves: what is in them, what they weigh, and how one behaves as a lone container."""

import json
import re
import tomllib
from collections.abc import Iterator

import pytest

from fleet.runtime.home import ROOT
from tests.parts.containers import HARDENED, Docker, FleetContainer, running
from tests.parts.docker_engine import Engine
from tests.parts.images import BASE, Images
from tests.processes.fleet import eventually

pytestmark = pytest.mark.timeout(900)
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def lone(images: Images) -> Iterator[FleetContainer]:
    """Give a fleet on the stand-in inside its container, with no network at all."""
    with running(images.engine, images.full(), "--network", "none") as fleet:
        fleet.await_running()
        yield fleet


def test_it_weighs_little_more_than_its_base(images: Images) -> None:
    full, slim = images.size(images.full()), images.size(images.slim())
    base = images.size(BASE)
    assert full - base < 800 * MEGABYTE
    assert slim - base < 300 * MEGABYTE  # more than half of it is the page's library and Apprise


def test_it_says_what_it_is_and_how_it_is_run(images: Images) -> None:
    config = Docker(images.engine).inspect(images.slim())["Config"]
    assert config["User"] == "fleet"
    assert config["Entrypoint"] == ["/opt/model-fleet/container/entry.sh"]
    assert config["Cmd"] == ["python", "-m", "fleet"]
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "fleet.startup.healthcheck"]
    assert "/var/lib/fleet" in config["Volumes"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "Model Fleet"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert labels["org.opencontainers.image.version"] == version


def test_it_holds_the_program_and_nothing_else(images: Images) -> None:
    docker = Docker(images.engine)
    listing = docker("run", "--rm", "--entrypoint", "ls", images.slim(), "-A").split()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    assert set(packages) <= set(listing)
    assert not set(listing) & {"tests", "benchmarks", "docs", ".git", ".venv", "credential.txt", ".env"}
    script = "for tool in pip pip3 gcc cc make uv; do command -v $tool; done; ls /opt"
    left = docker("run", "--rm", "--entrypoint", "sh", images.full(), "-c", script).split()
    assert left == ["model-fleet", "numba", "venv"]


def test_the_log_proxy_is_debians_haproxy(images: Images) -> None:
    docker = Docker(images.engine)
    assert "HAProxy" in docker("run", "--rm", "--entrypoint", "haproxy", images.proxy(), "-v")
    done = docker.run("run", "--rm", "--env", "OLLAMA_CONTAINER=a;b", images.proxy())
    assert (done.returncode, done.stderr) == (
        2,
        "Error: OLLAMA_CONTAINER: a;b is not a valid container name\n",
    )
    assert docker.run("run", "--rm", images.proxy()).returncode == 2


def test_supervisord_is_the_first_process(lone: FleetContainer) -> None:
    command = lone.sh('tr "\\0" " " < /proc/1/cmdline')
    assert "supervisor.supervisord" in command
    assert set(lone.programs()) == {"monitor", "generator", "standin"}
    assert lone.sh("readlink var") == "/var/lib/fleet"
    assert lone.status()["profile"] == "embedded"


def test_the_kernels_are_there_without_compiling(lone: FleetContainer) -> None:
    """numba takes what came with the image: the files are the image's own, byte for byte, also after use."""
    done = lone.exec("python", "-m", "generator", "evaluate", "--json", "rank(ts_delta(close, 5))")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["days"] > 0
    differing = lone.sh(
        "cd /opt/numba && find . -name '*.nbc' -exec cmp {} /var/lib/fleet/cache/numba/{} ';' 2>&1"
    )
    assert not differing
    assert int(lone.sh("find /opt/numba -name '*.nbc' | wc -l")) > 20


def test_the_page_and_the_notifier_run_in_it_too(images: Images) -> None:
    places = ("--env", "FLEET_WEB_LISTEN=127.0.0.1:9800", "--env", "FLEET_NOTIFY_COMMAND=/bin/cat")
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9800/metrics').read().decode())"
    with running(images.engine, images.slim(), "--network", "none", *places) as fleet:
        fleet.await_running()
        assert {"web", "notifier"} <= set(fleet.programs())
        eventually(
            lambda: 'fleet_build_info{version="' in fleet.exec("python", "-c", script).stdout,
            what=fleet.docker.logs(fleet.name),
        )


def test_a_container_of_another_user_works_too(images: Images) -> None:
    """A home on the host belongs to a person there; the image knows no such user."""
    options = ("--user", "4242:4242", "--network", "none", "--env", "FLEET_HOME=/tmp/x", "--entrypoint", "sh")
    script = "mkdir /tmp/x && exec container/entry.sh python -m fleet"
    docker, name = Docker(images.engine), "fleet-test-user"
    try:
        docker("run", "-d", "--name", name, *HARDENED, *options, images.slim(), "-c", script)
        fleet = FleetContainer(docker, name)
        eventually(
            lambda: fleet.exec("python", "-m", "fleet.startup.healthcheck").returncode == 0,
            what=docker.logs(name),
        )
    finally:
        docker("rm", "--force", "--volumes", name, ok=False)


def test_a_home_that_cannot_be_written_is_told(images: Images) -> None:
    docker = Docker(images.engine)
    done = docker.run("run", "--rm", "--user", "4242", *HARDENED, "--network", "none", images.slim())
    assert done.returncode == 2
    assert "the home /var/lib/fleet is not writable for user 4242" in done.stderr
    assert "Hint: give the folder to that user" in done.stderr


@pytest.fixture
def home(engine: Engine) -> Iterator[str]:
    docker = Docker(engine)
    name = docker("volume", "create")
    yield name
    docker("volume", "rm", "--force", name, ok=False)


OLD_ALPHA = {
    "expression": "rank(close)",
    "timestamp": 1730000000,
    "alpha_id": "abc",
    "fitness": 1.2,
    "sharpe": 1.5,
    "turnover": 0.3,
    "returns": 0.1,
    "grade": "GOOD",
    "checks": [],
}


def drop_in(images: Images, home: str, files: dict[str, str]) -> None:
    """Put files into a home as the migration page says: through a container of the image, as its user."""
    docker = Docker(images.engine)
    for name, text in files.items():
        script = f"umask 077; cat > /var/lib/fleet/{name}"
        mount = ("--volume", f"{home}:/var/lib/fleet")
        docker("run", "--rm", "-i", *mount, "--entrypoint", "sh", images.slim(), "-c", script, text=text)


@pytest.mark.parametrize(
    ("state", "index", "warning"),
    [
        ({"current_model_index": 2, "vram_error_count": 0, "current_model": "tinyllama:1.1b"}, 2, ""),
        ({"current_model_index": 3, "vram_error_count": 0, "current_model": "phi3:mini"}, 1, ""),
        (
            {"current_model_index": 1, "vram_error_count": 0, "current_model": "mistral:7b"},
            1,
            "mistral:7b is not on it",
        ),
    ],
)
def test_the_originals_files_are_taken_over(
    images: Images, home: str, state: dict[str, object], index: int, warning: str
) -> None:
    files = {
        "model_fleet_state.json": json.dumps({**state, "timestamp": 1730000000.5}),
        "hopeful_alphas.json": json.dumps([OLD_ALPHA]),
        "credential.txt": '["a@example.org", "secret-word"]',
    }
    drop_in(images, home, files)
    options = ("--network", "none", "--env", "FLEET_STANDIN_VRAM=64 GB")
    with running(images.engine, images.slim(), *options, home=home) as fleet:
        fleet.await_running()
        assert fleet.status()["current_model"]["index"] == index
        told = [row for row in fleet.history() if row["kind"] == "ladder.changed"]
        assert bool(told) is bool(warning) or not warning
        assert not warning or warning in told[-1]["reason"]
        assert json.loads(fleet.sh("cat var/hopeful_alphas.json")) == [OLD_ALPHA]
        assert fleet.sh("stat -c %a var/credential.txt") == "600"
        logs = fleet.docker.logs(fleet.name) + fleet.sh("cat var/log/*.log")
        assert not re.search("secret-word", logs)
