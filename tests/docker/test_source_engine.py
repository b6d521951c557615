"""The docker source on a real Engine: what a container, the daemon, a connection and rotation do to a log."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from monitor.sources.base import Away, Batch, Span, keep_all
from monitor.sources.docker import session
from tests.parts.container_world import EngineTerminalWorld, EngineWorld
from tests.parts.docker_engine import Engine, PrivateEngine
from tests.parts.loopback_proxy import Loopback
from tests.sources.following import Following

pytestmark = pytest.mark.filterwarnings(
    # docker-py leaves the socket of a refused connection to the garbage collector
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(params=[EngineWorld, EngineTerminalWorld], ids=["frames", "terminal"])
def world(request: pytest.FixtureRequest, engine: Engine) -> Iterator[EngineWorld]:
    made: EngineWorld = request.param(engine)
    yield made
    made.close()


REPLACED = int(os.environ.get("FLEET_SOAK_LINES", "3000"))
"""Lines that are written while streams are replaced; a thousand take about four seconds."""


@contextmanager
def private_world(engine: PrivateEngine, **options: object) -> Iterator[EngineWorld]:
    made = EngineWorld(engine, **options)
    try:
        yield made
    finally:
        engine.recover()
        made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that live a minute in production live for a moment."""
    monkeypatch.setattr(session, "RENEW", 0.5)


def numbered(first: int, last: int) -> list[str]:
    return [f"line {n}" for n in range(first, last)]


def encoded(texts: list[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def aways(following: Following) -> list[str]:
    return [item.reason for item in following.items if isinstance(item, Away)]


def test_a_restarted_container(world: EngineWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        for n in range(4):
            world.write(encoded(numbered(n * 10, n * 10 + 10)))
            world.settle()
            world.container.restart(timeout=0)
        following.until_texts(numbered(0, 40))


def test_a_container_that_is_stopped_and_started_later(world: EngineWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        world.write(b"last words\nunended")
        world.settle()
        world.container.kill()
        following.until_away()
        assert "not running" in aways(following)[0]
        world.container.start()
        following.until_back(2)
        world.write(b"again\n")
        following.until("the last line", lambda: "again" in following.texts)
    assert following.texts[0] == "last words"
    assert following.texts[-1] == "again"


def test_a_container_that_is_removed_and_made_anew(world: EngineWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        for n in range(3):
            world.write(encoded(numbered(n, n + 1)))
            following.until_texts(numbered(0, n + 1))
            world.remove()
            following.until_away(n + 1)
            assert aways(following)[-1].startswith(
                ("there is no container", "the container ollama is not running")
            )
            world.run()
        world.write(encoded(numbered(3, 4)))
        following.until_texts(numbered(0, 4))


def test_a_container_that_is_not_there_at_the_start(world: EngineWorld) -> None:
    world.remove()
    with Following(world.source(), None) as following:
        following.until_away()
        world.write(b"first\n")
        world.run()
        following.until_texts(["first"])


def test_a_container_whose_name_another_takes(world: EngineWorld, impatient: None) -> None:
    with Following(world.source()) as following:
        following.until_back()
        world.write(b"old\n")
        following.until_texts(["old"])
        retired = world.container
        retired.rename("retired")
        try:
            retired.kill()
            following.until_away()
            world.run()
            world.write(b"new\n")
            following.until_texts(["old", "new"])
        finally:
            retired.remove(force=True)


def test_a_container_that_gets_the_name_later(world: EngineWorld) -> None:
    world.container.rename("other")
    with Following(world.source()) as following:
        following.until_away()
        world.container.rename("ollama")
        following.until_back()
        world.write(b"named\n")
        following.until_texts(["named"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_restarts(private_engine: PrivateEngine, number: int) -> None:
    """What the container writes while there is no daemon is in nobody's hands; the rest comes once each."""
    with private_world(private_engine, restart_policy={"Name": "always"}) as world:
        with Following(world.source()) as following:
            following.until_back()
            for n in range(2):
                world.write(encoded(numbered(n * 10, n * 10 + 10)))
                world.settle()
                private_engine.stop(number)
                following.until_away(n + 1)
                private_engine.start()
                following.until_back(n + 2)
            world.write(b"the end\n")
            following.until("the end", lambda: "the end" in following.texts)
        assert following.texts == [*numbered(0, 20), "the end"]
        assert "cannot be reached" in aways(following)[0]


def test_a_daemon_that_hangs_is_noticed(private_engine: PrivateEngine, impatient: None) -> None:
    with private_world(private_engine) as world, Following(world.source()) as following:
        following.until_back()
        world.write(b"before\n")
        following.until_texts(["before"])
        private_engine.freeze()
        following.until_away()
        assert "does not answer" in aways(following)[0]
        private_engine.thaw()
        following.until_back(2)
        world.write(b"after\n")
        following.until_texts(["before", "after"])


@pytest.fixture
def proxied(
    private_engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[EngineWorld, Loopback]]:
    """A world whose Engine is at a TCP address, by DOCKER_HOST."""
    proxy = Loopback(private_engine.socket)
    with private_world(private_engine) as world:
        monkeypatch.setenv("DOCKER_HOST", proxy.url)
        yield world, proxy
        proxy.shut()


def test_an_engine_over_tcp_that_goes_and_comes(proxied: tuple[EngineWorld, Loopback]) -> None:
    world, proxy = proxied
    with Following(world.source()) as following:
        following.until_back()
        for n in range(3):
            world.write(encoded(numbered(2 * n, 2 * n + 1)))
            following.until_texts(numbered(0, 2 * n + 1))
            proxy.shut()
            following.until_away(n + 1)
            world.write(encoded(numbered(2 * n + 1, 2 * n + 2)))
            proxy.open()
            following.until_texts(numbered(0, 2 * n + 2))


def test_connections_that_are_cut(proxied: tuple[EngineWorld, Loopback]) -> None:
    world, proxy = proxied
    random = Random(2)
    texts = [random.choice(["same", f"other {n}"]) for n in range(200)]
    with Following(world.source()) as following:
        following.until_back()
        for start in range(0, 200, 10):
            world.write(encoded(texts[start : start + 10]))
            proxy.cut()
        following.until_texts(texts)


def test_a_connection_that_dies_without_a_word(
    proxied: tuple[EngineWorld, Loopback], impatient: None
) -> None:
    world, proxy = proxied
    with Following(world.source()) as following:
        following.until_back()
        world.write(b"one\n")
        following.until_texts(["one"])
        proxy.freeze()
        world.write(b"two\n")
        following.until("the connection given up", lambda: "two" in following.texts or bool(aways(following)))
        following.until_texts(["one", "two"])


@pytest.mark.slow
def test_a_stream_that_is_replaced_again_and_again(
    world: EngineWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconnecting is the common path: each line comes once, and nothing is left open."""
    monkeypatch.setattr(session, "RENEW", 0.3)
    random = Random(12)
    texts = [random.choice(["same", f"other {n}"]) for n in range(REPLACED)]
    with Following(world.source()) as following:
        following.until_back()
        written, threads = 0, threading.active_count()
        while written < len(texts):
            count = random.randint(1, 30)
            world.write(encoded(texts[written : written + count]))
            written += count
            time.sleep(random.choice([0.0, 0.01, 0.05, 0.2]))
        following.until_texts(texts)
        assert threading.active_count() <= threads + 1
    assert not aways(following)


def test_long_lines_of_two_streams_at_once(engine: Engine) -> None:
    world = EngineWorld(engine)
    try:
        with Following(world.source()) as following:
            following.until_back()
            for n in range(4):
                world.write(b"o" * 40_000, "out")
                world.write(b"e" * 40_000, "err")
                world.write(b" out %d\n" % n, "out")
                world.write(b" err %d\n" % n, "err")
            following.until("eight lines", lambda: len(following.texts) == 8)
        expected = [
            f"{letter * 40_000} {name} {n}" for letter, name in (("o", "out"), ("e", "err")) for n in range(4)
        ]
        assert sorted(following.texts) == sorted(expected)
    finally:
        world.close()


def keep_some(chunk: bytes) -> Iterator[Span]:
    """Keep a tenth of the lines; the real prefilter keeps fewer."""
    return (span for span in keep_all(chunk) if chunk[span[1] - 1 : span[1]] in {b"7", b"d"})


@pytest.mark.parametrize("pause", [0.0, 0.01], ids=["a flood", "a stream"])
def test_a_log_that_rotates_loses_nothing_that_the_engine_still_has(engine: Engine, pause: float) -> None:
    world = EngineWorld(
        engine, log_config={"type": "json-file", "config": {"max-size": "20k", "max-file": "4"}}
    )
    try:
        with Following(world.source(keep=keep_some)) as following:
            following.until_back()
            for start in range(0, 3000, 25):
                world.write(encoded(numbered(start, start + 25)))
                time.sleep(pause)
            world.write(b"the end\n")
            following.until("the end", lambda: "the end" in following.texts)
            still = {text for text in world.logged() if text[-1] in "7d"}
            following.until("what the Engine has", lambda: not still - set(following.texts))
            time.sleep(2.5)  # a second reading follows when the log has gone quiet
        assert [text for text, times in Counter(following.texts).items() if times > 1] == []
        assert len(still) > 20
    finally:
        world.close()


def test_killed_and_resumed_anywhere_amid_restarts(engine: Engine) -> None:
    """The reader stops at any batch and goes on from its cursor, the container restarts: each line comes once."""
    random = Random(9)
    world = EngineWorld(engine)
    try:
        with Following(world.source()) as start:
            start.until("where it joined", lambda: start.cursor is not None)
        cursor, handled, written = start.cursor, list[str](), 0
        for _ in range(8):
            count = random.randint(1, 30)
            world.write(encoded(numbered(written, written + count)))
            written += count
            if random.random() < 0.4:
                world.settle()
                world.container.restart(timeout=0)
            with Following(world.source(), cursor) as following:
                following.until("a line", lambda: bool(following.texts))
                at = random.choice(
                    [n for n, i in enumerate(following.items) if isinstance(i, Batch) and i.lines]
                )
            kept = following.items[: at + 1]
            handled += [line.text for item in kept if isinstance(item, Batch) for line in item.lines]
            cursor = [item.cursor for item in kept if isinstance(item, Batch)][-1]
        with Following(world.source(), cursor) as last:
            last.until("all", lambda: len(handled) + len(last.texts) >= written)
        assert handled + last.texts == numbered(0, written)
    finally:
        world.close()
