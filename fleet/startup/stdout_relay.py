"""The standard output that a start hands on to supervisord, made fit for being opened once more.

supervisord opens `/dev/stdout` again for what its programs tell. That fails where the output is a terminal or
a pipe of another user (`su`, `sudo`), a socket (a systemd service), or closed; then no program would start.
"""

import contextlib
import fcntl
import os
import signal

_STDOUT = 1
_CHUNK = 64 * 1024


def prepare_output() -> None:
    """Make standard output one that can be opened again, and that two who have it open append to."""
    append_output()
    try:
        os.close(os.open("/dev/stdout", os.O_WRONLY | os.O_APPEND))
    except OSError:
        _relay()


def append_output() -> None:
    """Let output and errors append where they are files: else two writers write over each other."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)


def _relay() -> None:
    """Put a pipe of our own in the output's place, and a child that hands on what comes through it.

    The child ends when the last one who writes has ended. Signals of the terminal do not reach it, so that the
    last words of a fleet that is stopped by Ctrl-C still do.
    """
    outgoing, incoming = os.pipe()
    if os.fork() == 0:
        os.close(incoming)
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        _hand_on(outgoing)
        os._exit(0)
    os.close(outgoing)
    os.dup2(incoming, _STDOUT)
    os.set_inheritable(_STDOUT, True)  # noqa: FBT003  # the same descriptor keeps its mark
    if incoming != _STDOUT:
        os.close(incoming)


def _hand_on(outgoing: int) -> None:
    """Write what comes to the old output; once nobody takes it, read on, so that no writer has to wait."""
    taken = True
    while chunk := os.read(outgoing, _CHUNK):
        while taken and chunk:
            try:
                chunk = chunk[os.write(_STDOUT, chunk) :]
            except OSError:
                taken = False
