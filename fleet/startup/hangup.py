"""The end of a foreground run whose terminal is closed. supervisord itself takes SIGHUP as a reload."""

import os
import signal

from supervisor.events import SupervisorRunningEvent, subscribe


def end_with_terminal(_supervisord: object, **_settings: str) -> object:
    """Let SIGHUP end a supervisord whose standard input is a terminal; it keeps the reload elsewhere.

    supervisord calls this as a factory of an RPC interface, and sets its own signal handlers afterwards.
    Return an interface without methods.
    """
    if os.isatty(0):
        subscribe(SupervisorRunningEvent, lambda _: signal.signal(signal.SIGHUP, _end))
    return object()


def _end(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)
