"""The Compose stack on a real Engine: the fleet, the log proxy, and the stand-in in Ollama's place."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fleet.runtime.home import ROOT
from tests.parts.containers import FLEET, OLLAMA, PROXY, Docker, Stack, compose_commands
from tests.parts.docker_engine import PrivateEngine
from tests.parts.images import Images
from tests.parts.require import require
from tests.processes.fleet import eventually

pytestmark = pytest.mark.timeout(900)
FILES = ("docker-compose.yml", "docker-compose.cpu.yml", "tests/docker/stacked.yml")


def compose(version: str = "") -> list[str]:
    found = compose_commands()
    if not found or (version and version not in found):
        require(f"compose-{version}" if found else "compose", f"there is {', '.join(found) or 'none'}")
    return found.get(version) or next(iter(found.values()))


def make_stack(images: Images, tool: list[str]) -> Stack:
    engine = images.engine
    assert isinstance(engine, PrivateEngine)
    environ = {
        "FLEET_IMAGE": images.slim(),
        "LOG_PROXY_IMAGE": images.proxy(),
        "DOCKER_SOCKET_FOLDER": str(engine.socket_folder),
    }
    return Stack(engine, tool, FILES, environ)


@pytest.fixture(scope="module")
def shared_stack(images: Images) -> Iterator[Stack]:
    if not isinstance(images.engine, PrivateEngine):
        require("dockerd", "the names of the stack's containers may be in use on an Engine that is not ours")
    stack = make_stack(images, compose())
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Give the stack, running on the top rung."""
    shared_stack.up()
    if shared_stack.fleet.index() != 0:
        shared_stack.fleet.exec("python", "fleet_cli.py", "reset")
    shared_stack.fleet.await_model(0, "llama3.2:3b")
    followed(shared_stack)
    return shared_stack


def followed(stack: Stack) -> None:
    """Wait until Ollama's log is followed."""
    eventually(
        lambda: (row := stack.fleet.status()) and not row["log_source_away"] and not row["away"],
        within=60,
        what=f"the log followed: {stack.fleet.status()}\n{stack.fleet.sh('tail -5 var/log/monitor.log')}",
    )


def test_all_becomes_healthy_and_nothing_is_published(stack: Stack) -> None:
    for name in (FLEET, PROXY):
        eventually(
            lambda name=name: stack.docker.inspect(name)["State"]["Health"]["Status"] == "healthy",
            within=90,
            what=f"{name} healthy: {stack.docker.inspect(name)['State']}",
        )
    for name in (FLEET, PROXY, OLLAMA):
        assert not stack.docker.inspect(name)["HostConfig"]["PortBindings"]
        assert stack.docker.inspect(name)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert stack.docker.inspect(name)["HostConfig"]["LogConfig"]["Config"]["max-size"] == "20m"


@pytest.mark.parametrize("name", [FLEET, PROXY])
def test_the_hardening_is_in_force(stack: Stack, name: str) -> None:
    status = stack.docker("exec", name, "cat", "/proc/1/status")
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(values["CapEff"], 16) == int(values["CapBnd"], 16) == 0
    assert values["NoNewPrivs"] == "1"
    refused = stack.docker.run("exec", name, "sh", "-c", "echo x > /etc/x")
    assert "Read-only file system" in refused.stderr
    if name == FLEET:
        assert values["Uid"].split() == ["10001"] * 4


def test_failures_move_the_generator_down(stack: Stack) -> None:
    assert stack.fleet.programs() == {"generator": "RUNNING", "monitor": "RUNNING"}
    before = stack.fleet.sh("supervisorctl pid generator")
    stack.fail(3)
    stack.fleet.await_model(1, "phi3:mini")
    stack.fleet.await_running()
    assert stack.fleet.sh("supervisorctl pid generator") != before
    row = stack.fleet.status()
    assert row["current_model"]["name"] == "phi3:mini"
    assert row["log_source"] == f"docker:{OLLAMA}"
    assert row["vram_error_count"] == 0
    assert "downgrade" in stack.docker.logs(FLEET)


def test_a_recreated_ollama_is_followed_on(stack: Stack) -> None:
    stack.docker("rm", "--force", OLLAMA)
    eventually(lambda: stack.fleet.status().get("log_source_away"), what="its absence noticed")
    stack.up()
    followed(stack)
    stack.fail(3)
    stack.fleet.await_model(1, "phi3:mini")


def test_a_restarted_engine_is_followed_on(stack: Stack) -> None:
    """The socket is another one afterwards; the proxy, which has its folder, finds it."""
    engine = stack.engine
    assert isinstance(engine, PrivateEngine)
    try:
        engine.restart()
    finally:
        engine.recover()
    eventually(lambda: stack.docker.run("inspect", FLEET).returncode == 0, what="the Engine back")
    eventually(
        lambda: stack.docker.inspect(FLEET)["State"]["Running"], what="the fleet restarted by the Engine"
    )
    stack.fleet.await_running()
    followed(stack)
    stack.fail(3)
    stack.fleet.await_model(1, "phi3:mini")


def test_stopping_stores_all_in_time(stack: Stack) -> None:
    """One that had to be killed would end with 137; how long it takes is measured by `make bench ONLY=container`."""
    stack.fail()
    eventually(lambda: stack.fleet.status().get("vram_error_count") == 1, what="a failure counted")
    calls = int(stack.fleet.status()["generator"]["totals"]["calls"])
    stack.docker("stop", "--time", "20", FLEET)
    assert stack.docker.inspect(FLEET)["State"]["ExitCode"] == 0
    stack.up()
    stack.fleet.await_model(0, "llama3.2:3b")
    assert stack.fleet.status()["vram_error_count"] == 1
    count = "import sqlite3; print(*sqlite3.connect('var/alphas.db').execute('select count(*) from calls').fetchone())"
    stored = stack.fleet.exec("python", "-c", count)
    assert int(stored.stdout) >= calls, stored.stderr


def test_a_killed_fleet_comes_back_where_it_was(stack: Stack) -> None:
    stack.fail(3)
    stack.fleet.await_model(1, "phi3:mini")
    eventually(lambda: ended(stack, "phi3:mini"), what="the end of the switch in the history")
    told = switches(stack)
    stack.docker("kill", FLEET)
    stack.up()
    stack.fleet.await_model(1, "phi3:mini")
    assert [row["number"] for row in switches(stack)] == [row["number"] for row in told]


def switches(stack: Stack) -> list[dict[str, Any]]:
    return [row for row in stack.fleet.history() if row["kind"].startswith("switch")]


def ended(stack: Stack, model: str) -> bool:
    """Tell whether the last thing told of a switch is that this model works."""
    last = switches(stack)[-1:]
    return bool(last) and last[0]["kind"] == "switch.done" and last[0]["to"] == model


def test_the_volume_outlives_the_stack(stack: Stack) -> None:
    assert stack.fleet.exec("python", "fleet_cli.py", "use", "2").returncode == 0
    stack.fleet.await_model(2, "tinyllama:1.1b")
    stack.down(volumes=False)
    stack.up()
    stack.fleet.await_model(2, "tinyllama:1.1b")


def test_health_tells_a_broken_fleet(stack: Stack) -> None:
    assert stack.fleet.exec("python", "-m", "fleet.startup.healthcheck").stdout == "healthy\n"
    stack.fleet.exec("supervisorctl", "stop", "generator")
    found = stack.fleet.exec("python", "-m", "fleet.startup.healthcheck")
    stack.fleet.exec("supervisorctl", "start", "generator")
    assert found.returncode == 1
    assert found.stdout == "generator is STOPPED\n"


ASK = """
import sys, urllib.request, urllib.error
request = urllib.request.Request("http://log-proxy:2375" + sys.argv[2], method=sys.argv[1])
try:
    print(urllib.request.urlopen(request, timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/v1.41/containers/{OLLAMA}/json", "200"),
        ("GET", f"/containers/{OLLAMA}/logs?stdout=1&tail=1", "200"),
        ("GET", f"/containers/{FLEET}/json", "403"),
        ("GET", f"/containers/{FLEET}/logs?stdout=1", "403"),
        ("GET", "/containers/json", "403"),
        ("POST", f"/containers/{OLLAMA}/restart", "403"),
        ("POST", "/containers/create", "403"),
    ],
)
def test_the_fleet_gets_no_more_of_the_engine(stack: Stack, method: str, path: str, status: str) -> None:
    assert stack.fleet.exec("python", "-c", ASK, method, path).stdout.strip() == status


def test_no_other_container_reaches_the_proxy(stack: Stack) -> None:
    """Ollama's container, which is on the other network, does not even find its name."""
    script = "import socket; socket.create_connection(('log-proxy', 2375), 3)"
    done = stack.docker.run("exec", OLLAMA, "python", "-c", script)
    assert done.returncode != 0
    networks = stack.docker.inspect(PROXY)["NetworkSettings"]["Networks"]
    assert [name.rpartition("_")[2] for name in networks] == ["engine"]
    details = json.loads(stack.docker("network", "inspect", next(iter(networks))))[0]
    assert details["Internal"]


def test_an_ollama_of_ones_own_is_taken(images: Images, shared_stack: Stack) -> None:
    """The name, the address and the network are the user's; no second Ollama is started."""
    shared_stack.down()
    docker = Docker(images.engine)
    docker("network", "create", "theirs")
    stack = make_stack(images, compose())
    stack.files = ("docker-compose.existing.yml",)
    stack.environ |= {
        "OLLAMA_CONTAINER": "my-ollama",
        "OLLAMA_URL": "http://my-ollama:11434",
        "OLLAMA_NETWORK": "theirs",
        "OLLAMA_NETWORK_EXISTS": "true",
        "HOST_ADDRESS": "127.0.0.1",  # there is no bridge of the Engine's own here
    }
    standin = ("python", "-m", "standin", "--host", "0.0.0.0", "--port", "11434")
    try:
        docker("run", "-d", "--name", "my-ollama", "--network", "theirs", images.slim(), *standin)
        stack.up()
        followed(stack)
        row = stack.fleet.status()
        assert row["log_source"] == "docker:my-ollama"
        assert "llama3.2:3b" in row["available_models"]
        names = set(docker("ps", "--format", "{{.Names}}").split())
        assert names == {"my-ollama", FLEET, PROXY}
    finally:
        stack.down()
        docker("rm", "--force", "--volumes", "my-ollama", ok=False)
        docker("network", "rm", "theirs", ok=False)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("files", "services", "gpu"),
    [
        (["docker-compose.yml"], {"ollama", "log-proxy", "fleet"}, True),
        (["docker-compose.yml", "docker-compose.cpu.yml"], {"ollama-cpu", "log-proxy", "fleet"}, False),
        (["docker-compose.yml", "docker-compose.amd.yml"], {"ollama-amd", "log-proxy", "fleet"}, False),
        (["docker-compose.yml", "docker-compose.publish.yml"], {"ollama", "log-proxy", "fleet"}, True),
        (["docker-compose.existing.yml"], {"log-proxy", "fleet"}, False),
    ],
)
def test_each_version_of_compose_takes_each_combination(
    version: str, files: list[str], services: set[str], gpu: bool
) -> None:
    tool = compose(version)
    stack = Stack(PrivateEngine.__new__(PrivateEngine), tool, files, {})
    stack.engine.url = "unix:///nowhere.sock"
    text = stack("config").stdout
    assert set(stack("config", "--services").stdout.split()) - {"ollama"} == services - {"ollama"}
    assert ("nvidia" in text and "capabilities" in text) is gpu or version == "v1"
    published = "127.0.0.1" in text
    assert published is ("docker-compose.publish.yml" in files)
    assert "0.0.0.0" not in text
    assert (ROOT / files[0]).is_file()


def test_compose_2_starts_the_stack(images: Images, shared_stack: Stack) -> None:
    tool = compose("v2")
    shared_stack.down()
    stack = make_stack(images, tool)
    try:
        stack.up()
        followed(stack)
        assert stack.fleet.running()
    finally:
        stack.down()
