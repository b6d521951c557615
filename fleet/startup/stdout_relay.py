"""The stdout relay: a standard output that supervisord can open again.

supervisord opens `/dev/stdout` for the messages of its programs. The open fails for another user's terminal or pipe
(`su`, `sudo`), a socket (a systemd service) and a closed output. Without the relay no program would start then.
"""

import contextlib
import fcntl
import os
import signal

_STDOUT = 1
_CHUNK = 64 * 1024


def prepare_output() -> None:
    """Make sure that standard output can be opened again and that all its writers append."""
    append_output()
    try:
        os.close(os.open("/dev/stdout", os.O_WRONLY | os.O_APPEND))
    except OSError:
        _relay()


def append_output() -> None:
    """Set append mode on standard output and error: in a file two writers would overwrite each other."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)


def _relay() -> None:
    """Replace standard output by a pipe, whose content a child process writes to the old output.

    The child ends with the pipe's last writer. The child has its own session, without the terminal's signals. The last
    messages of a fleet stopped by Ctrl-C therefore still arrive.
    """
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.close(write_end)
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        _copy(read_end)
        os._exit(0)
    os.close(read_end)
    os.dup2(write_end, _STDOUT)
    os.set_inheritable(_STDOUT, True)  # noqa: FBT003  # dup2 leaves the flag unchanged if both descriptors are the same
    if write_end != _STDOUT:
        os.close(write_end)


def _copy(read_end: int) -> None:
    """Copy the pipe to the old output; after a write error drain the pipe, so that its writers never block."""
    writable = True
    while chunk := os.read(read_end, _CHUNK):
        while writable and chunk:
            try:
                chunk = chunk[os.write(_STDOUT, chunk) :]
            except OSError:
                writable = False
