"""A GET's answer in each of the forms that servers give it, and a connection that is kept for the next one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fleet.httpwire import HttpWire, WireError, WireTimeoutError, ask

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 2\r\n\r\nhi"


def asked(told: bytes, *, ends: bool = True, keep: bool = True) -> tuple[int, bytes, bool]:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(5 if ends else 0.01)
        far.sendall(told)
        if ends:
            far.shutdown(socket.SHUT_WR)
        answer = ask(near, "host", "/x?a=1", keep=keep)
        question = far.recv(4096)
        assert question.startswith(b"GET /x?a=1 HTTP/1.1\r\nHost: host\r\n")
        assert question.endswith(b"\r\n\r\n")
        return answer.status, answer.read(), answer.reusable


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        (WHOLE, (200, b"hi", True)),
        (OK + b"content-length:2\nConnection: Close\n\nhi", (200, b"hi", False)),
        (OK + b"\r\nto the end", (200, b"to the end", False)),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n", (200, b"abcde", True)),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", (200, b"", True)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", True)),
        (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", (404, b"", True)),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + WHOLE, (200, b"hi", True)),
    ],
    ids=["length", "closes", "to the end", "chunks", "no chunk", "no content", "no reason", "provisional"],
)  # fmt: skip
def test_an_answer_is_read_whole(told: bytes, answer: tuple[int, bytes, bool]) -> None:
    assert asked(told) == answer


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 okay\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        OK + b"Content-Length: 3\r\n\r\nhi",
        OK + b"Content-Length: -1\r\n\r\nhi",
        OK + b"Content-Length: many\r\n\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        OK + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n",
        OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_whole_answer_is_an_error(told: bytes) -> None:
    with pytest.raises(WireError):
        asked(told)


@pytest.mark.parametrize("told", [b"", OK, OK + b"Content-Length: 3\r\n\r\nhi"])
def test_what_stops_coming_is_a_time_out(told: bytes) -> None:
    with pytest.raises(WireTimeoutError):
        asked(told, ends=False)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/ä"])
def test_no_target_gets_out_of_its_line(target: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        with pytest.raises(WireError):
            ask(near, "host", target, keep=False)
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(1)


class Server:
    """Answers so many questions on each connection, and then closes it."""

    def __init__(self, questions: int) -> None:
        self.connections = 0
        self.url = ""
        self._questions = questions
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/base/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection:
                    for _ in range(self._questions):
                        if not connection.recv(4096).startswith(b"GET /base/x HTTP/1.1\r\n"):
                            break
                        connection.sendall(WHOLE)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(params=[1, 2, 100])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(request.param)
    yield made
    made.close()


def test_a_connection_is_kept_for_as_long_as_the_server_keeps_it(
    server: Server, request: pytest.FixtureRequest
) -> None:
    wire = HttpWire(server.url, keep=True)
    for _ in range(4):
        assert wire.request("GET", "/x", timeout=5).read() == b"hi"
    assert server.connections == {1: 4, 2: 2, 100: 1}[request.node.callspec.params["server"]]
    wire.close()


def test_one_that_did_not_answer_in_time_is_not_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire, over = HttpWire(f"http://127.0.0.1:{listener.getsockname()[1]}", keep=True), threading.Event()

        def answer_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(WHOLE)
                over.wait(30)

        busy = threading.Thread(target=answer_once)
        busy.start()
        try:
            assert wire.request("GET", "/", timeout=5).status == 200
            with pytest.raises(WireTimeoutError):
                wire.request("GET", "/", timeout=0.01)
            assert not wire._idle
        finally:
            over.set()
            busy.join()


def test_without_keep_each_question_has_a_connection_of_its_own(server: Server) -> None:
    wire = HttpWire(server.url)
    for asked_for in range(1, 3):
        assert wire.request("GET", "/x", timeout=5).read() == b"hi"
        assert server.connections == asked_for
