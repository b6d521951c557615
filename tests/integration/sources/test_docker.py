"""The docker source against a fake Engine: what a daemon, a container and a connection do to a stream."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from monitor.sources.base import Away, Batch, Cursor, Span, keep_all
from monitor.sources.docker import session
from monitor.sources.open import open_source
from tests.parts.fake_docker import Container, FakeEngine
from tests.sources.following import Following, lines_of
from tests.sources.worlds import DockerWorld, TerminalWorld

pytestmark = pytest.mark.filterwarnings(
    # docker-py leaves the socket of a refused connection to the garbage collector
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(params=[DockerWorld, TerminalWorld], ids=["frames", "terminal"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DockerWorld]:
    made: DockerWorld = request.param(tmp_path)
    yield made
    made.close()


@pytest.fixture
def framed(tmp_path: Path) -> Iterator[DockerWorld]:
    made = DockerWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The looks that are minutes apart in production, a moment apart."""
    monkeypatch.setattr(session, "RENEW", 0.3)
    monkeypatch.setattr(session, "SETTLED", 0.2)


def numbered(first: int, last: int) -> list[str]:
    return [f"line {n}" for n in range(first, last)]


def encoded(texts: list[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def test_a_restarted_container_loses_and_repeats_nothing(world: DockerWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        expected = []
        for n in range(8):
            expected += numbered(n * 10, n * 10 + 10)
            world.write(encoded(numbered(n * 10, n * 10 + 10)))
            world.engine.halt(world.container)
            world.engine.begin(world.container)
        following.until_texts(expected)


def test_a_stopped_container_is_told_and_waited_for(world: DockerWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        world.write(b"last words\nCUDA error: out of mem")
        world.engine.halt(world.container)
        following.until_away()
        away = next(item for item in following.items if isinstance(item, Away))
        assert "not running" in away.reason
        assert "docker start ollama" in away.hint
        follows = sum("follow=1" in request for request in world.engine.requests)
        time.sleep(0.5)
        assert sum("follow=1" in request for request in world.engine.requests) == follows, "nothing to read"
        world.engine.begin(world.container)
        following.until_back(2)
        world.write(b"again\n")
        following.until_texts(["last words", "CUDA error: out of mem", "again"])


def test_a_container_that_is_created_and_started_later_is_back_when_it_runs(world: DockerWorld) -> None:
    """Its log can be followed before it runs; the start would go unseen, and a later end too."""
    world.engine.remove("ollama")
    with Following(world.source(), None) as following:
        following.until_away()
        world.container = world.engine.run("ollama", tty=world.tty, running=False)
        following.until("away for another reason", lambda: following.count(Away) == 2)
        world.engine.begin(world.container)
        following.until_back()
        world.write(b"one\n")
        following.until_texts(["one"])
        world.engine.remove("ollama")
        following.until_away(3)


def test_a_recreated_container_is_followed_by_its_name(world: DockerWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        world.write(b"old\n")
        following.until_texts(["old"])
        world.engine.remove("ollama")
        following.until_away()
        assert any("no container" in i.reason for i in following.items if isinstance(i, Away))
        world.container = world.engine.run("ollama", tty=not world.tty)
        world.write(b"new\n")
        following.until_texts(["old", "new"])


def test_another_container_that_takes_the_name_is_noticed(framed: DockerWorld, impatient: None) -> None:
    with Following(framed.source()) as following:
        following.until_back()
        framed.write(b"old\n")
        following.until_texts(["old"])
        framed.engine.rename("ollama", "retired")
        new = framed.engine.run("ollama")
        framed.engine.write(new, b"new\n")
        following.until_texts(["old", "new"])
        framed.engine.write(framed.container, b"of the retired one\n")
        framed.engine.write(new, b"more\n")
        following.until_texts(["old", "new", "more"])


def test_a_daemon_that_restarts(world: DockerWorld) -> None:
    with Following(world.source()) as following:
        following.until_back()
        expected = []
        for n in range(3):
            world.write(encoded(numbered(n, n + 1)))
            world.engine.stop()
            following.until_away(n + 1)
            world.write(f"while it was away {n}\n".encode())
            world.engine.start()
            expected += [f"line {n}", f"while it was away {n}"]
            following.until_texts(expected)


def test_a_stream_that_dies_without_a_word_is_noticed(framed: DockerWorld, impatient: None) -> None:
    with Following(framed.source()) as following:
        following.until_back()
        framed.write(b"one\n")
        following.until_texts(["one"])
        framed.engine.freeze_streams()
        framed.write(b"two\n")
        following.until_texts(["one", "two"])
    assert following.count(Away) == 0


def test_a_stream_that_is_replaced_again_and_again_loses_and_repeats_nothing(
    world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RENEW", 0.1)
    random = Random(4)
    texts = [random.choice(["same", f"other {n}"]) for n in range(400)]
    with Following(world.source()) as following:
        following.until_back()
        for start in range(0, 400, 10):
            world.write(encoded(texts[start : start + 10]))
            time.sleep(random.choice([0.0, 0.02, 0.06]))
        following.until_texts(texts)
    assert sum("follow=1" in request for request in world.engine.requests) > 4
    assert following.count(Away) == 0


def test_cut_streams_lose_and_repeat_nothing(world: DockerWorld) -> None:
    random = Random(3)
    texts = [random.choice(["same", f"other {n}"]) for n in range(400)]
    with Following(world.source()) as following:
        following.until_back()
        for start in range(0, 400, 10):
            world.write(encoded(texts[start : start + 10]))
            world.engine.cut_streams()
        following.until_texts(texts)


@pytest.mark.parametrize("step", [0, 1, 1000])
def test_equal_stamps_neither_repeat_nor_lose(framed: DockerWorld, step: int) -> None:
    """A whole log of equal stamps (or nearly), equal texts among them, cut at every few lines."""
    now = time.time_ns()
    ticks = iter(range(now, now + 10**9, step) if step else iter(lambda: now, None))
    framed.container.clock = lambda: next(ticks)
    random = Random(7)
    texts = [random.choice(["same", "same", f"other {n}"]) for n in range(700)]
    with Following(framed.source()) as following:
        following.until_back()
        for start in range(0, 700, 7):
            framed.write(encoded(texts[start : start + 7]))
            if random.random() < 0.3:
                framed.engine.cut_streams()
        following.until_texts(texts)
    batches = [(at, item) for at, item in enumerate(following.items) if isinstance(item, Batch)]
    for at, batch in random.sample(batches, 6):
        expected = texts[len(lines_of(following.items[: at + 1])) :]
        with Following(framed.source(), batch.cursor) as again:
            framed.write(b"end\n")
            again.until("the end", lambda: again.texts[-1:] == ["end"])
        assert [text for text in again.texts if text != "end"] == expected


def test_stamps_of_two_streams_may_stand_out_of_order(framed: DockerWorld) -> None:
    now = time.time_ns()
    offsets = iter([100, 50, 300, 200, 250, 600, 500, 400])
    framed.container.clock = lambda: now + next(offsets)
    with Following(framed.source()) as following:
        following.until_back()
        for n in range(8):
            framed.engine.write(framed.container, b"line %d\n" % n, stream=1 + n % 2)
            framed.engine.cut_streams()
        following.until_texts(numbered(0, 8))


@pytest.mark.parametrize("kept_lines", [True, False], ids=["all kept", "rotated"])
def test_a_clock_set_back_between_two_connections_loses_and_repeats_nothing(
    world: DockerWorld, *, kept_lines: bool
) -> None:
    """The new lines are stamped before those that were read; what was read is more than a ledger holds."""
    now = time.time_ns()
    seconds = iter(range(10_000))
    world.container.clock = lambda: now + next(seconds) * 10**9
    before = numbered(0, 300)
    with Following(world.source()) as first:
        first.until_back()
        world.write(encoded(before))
        first.until_texts(before)
    world.write(b"unread\n")
    world.container.clock = lambda: now - 3600 * 10**9 + next(seconds) * 10**9
    world.write(b"after\nthe step\n")
    if not kept_lines:
        del world.container.messages[:-3]
    with Following(world.source(), first.cursor) as second:
        second.until_texts(["unread", "after", "the step"])
        world.write(b"live\n")
        second.until_texts(["unread", "after", "the step", "live"])
    with Following(world.source(), second.cursor) as third:
        world.write(b"end\n")
        third.until_texts(["end"])


def test_a_clock_that_steps_back_loses_nothing_live(framed: DockerWorld) -> None:
    now = time.time_ns()
    framed.container.clock = lambda: now
    with Following(framed.source()) as following:
        following.until_back()
        framed.write(b"before\n")
        following.until_texts(["before"])
        framed.container.clock = lambda: now - 3600 * 10**9
        framed.write(b"after\n")
        following.until_texts(["before", "after"])
        framed.engine.cut_streams()
        framed.write(b"after a cut\n")
        following.until_texts(["before", "after", "after a cut"])


def test_long_lines_of_two_streams_at_once(framed: DockerWorld) -> None:
    with Following(framed.source()) as following:
        following.until_back()
        for _ in range(3):
            framed.engine.write(framed.container, b"o" * 16384, stream=1)
            framed.engine.write(framed.container, b"e" * 16384, stream=2)
        framed.engine.write(framed.container, b" out\n", stream=1)
        framed.engine.write(framed.container, b" err\nshort\n", stream=2)
        following.until_texts(["o" * 49152 + " out", "e" * 49152 + " err", "short"])


def test_a_last_line_without_an_end_is_not_joined_to_the_next_run(world: DockerWorld) -> None:
    with Following(world.source()) as following:
        following.until("where it joined", lambda: following.cursor is not None)
    world.write(b"first run, killed in mid")
    world.engine.halt(world.container)
    world.engine.begin(world.container)
    world.write(b"second run\n")
    with Following(world.source(), following.cursor) as again:
        again.until_texts(["first run, killed in mid", "second run"])


def lossy(world: DockerWorld) -> None:
    """Make the Engine's streams drop messages as they do while a log rotates."""
    world.container.log_config = {"Type": "json-file", "Config": {"max-size": "10k", "max-file": "5"}}
    world.container.dropped = set(Random(1).sample(range(400), 150))


def keep_odd(chunk: bytes) -> Iterator[Span]:
    return (
        (start, end)
        for start, end in keep_all(chunk)
        if chunk[start:end].rstrip().endswith((b"1", b"3", b"5"))
    )


def test_what_a_rotation_swallowed_is_made_up_for(framed: DockerWorld, impatient: None) -> None:
    lossy(framed)
    with Following(framed.source(keep=keep_odd)) as following:
        following.until_back()
        for start in range(0, 400, 20):
            framed.write(encoded(numbered(start, start + 20)))
        framed.container.dropped.clear()
        framed.write(b"the last one\n")
        expected = [text for text in numbered(0, 400) if text.endswith(("1", "3", "5"))]
        following.until("all", lambda: len(following.texts) >= len(expected))
        time.sleep(0.5)
    assert sorted(following.texts) == sorted(expected)


def test_an_end_that_a_rotation_swallowed_whole_is_made_up_for(
    framed: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last thing that comes is read again at once, amid the flood, and nothing comes after it."""
    monkeypatch.setattr(session, "SETTLED", 0.2)
    lossy(framed)
    framed.container.log_config["Config"]["max-size"] = "40"
    framed.container.dropped = set(range(100, 400))
    with Following(framed.source(keep=keep_odd)) as following:
        following.until_back()
        framed.write(encoded(numbered(0, 20)))
        following.until("a line from the stream", lambda: bool(following.texts))
        framed.write(encoded(numbered(20, 400)))
        expected = [text for text in numbered(0, 400) if text.endswith(("1", "3", "5"))]
        following.until("all", lambda: len(following.texts) >= len(expected))
        time.sleep(0.5)
    assert sorted(following.texts) == sorted(expected)


def test_what_a_rotation_swallowed_is_made_up_for_after_a_restart(framed: DockerWorld) -> None:
    lossy(framed)
    with Following(framed.source(keep=keep_odd)) as first:
        first.until_back()
        framed.write(encoded(numbered(0, 20)))
        first.until("some", lambda: first.count(Batch) > 1)
    with Following(framed.source(keep=keep_odd), first.cursor) as second:
        expected = [text for text in numbered(0, 20) if text.endswith(("1", "3", "5"))]
        second.until("all", lambda: len(first.texts + second.texts) >= len(expected))
    assert sorted(first.texts + second.texts) == sorted(expected)


def test_a_log_that_does_not_rotate_is_not_read_twice(
    framed: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SETTLED", 0.2)
    with Following(framed.source()) as following:
        following.until_back()
        framed.write(encoded(numbered(0, 50)))
        following.until_texts(numbered(0, 50))
        time.sleep(0.5)
    assert sum("follow=1" in request for request in framed.engine.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusal", "reason", "hint"),
    [
        ((403, "forbidden"), "refuses: forbidden", "Let the proxy pass"),
        ((501, "configured logging driver does not support reading"), "logging driver", "json-file"),
        ((500, "out of order"), "refuses: out of order", "DOCKER_HOST"),
        ((409, "marked for removal"), "marked for removal", "docker ps -a"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(
    framed: DockerWorld, refusal: tuple[int, str], reason: str, hint: str
) -> None:
    framed.engine.refusal = refusal
    with Following(framed.source()) as following:
        following.until_away()
        framed.engine.refusal = None
        following.until_back()
    away = next(item for item in following.items if isinstance(item, Away))
    assert reason in away.reason
    assert hint in away.hint


def test_a_container_amid_its_removal_is_no_fault(framed: DockerWorld) -> None:
    with Following(framed.source()) as following:
        following.until_back()
        framed.engine.refusal = (409, "can not get logs from container which is dead or marked for removal")
        framed.engine.cut_streams()
        time.sleep(0.3)
        framed.engine.remove("ollama")
        framed.engine.refusal = None
        following.until_away()
        assert ["no container" in item.reason for item in following.items if isinstance(item, Away)] == [True]


def test_each_reason_is_told_once(framed: DockerWorld) -> None:
    framed.engine.stop()
    with Following(framed.source()) as following:
        following.until_away()
        time.sleep(1.0)
        assert following.count(Away) == 1
        framed.engine.containers.clear()
        framed.engine.start()
        following.until_away(2)
    assert ["cannot be reached" in i.reason for i in following.items if isinstance(i, Away)] == [True, False]


def test_only_the_named_container_is_asked_for(framed: DockerWorld) -> None:
    """A proxy can therefore let one name's state and log through, and nothing else."""
    with Following(framed.source()) as following:
        following.until_back()
        framed.write(b"one\n")
        following.until_texts(["one"])
    paths = {request.partition("?")[0] for request in framed.engine.requests}
    assert paths == {"/version", "/v1.41/containers/ollama/json", "/v1.41/containers/ollama/logs"}


@pytest.mark.parametrize("since", ["start", "middle"])
def test_a_first_start_from_a_time_on(framed: DockerWorld, since: str) -> None:
    now = time.time_ns()
    seconds = iter(range(10))
    framed.container.clock = lambda: now + (next(seconds) - 10) * 10**9
    framed.write(encoded(numbered(0, 10)))
    at = "start" if since == "start" else now / 1e9 - 4.5
    with Following(framed.source(since=at)) as following:
        following.until_texts(numbered(0 if since == "start" else 6, 10))
    stamps = [line.time for line in following.lines]
    assert stamps[-1] == pytest.approx(now / 1e9 - 1, abs=1e-5)


def garbage(path: Path) -> Callable[[], None]:
    """Answer everything on a socket with bytes that are no Engine's; return what stops it."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\xffhello")

    threading.Thread(target=serve, daemon=True).start()

    def stop() -> None:
        server.shutdown(socket.SHUT_RDWR)
        server.close()

    return stop


def test_what_is_no_engine_is_away(framed: DockerWorld) -> None:
    framed.engine.stop()
    stop = garbage(framed.engine.path)
    try:
        with Following(framed.source()) as following:
            following.until_away()
    finally:
        stop()
        framed.engine.path.unlink()


@pytest.mark.parametrize("seed", range(3))
def test_killed_and_resumed_anywhere_amid_restarts(tmp_path: Path, seed: int) -> None:
    """The reader stops at any batch, the container restarts and is written to: each line comes once."""
    random = Random(seed)
    world = DockerWorld(tmp_path)
    try:
        with Following(world.source()) as start:
            start.until("where it joined", lambda: start.cursor is not None)
        cursor, handled, written = start.cursor, list[str](), 0
        for _ in range(10):
            for _ in range(random.randint(1, 3)):
                count = random.randint(1, 30)
                world.write(encoded(numbered(written, written + count)))
                written += count
                _disturb(world.engine, world.container, random)
            handled, cursor = _some_batches(cursor, handled, written, random.randint(1, 3))
        with Following(world.source(), cursor) as last:
            last.until("all", lambda: len(handled) + len(last.texts) >= written)
        assert handled + last.texts == numbered(0, written)
    finally:
        world.close()


def _disturb(engine: FakeEngine, container: Container, random: Random) -> None:
    match random.choice(["nothing", "cut", "restart", "daemon"]):
        case "cut":
            engine.cut_streams()
        case "restart":
            engine.halt(container)
            engine.begin(container)
        case "daemon":
            engine.stop()
            engine.start()


def _some_batches(
    cursor: Cursor | None, handled: list[str], written: int, batches: int
) -> tuple[list[str], Cursor | None]:
    source = open_source("docker:ollama")
    with contextlib.closing(source.items(cursor)) as items:  # type: ignore[type-var]  # it is a generator
        for item in items:
            if isinstance(item, Batch):
                handled = handled + [line.text for line in item.lines]
                cursor, batches = item.cursor, batches - 1
            if not batches or len(handled) >= written:
                break
    source.close()
    return handled, cursor
