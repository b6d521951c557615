"""What Debian's haproxy with our rules lets through to a real Engine, and what it refuses."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from docker.models.containers import Container

from fleet.runtime.home import ROOT
from monitor.sources.base import Batch, Item
from monitor.sources.docker.source import DockerSource
from tests.parts.docker_engine import BASE, Engine, PrivateEngine
from tests.parts.require import require
from tests.parts.supervisord import wait_until
from tests.processes.fleet import eventually

START = ROOT / "container" / "log-proxy" / "start.sh"
ANSWERS_TIMEOUT = 10.0  # of haproxy.cfg's `answers`, which no stream may meet


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy, and the container that it is for."""

    port: int
    pid: int
    ours: Container
    other: Container

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> int:
        """Send a request line as it stands; return the status of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection):
            connection._validate_path = lambda _: None  # the point is to send what no client would
            connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
            return connection.getresponse().status

    @contextmanager
    def stream(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """Open a stream until the block ends."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request("GET", path)
            with closing(connection.getresponse()) as answer:
                yield answer

    def connections(self) -> int:
        """Return how many sockets haproxy and its worker have open."""
        pids = [self.pid, *map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())]
        return sum(is_socket(link) for pid in pids for link in descriptors(pid))


def is_socket(descriptor: Path) -> bool:
    """Tell whether a descriptor is a socket; one that was closed since it was listed is not."""
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except FileNotFoundError:
        return False


def descriptors(pid: int) -> list[Path]:
    with suppress(OSError):
        return [link for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def chatty(client: docker.DockerClient, name: str) -> Container:
    """Run a container that says what it is given, and nothing by itself."""
    return client.containers.run(BASE, ["sleep", "100000"], name=name, detach=True, init=True)


def say(container: Container, text: str) -> None:
    container.exec_run(["sh", "-c", f"echo {text} > /proc/1/fd/1"])


@pytest.fixture(scope="module")
def proxy(engine: Engine) -> Iterator[Proxy]:
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        require("haproxy", "it is not installed")
    if not isinstance(engine, PrivateEngine):
        require("dockerd", "a proxy is put before the tests' own Engine only")
    port, mark = free_port(), uuid4().hex[:6]
    environ = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "OLLAMA_CONTAINER": f"ours-{mark} second.one",
        "DOCKER_SOCKET": str(engine.socket),
        "LISTEN": f"127.0.0.1:{port}",
    }
    with closing(engine.client()) as client:
        ours, other = chatty(client, f"ours-{mark}"), chatty(client, f"other-{mark}")
        process = subprocess.Popen([str(START)], env=environ, stdout=subprocess.DEVNULL)
        try:
            started = Proxy(port, process.pid, ours, other)
            check = [str(START), "check"]
            wait_until(
                lambda: not subprocess.run(check, env=environ, check=False, capture_output=True).returncode
            )
            yield started
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            ours.remove(force=True)
            other.remove(force=True)


@pytest.mark.parametrize(
    "path",
    [
        "/_ping",
        "/v1.41/_ping",
        "/version",
        "/v1.24/version",
        "/containers/{ours}/json",
        "/v1.41/containers/{ours}/json",
        "/containers/{ours}/logs?stdout=1&stderr=1&tail=1",
        "/v1.41/containers/{ours}/logs?stdout=1&since=1.5&until=2",
        "/events?since=0&until=1",
        "/v1.41/events?until=1&filters=%7B%22type%22%3A%5B%22image%22%5D%7D",
    ],
)
def test_what_the_fleet_needs_is_let_through(proxy: Proxy, path: str) -> None:
    assert proxy.ask("GET", path.format(ours=proxy.ours.name)) == 200


def test_a_second_container_may_be_named(proxy: Proxy) -> None:
    assert proxy.ask("GET", "/containers/second.one/json") == 404  # the Engine's own answer
    assert proxy.ask("GET", "/containers/secondXone/json") == 403


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get"]
)
@pytest.mark.parametrize(
    "path", ["/_ping", "/containers/{ours}/json", "/containers/{ours}/restart", "/build"]
)
def test_no_other_method_is(proxy: Proxy, method: str, path: str) -> None:
    assert proxy.ask(method, path.format(ours=proxy.ours.name)) in {400, 403, 405}


@pytest.mark.parametrize(
    "path",
    [
        "/containers/json?all=1",
        "/containers/{other}/json",
        "/containers/{other}/logs?stdout=1",
        "/containers/{id}/json",
        "/containers/{id}/logs?stdout=1",
        "/containers/{ours}/export",
        "/containers/{ours}/archive?path=/etc",
        "/containers/{ours}/top",
        "/containers/{ours}/stats",
        "/containers/{ours}/changes",
        "/containers/{ours}/attach/ws?stream=1",
        "/containers/{ours}/exec",
        "/info",
        "/images/json",
        "/volumes",
        "/networks",
        "/secrets",
        "/system/df",
        "/",
        "",
        # The same by another spelling
        "//containers/{other}/json",
        "//containers/{ours}/json",
        "/./containers/{ours}/json",
        "/containers/{ours}/../{other}/json",
        "/containers/{ours}/%2e%2e/{other}/json",
        "/containers/{ours}%2f..%2f{other}/json",
        "/containers/../info",
        "/containers/../json",
        "/containers/{ours}/json/../export",
        "/containers/{ours}/json/",
        "/containers/{ours}/json%3f",
        "/containers/{ours}/json%00",
        "/containers/{ours}/json;x",
        "/containers/{ours}/logs/../archive?path=/",
        "/v1.41//containers/{ours}/json",
        "/v1.41/v1.41/containers/{ours}/json",
        "/v1.41/../containers/{ours}/json",
        "/v1/containers/{ours}/json",
        "/v2.0/containers/{ours}/json",
        "/V1.41/containers/{ours}/json",
        "/containers/{other}/json?/containers/{ours}/json",
        "/containers/{other}/json?x=/containers/{ours}/logs",
        "/containers/{other}/json#/containers/{ours}/json",
        "http://x/containers/{other}/json",
        "*",
    ],
)
def test_no_other_path_is(proxy: Proxy, path: str) -> None:
    names = {"ours": proxy.ours.name, "other": proxy.other.name, "id": proxy.ours.id}
    assert proxy.ask("GET", path.format(**names)) in {400, 403}


def test_no_body_and_no_other_protocol_gets_through(proxy: Proxy) -> None:
    path = f"/containers/{proxy.ours.name}/json"
    assert proxy.ask("GET", path, "a body") == 403
    assert proxy.ask("GET", path, Transfer_Encoding="chunked") == 403
    assert proxy.ask("GET", path, Upgrade="tcp", Connection="Upgrade") == 200  # as a plain GET
    smuggled = (
        f"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        f"GET /containers/{proxy.other.name}/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as raw:
        raw.sendall(smuggled.encode())
        received = b"".join(iter(lambda: raw.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200") == 1
    assert received.count(b"HTTP/1.1 403") == 1


def test_events_are_those_of_our_container_alone(proxy: Proxy, engine: Engine) -> None:
    filters = "%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22start%22%5D%7D"
    before = int(time.time()) - 1
    proxy.other.restart(timeout=0)
    proxy.ours.restart(timeout=0)
    with proxy.stream(f"/events?since={before}&until={int(time.time()) + 1}&filters={filters}") as answer:
        events = [json.loads(line) for line in answer.read().splitlines()]
    names = {event["Actor"]["Attributes"]["name"] for event in events}
    assert names == {proxy.ours.name}
    assert "start" in {event["Action"] for event in events}


def test_a_quiet_stream_is_not_cut(proxy: Proxy) -> None:
    path = f"/containers/{proxy.ours.name}/logs?stdout=1&follow=1&tail=0"
    with proxy.stream(path) as answer:
        time.sleep(ANSWERS_TIMEOUT + 1)
        say(proxy.ours, "late")
        assert answer.read(8)[-8:]  # a frame's header
        assert answer.readline() == b"late\n"


def settled(proxy: Proxy) -> int:
    """Return the number of connections once those of earlier tests have gone."""
    seen = [proxy.connections()]
    while seen[-3:] != [seen[-1]] * 3:
        time.sleep(1.0)
        seen.append(proxy.connections())
    return seen[-1]


def test_who_leaves_a_stream_leaves_nothing_behind(proxy: Proxy) -> None:
    before = settled(proxy)
    with ExitStack() as streams:
        streams.enter_context(proxy.stream(f"/containers/{proxy.ours.name}/logs?stdout=1&follow=1&tail=0"))
        streams.enter_context(proxy.stream("/events"))
        assert proxy.connections() >= before + 4
    eventually(lambda: proxy.connections() <= before, what=f"{proxy.connections()} sockets, {before} before")


def lines_of(item: Item) -> list[str]:
    return [line.text for line in item.lines] if isinstance(item, Batch) else []


def test_the_monitors_source_follows_through_it(
    proxy: Proxy, private_engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over a restart of the Engine, which makes its socket anew."""
    monkeypatch.setenv("DOCKER_HOST", proxy.url)
    source = DockerSource(str(proxy.ours.name))
    seen: list[str] = []
    ready = threading.Event()

    def follow() -> None:
        for item in source.items(None):
            seen.extend(lines_of(item))
            ready.set()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        assert ready.wait(20)
        time.sleep(0.5)
        say(proxy.ours, "first")
        eventually(lambda: "first" in seen, what=f"a line through the proxy: {seen}")
        private_engine.restart()
        proxy.ours.start()
        say(proxy.ours, "second")
        eventually(lambda: "second" in seen, what=f"a line after the restart: {seen}")
        assert seen == ["first", "second"]
    finally:
        source.close()
        thread.join(20)
        proxy.other.start()
