"""The Engine that the other tests rely on: it comes, goes and comes back, and leaves nothing behind."""

import signal
import subprocess
from contextlib import closing

import pytest

from tests.parts.docker_engine import BASE, Engine, NoEngineError, PrivateEngine
from tests.parts.require import require


def test_a_container_runs_and_is_heard(engine: Engine) -> None:
    with closing(engine.client()) as client:
        assert client.containers.run(BASE, ["echo", "hello"], remove=True) == b"hello\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_containers_and_images_outlive_a_restart(private_engine: PrivateEngine, number: int) -> None:
    with closing(private_engine.client()) as client:
        client.containers.run(BASE, ["sleep", "1000"], name="lasting", detach=True, init=True)
    private_engine.restart(number)
    with closing(private_engine.client()) as client:
        container = client.containers.get("lasting")
        container.start()
        assert client.containers.get("lasting").status == "running"
        container.remove(force=True)


def test_containers_of_one_network_reach_each_other(private_engine: PrivateEngine) -> None:
    """Compose needs no more; the daemon makes no firewall rules for it."""
    with closing(private_engine.client()) as client:
        network = client.networks.create("meeting")
        try:
            done = client.containers.run(BASE, ["cat", "/proc/net/route"], network="meeting", remove=True)
            assert b"eth0" in done
        finally:
            network.remove()


def test_nothing_is_left_of_a_daemon() -> None:
    engine = PrivateEngine()
    try:
        engine.start()
    except NoEngineError as error:
        require("dockerd", str(error))
    finally:
        engine.close()
    assert not engine.folder.exists()
    processes = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert str(engine.folder) not in processes
