"""The client against a real supervisord: states, faults told apart, and a daemon that is away or frozen."""

import http.server
import os
import signal
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.clients.supervisor import ProgramState, RpcFault, Supervisor
from fleet.runtime.errors import SupervisorAwayError, SupervisorError
from tests.parts.supervisord import Daemon, supervisord, wait_until

PROGRAMS = """
[program:steady]
command=/bin/sleep 1000
autostart=true
startsecs=0

[program:idle]
command=/bin/sleep 1000
autostart=false
startsecs=0

[program:slow_to_start]
command=/bin/sleep 1000
autostart=false
startsecs=60

[program:fails]
command=/bin/sh -c "exit 3"
autostart=false
startsecs=5
startretries=50

[program:given_up]
command=/bin/sh -c "exit 3"
autostart=false
startsecs=1
startretries=0

[program:ends]
command=/bin/sh -c "exit 0"
autostart=false
autorestart=false
startsecs=0

[program:missing]
command=/no/such/program
autostart=false
startretries=0
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with supervisord(PROGRAMS) as running:
        yield running


def state_of(daemon: Daemon, name: str) -> ProgramState:
    return daemon.client.program(name).state


def becomes(daemon: Daemon, name: str, state: ProgramState) -> None:
    wait_until(lambda: state_of(daemon, name) is state, lambda: f"{state_of(daemon, name)}\n{daemon.log()}")


def test_a_program_that_runs_is_running_with_its_pid(daemon: Daemon) -> None:
    becomes(daemon, "steady", ProgramState.RUNNING)
    info = daemon.client.program("steady")
    assert info.state.up
    os.kill(info.pid, 0)


def test_all_programs_are_listed(daemon: Daemon) -> None:
    names = {info.name for info in daemon.client.programs()}
    assert names == {"steady", "idle", "slow_to_start", "fails", "given_up", "ends", "missing"}


def test_how_long_a_process_has_been_there_is_said_while_there_is_one(daemon: Daemon) -> None:
    becomes(daemon, "steady", ProgramState.RUNNING)
    wait_until(lambda: daemon.client.program("steady").uptime >= 1, daemon.log)
    assert daemon.client.program("idle").uptime == 0


def test_stop_waits_for_the_end_and_start_brings_a_new_process(daemon: Daemon) -> None:
    becomes(daemon, "steady", ProgramState.RUNNING)
    old = daemon.client.program("steady").pid
    daemon.client.stop("steady")
    info = daemon.client.program("steady")
    assert (info.state, info.pid) == (ProgramState.STOPPED, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(old, 0)
    daemon.client.start("steady")
    becomes(daemon, "steady", ProgramState.RUNNING)
    assert daemon.client.program("steady").pid != old


def test_stopping_what_does_not_run_and_starting_what_runs_are_fine(daemon: Daemon) -> None:
    daemon.client.stop("idle")
    daemon.client.start("steady")
    daemon.client.start("steady")
    assert state_of(daemon, "idle") is ProgramState.STOPPED


@pytest.mark.parametrize(
    ("name", "state", "up"),
    [
        ("slow_to_start", ProgramState.STARTING, True),
        ("fails", ProgramState.BACKOFF, True),
        ("given_up", ProgramState.FATAL, False),
        ("ends", ProgramState.EXITED, False),
    ],
)
def test_each_state_is_told(daemon: Daemon, name: str, state: ProgramState, up: bool) -> None:
    daemon.client.start(name)
    becomes(daemon, name, state)
    assert state.up is up
    daemon.client.stop(name)


def test_faults_are_told_apart(daemon: Daemon) -> None:
    with pytest.raises(SupervisorError) as unknown:
        daemon.client.program("nobody")
    assert unknown.value.fault == RpcFault.BAD_NAME
    with pytest.raises(SupervisorError) as missing:
        daemon.client.start("missing")
    assert missing.value.fault == RpcFault.NO_FILE
    for caught in (unknown, missing):
        assert not isinstance(caught.value, SupervisorAwayError)
        assert caught.value.hint
    assert "nobody" in unknown.value.message


def test_a_frozen_daemon_is_away_in_time_and_back_when_it_thaws(daemon: Daemon) -> None:
    impatient = Supervisor(daemon.socket, timeout=0.2)
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(SupervisorAwayError, match="does not answer"):
            impatient.program("steady")
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert daemon.client.program("steady").name == "steady"


def test_a_daemon_that_is_gone_is_away() -> None:
    with supervisord("") as short:
        assert short.client.programs() == []
        short.process.kill()
        short.process.wait()
        with pytest.raises(SupervisorAwayError) as caught:
            short.client.programs()
        assert caught.value.hint


@pytest.mark.parametrize("name", ["absent.sock", "x" * 200], ids=["absent", "too long for a socket"])
def test_a_socket_that_is_not_there_is_away(tmp_path: Path, name: str) -> None:
    with pytest.raises(SupervisorAwayError, match=r"does not (answer|run)"):
        Supervisor(tmp_path / name).programs()


_ANSWER = (
    b"<?xml version='1.0'?><methodResponse><params><param><value>%s</value></param></params></methodResponse>"
)


class _Foreign(http.server.BaseHTTPRequestHandler):
    content = b""
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def address_string(self) -> str:
        return "a unix socket"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def foreign(folder: Path, content: bytes, status: int = 200) -> Iterator[Path]:
    """Serve something else on a unix socket."""
    handler = type("Handler", (_Foreign,), {"content": content, "status": status})
    path = folder / "f.sock"
    with socketserver.UnixStreamServer(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()


def fault(code: int) -> bytes:
    struct = b"<member><name>faultCode</name><value><int>%d</int></value></member>" % code
    struct += b"<member><name>faultString</name><value>x</value></member>"
    return (
        b"<?xml version='1.0'?><methodResponse><fault><value><struct>%s</struct></value></fault></methodResponse>"
        % struct
    )


@pytest.mark.parametrize("code", [RpcFault.ALREADY_STARTED, RpcFault.SPAWN_ERROR])
def test_a_start_is_fine_where_the_state_says_what_came_of_it(
    code: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with foreign(tmp_path_factory.mktemp("f"), fault(code)) as path:
        Supervisor(path).start("generator")
        with pytest.raises(SupervisorError, match="refused stopProcess"):
            Supervisor(path).stop("generator")


def test_a_supervisord_that_is_ending_is_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    ending = pytest.raises(SupervisorAwayError, match="supervisord is ending")
    with foreign(tmp_path_factory.mktemp("f"), fault(6)) as path, ending as error:
        Supervisor(path).start("generator")
    assert "make run" in error.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>502</html>",
        b"<<<",
        b"\xff\xfe",
        _ANSWER % b"<int>x</int>",
        _ANSWER % b"<int>7</int>",
        _ANSWER % b"<struct></struct>",
    ],
)
def test_what_is_no_supervisord_is_away(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    with foreign(tmp_path_factory.mktemp("f"), content) as path, pytest.raises(SupervisorAwayError):
        Supervisor(path).program("generator")


@pytest.mark.parametrize(("status", "says"), [(401, "401 Unauthorized"), (500, "500 Internal Server Error")])
def test_a_supervisord_that_refuses_a_request_says_so(
    status: int, says: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = b"<html><head><title>Error response</title></head></html>"
    away = pytest.raises(SupervisorAwayError, match=f"does not answer on .*: HTTP status {says}")
    with foreign(tmp_path_factory.mktemp("f"), page, status) as path, away:
        Supervisor(path).program("generator")


def test_a_listener_that_never_answers_is_away(tmp_path: Path) -> None:
    path = tmp_path / "l.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(SupervisorAwayError):
            Supervisor(path, timeout=0.1).programs()
