"""Client of supervisord's XML-RPC over its unix socket, with our errors.

The client has its own connection: supervisor's has no time-out, and a frozen daemon would freeze its callers.
"""

import http.client
import xmlrpc.client
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from fleet.clients.http import UnixConnection
from fleet.runtime.errors import SupervisorAwayError, SupervisorError
from fleet.runtime.home import LANE_PROGRAMS, Home
from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite, whole_number


class ProgramState(IntEnum):
    """A program's state, by supervisor's numbers (supervisor/states.py, ProcessStates)."""

    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000

    @property
    def up(self) -> bool:
        """Return True if the program has a process, or supervisord is about to start one."""
        return self in {ProgramState.STARTING, ProgramState.RUNNING, ProgramState.BACKOFF}


class RpcFault(IntEnum):
    """Fault codes of supervisord (supervisor/xmlrpc.py, Faults)."""

    SHUTDOWN_STATE = 6
    BAD_NAME = 10
    NO_FILE = 20
    SPAWN_ERROR = 50
    ALREADY_STARTED = 60
    NOT_RUNNING = 70


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A program by supervisord; `pid` is 0 without a process, and `uptime` is the age of the process."""

    name: str
    state: ProgramState
    pid: int
    description: str = ""
    uptime: Seconds = 0.0


def own_programs(programs: Sequence[ProgramInfo], lane: str, *, shared: bool) -> list[ProgramInfo]:
    """Return the programs of a lane by their plain names, and with `shared` those of no lane (pure)."""
    plain = {f"{name}-{lane}": name for name in LANE_PROGRAMS}
    others = tuple(f"{name}-" for name in LANE_PROGRAMS)
    return [
        replace(one, name=plain.get(one.name, one.name))
        for one in programs
        if one.name in plain or (shared and not one.name.startswith(others))
    ]


def _result(response: http.client.HTTPResponse) -> Any:
    """Return the result of a call; raise HTTPException for a request that supervisord did not take."""
    with response:
        if response.status != HTTPStatus.OK:
            raise http.client.HTTPException(f"HTTP status {response.status} {response.reason}")
        (result,), _ = xmlrpc.client.loads(response.read())
    return result


class Supervisor:
    """The supervisord of a socket. Every call raises SupervisorError, or SupervisorAwayError if it is away.

    With a lane, its programs have their plain names, such as `monitor` for `monitor-gpu1`. Programs of other lanes are
    left out. `shared` programs belong to no lane. Without a lane the programs are those of the whole fleet.
    """

    def __init__(self, socket: Path, *, lane: str = "", shared: bool = True, timeout: Seconds = 5.0) -> None:
        self.socket = socket
        self._home = Home(socket.parent.parent).of_lane(lane)
        self._lane = lane
        self._shared = shared
        self._timeout = timeout

    def programs(self) -> list[ProgramInfo]:
        """Return all programs of the lane; without a lane those of the whole fleet."""
        rows = self._call("getAllProcessInfo")
        found = [self._program(row) for row in (rows if isinstance(rows, list) else [rows])]
        return own_programs(found, self._lane, shared=self._shared) if self._lane else found

    def program(self, name: str) -> ProgramInfo:
        """Return one program."""
        return replace(self._program(self._call("getProcessInfo", self._home.program(name))), name=name)

    def start(self, name: str) -> None:
        """Start a program without waiting for it; a running program is no error.

        A process that ends before supervisord's response is no error either; the program's state shows its end.
        """
        accept = (RpcFault.ALREADY_STARTED, RpcFault.SPAWN_ERROR)
        self._call("startProcess", self._home.program(name), False, accept=accept)  # noqa: FBT003  # XML-RPC is positional

    def stop(self, name: str, *, wait: bool = True) -> None:
        """Stop a program and, with `wait`, return after its end; a stopped program is no error.

        The response may take as long as the program's `stopwaitsecs`, so this call has a longer time-out. While a caller
        waits, supervisord polls without a pause and uses a whole core.
        """
        program = self._home.program(name)
        self._call("stopProcess", program, wait, accept=(RpcFault.NOT_RUNNING,), timeout=30.0)

    def signal(self, name: str, signal: str) -> None:
        """Send a program a signal such as "TERM"; a stopped program is no error."""
        self._call("signalProcess", self._home.program(name), signal, accept=(RpcFault.NOT_RUNNING,))

    def _call(
        self, method: str, *arguments: Any, accept: Collection[RpcFault] = (), timeout: Seconds = 0.0
    ) -> Any:
        body = xmlrpc.client.dumps(arguments, f"supervisor.{method}").encode()
        connection = UnixConnection(str(self.socket), max(self._timeout, timeout))
        try:
            connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
            return _result(connection.getresponse())
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in accept:
                return None
            if fault.faultCode == RpcFault.SHUTDOWN_STATE:
                raise SupervisorAwayError("supervisord is ending", hint=self._start) from fault
            raise SupervisorError(
                f"supervisord refused {method}({', '.join(map(str, arguments))}): {fault.faultString}",
                fault=fault.faultCode,
                hint=f"See `{self._home.supervisorctl('status')}` and {self._home.supervisord_log}.",
            ) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise self._away(error) from error
        except (ExpatError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise self._not_supervisord() from error
        finally:
            connection.close()

    @property
    def _start(self) -> str:
        return f"Start the fleet with `{self._home.start}`."

    def _away(self, error: Exception) -> SupervisorAwayError:
        hint = self._start
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            return SupervisorAwayError(
                f"supervisord does not run: nothing listens on {self.socket}", hint=hint
            )
        if isinstance(error, TimeoutError):
            hint = "Check whether it is stopped by a signal, or the machine overloaded."
            return SupervisorAwayError(f"supervisord runs and does not answer on {self.socket}", hint=hint)
        if isinstance(error, PermissionError):
            hint = "Run the command as the user that runs the fleet."
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return SupervisorAwayError(f"supervisord does not answer on {self.socket}: {reason}", hint=hint)

    def _program(self, row: Any) -> ProgramInfo:
        try:
            state = ProgramState(row["state"]) if row["state"] in list(ProgramState) else ProgramState.UNKNOWN
            pid = whole_number(row["pid"]) or 0
            uptime = (finite(row.get("now")) or 0.0) - (finite(row.get("start")) or 0.0) if pid else 0.0
            return ProgramInfo(str(row["name"]), state, pid, str(row.get("description", "")), uptime)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise self._not_supervisord() from error

    def _not_supervisord(self) -> SupervisorAwayError:
        return SupervisorAwayError(
            f"the program that listens on {self.socket} is not supervisord",
            hint=f"Stop it, and start the fleet with `{self._home.start}`.",
        )
