"""An answer in each of the forms that servers give it, and requests that are cut wherever they wait."""

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.http import Cancel, HttpTransport, TransportError, TransportTimeoutError, send
from tests.parts.require import require
from tests.parts.supervisord import wait_until

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 2\r\n\r\nhi"
LONG = 60.0
"""A time-out that no test here reaches: what ends sooner was cut."""


class Given(http.client.HTTPConnection):
    """A connection over a socket that a test has."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__("host")
        self._stream = stream

    def connect(self) -> None:
        self.sock = self._stream


def asked(content: bytes, *, ends: bool = True) -> tuple[int, bytes]:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(5 if ends else 0.01)
        far.sendall(content)
        if ends:
            far.shutdown(socket.SHUT_WR)
        answer = send(Given(near), "GET", "/x?a=1")
        question = far.recv(4096)
        assert question.startswith(b"GET /x?a=1 HTTP/1.1\r\nHost: host\r\n")
        assert question.endswith(b"\r\n\r\n")
        return answer.status, answer.read()


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (WHOLE, (200, b"hi")),
        (OK + b"content-length:2\nConnection: Close\n\nhi", (200, b"hi")),
        (OK + b"\r\nto the end", (200, b"to the end")),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n", (200, b"abcde")),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", (200, b"")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", (404, b"")),
        (b"HTTP/1.1 100 Continue\r\nLink: x\r\n\r\n" + WHOLE, (200, b"hi")),
    ],
    ids=["length", "closes", "to the end", "chunks", "no chunk", "no content", "no reason", "provisional"],
)  # fmt: skip
def test_an_answer_is_read_whole(content: bytes, answer: tuple[int, bytes]) -> None:
    assert asked(content) == answer


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 okay\r\n\r\n",
        OK + b"Content-Length: 3\r\n\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        OK + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n",
        OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_whole_answer_is_an_error(content: bytes) -> None:
    with pytest.raises(TransportError):
        asked(content)


@pytest.mark.parametrize("content", [b"", OK, OK + b"Content-Length: 3\r\n\r\nhi"])
def test_what_stops_coming_is_a_time_out(content: bytes) -> None:
    with pytest.raises(TransportTimeoutError):
        asked(content, ends=False)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/ä"])
def test_no_target_gets_out_of_its_line(target: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        with pytest.raises(TransportError):
            send(Given(near), "GET", target)
        near.close()
        assert far.recv(1) == b""


# Cut wherever it waits


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Return a server that takes connections, and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def cut_of(transport: HttpTransport, waits: Callable[[], object], *, timeout: float = LONG) -> TransportError:
    """Return the error that a request ends with which is cut as soon as it `waits`."""
    cancel = Cancel()
    ended: list[Exception] = []

    def ask() -> None:
        try:
            transport.request("POST", "/", {"model": "m"}, timeout=timeout, cancel=cancel).read()
        except TransportError as error:
            ended.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    waits()
    assert asking.is_alive()
    cancel()
    asking.join(LONG / 3)
    assert not asking.is_alive(), "it was not cut"
    assert type(ended[0]) is TransportError
    return ended[0]


def test_an_address_that_no_request_can_name_is_an_error() -> None:
    with pytest.raises(TransportError, match="gpu one"):
        HttpTransport("http://gpu one:11434").request("GET", "/", timeout=LONG)


def test_a_request_is_cut_before_the_answers_head(listener: socket.socket) -> None:
    taken: list[socket.socket] = []

    def question() -> None:
        taken.append(listener.accept()[0])
        assert taken[0].recv(4096).startswith(b"POST / ")

    cut_of(HttpTransport(f"http://127.0.0.1:{port_of(listener)}"), question)
    rest = b""
    while part := taken[0].recv(4096):
        rest += part
    assert len(rest) < 100, "the server sees the end of the connection"
    taken[0].close()


def test_a_request_is_cut_amid_its_answer(listener: socket.socket) -> None:
    taken: list[socket.socket] = []

    def begin() -> None:
        taken.append(listener.accept()[0])
        taken[0].sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")

    cut_of(HttpTransport(f"http://127.0.0.1:{port_of(listener)}"), begin)
    taken[0].close()


def test_a_request_that_was_cut_before_it_began_reaches_nobody(listener: socket.socket) -> None:
    cancel = Cancel()
    cancel()
    with pytest.raises(TransportError, match="was cancelled"):
        HttpTransport(f"http://127.0.0.1:{port_of(listener)}").request(
            "GET", "/", timeout=LONG, cancel=cancel
        )
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.fixture
def full() -> Iterator[int]:
    """Return the port of a server whose queue of connections is full: the next one waits for its turn."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(server.getsockname())
            waiting.append(one)
        yield port_of(server)
        for one in waiting:
            one.close()


def connecting_to(port: int) -> int:
    """Return how many wait for a connection to a port (state 02 of /proc/net/tcp is SYN_SENT)."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


def test_a_connection_that_hangs_is_cut(full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.clients.http._CONNECT", LONG)
    before = connecting_to(full)
    cut_of(
        HttpTransport(f"http://127.0.0.1:{full}"), lambda: wait_until(lambda: connecting_to(full) > before)
    )


def test_a_server_that_takes_no_connection_is_away_and_not_late(
    full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.clients.http._CONNECT", 0.1)
    with pytest.raises(TransportError, match=r"no connection within 0\.1s") as caught:
        HttpTransport(f"http://127.0.0.1:{full}").request("GET", "/", timeout=LONG)
    assert type(caught.value) is TransportError


def test_a_look_up_that_hangs_is_cut_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()

    def hangs(*_: object, flags: int = 0, **__: object) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        asked.set()
        over.wait(LONG)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    transport = HttpTransport("http://ollama.invalid:11434")
    try:
        monkeypatch.setattr("fleet.clients.http._CONNECT", LONG)
        assert "was cancelled" in str(cut_of(transport, lambda: asked.wait(LONG / 3)))
        with pytest.raises(TransportError, match=r"ollama\.invalid was not looked up within 0\.05s"):
            transport.request("GET", "/", timeout=0.05)
    finally:
        over.set()


def test_a_handshake_that_hangs_is_cut(listener: socket.socket) -> None:
    taken: list[socket.socket] = []

    def hello() -> None:
        taken.append(listener.accept()[0])
        assert taken[0].recv(1)

    cut_of(HttpTransport(f"https://127.0.0.1:{port_of(listener)}"), hello)
    taken[0].close()


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return a server's context for 127.0.0.1 whose certificate clients of this test trust."""
    if shutil.which("openssl") is None:
        require("openssl", "it makes the certificate")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server


def test_tls_answers_and_is_cut_before_the_answers_head(
    listener: socket.socket, certified: ssl.SSLContext
) -> None:
    taken: list[socket.socket] = []
    transport = HttpTransport(f"https://127.0.0.1:{port_of(listener)}")

    def question() -> None:
        taken.append(certified.wrap_socket(listener.accept()[0], server_side=True))
        assert taken[-1].recv(4096).startswith(b"POST / ")

    cut_of(transport, question)

    def answer() -> None:
        question()
        taken[-1].sendall(WHOLE)

    answering = threading.Thread(target=answer)
    answering.start()
    assert transport.request("POST", "/", {}, timeout=LONG).read() == b"hi"
    answering.join()
    for one in taken:
        one.close()
