"""`python -m monitor`: builds the parts and follows the log until SIGTERM or SIGINT."""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from fleet.clients.gpu import cards, no_cards
from fleet.clients.ollama import Ollama
from fleet.config.load import find_config, load_settings
from fleet.memory_errors.user_patterns import user_patterns
from fleet.runtime.clock import SystemClock, parse_beginning
from fleet.runtime.errors import FleetError
from fleet.runtime.home import Home, find_home, require_fleet_file
from fleet.runtime.logging import configure, fields, with_sentence
from fleet.runtime.process import end_with_parent, hold_program_lock, is_orphan
from fleet.runtime.units import Seconds
from monitor.detection.detector import Detector
from monitor.ingest import LOG
from monitor.loop import Monitor
from monitor.models.disk_space import disk_check, is_here, models_folder
from monitor.sources.base import LogSource
from monitor.sources.file.source import FileSource
from monitor.sources.open import open_source

_log = logging.getLogger("monitor")
_SIGNALS_IDLE: Seconds = 30.0
"""Seconds between two reads of the generator's calls: on the home's local disk inotify reports each change."""
_SIGNALS_MISSING = "The generator creates it at the end of its first call."


def build(home: Home, environ: Mapping[str, str]) -> Monitor:
    """Return a monitor for a home; raise FleetError if the fleet was not started or is misconfigured."""
    started = require_fleet_file(home)
    settings = load_settings(find_config(started.config or None, environ, Path.cwd()), environ)
    clock = SystemClock()
    detector = Detector(user_patterns(settings.patterns))

    def source(origin: str) -> LogSource:
        if origin == LOG:
            since = parse_beginning(environ.get("FLEET_SINCE"), clock.time())
            return open_source(started.log_source, keep=detector.candidates, since=since)
        return FileSource(home.signals, since="start", idle=_SIGNALS_IDLE, missing=_SIGNALS_MISSING)

    # A stand-in has no card of its own. With a reserve it reads this machine's card.
    here = is_here(started.profile, started.ollama_url) or (started.standin and settings.policy.reserve)
    return Monitor(
        home=home,
        settings=settings,
        ollama=Ollama(started.ollama_url),
        open_source=source,
        detector=detector,
        clock=clock,
        disk=disk_check(models_folder(started.profile, started.ollama_url, environ)),
        cards=cards if here else no_cards,
    )


def main() -> int:
    """Run the monitor; return its exit code."""
    configure(debug=bool(os.environ.get("FLEET_DEBUG")))
    end_with_parent()
    home = find_home(os.environ)
    if is_orphan(home, os.environ):
        return 0
    try:
        lock = hold_program_lock(home.program_lock("monitor"), "monitor")
        monitor = build(home, os.environ)
        _end_on_signals(monitor)
        _log.info("monitor.started", extra=with_sentence("monitor follows Ollama's log", pid=os.getpid()))
        monitor.run()
    except FleetError as error:
        _log.error("monitor.failed", extra=with_sentence(f"monitor: {error}. {error.hint}", hint=error.hint))
        return error.exit_code
    _log.info("monitor.ended", extra=fields(pid=os.getpid()))
    lock.release()
    return 0


def _end_on_signals(monitor: Monitor) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        monitor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


if __name__ == "__main__":
    sys.exit(main())
