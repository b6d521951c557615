"""`python -m notifier`: an event listener of supervisord's (supervisord.org/events.html).

Standard output carries the protocol, and the log goes to standard error. Each event is answered at once. The notifier
checks the fleet and delivers in its own threads.
"""

import logging
import os
import sys
import threading

from supervisor.childutils import listener

from cli.target import find_fleet
from fleet.clients.notices import notice_places
from fleet.runtime.errors import FleetError
from fleet.runtime.logging import configure, fields
from fleet.runtime.process import end_with_parent
from notifier.loop import Notifier

_log = logging.getLogger("notifier")


def main() -> int:
    """Answer supervisord's events until it closes the pipe; return the exit code."""
    configure(stdout=sys.stderr, stderr=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # one line a record
    end_with_parent()
    try:
        fleet = find_fleet(os.environ.get("FLEET_CONFIG") or None, os.environ)
    except FleetError as error:
        _log.error("notifier.failed", extra=fields(reason=error.message, hint=error.hint))
        return error.exit_code
    notify, notifiers = fleet.settings.notify, list[Notifier]()
    for lane in fleet.lanes():
        notifiers.append(Notifier(lane, notice_places(notify.urls, notify.command), notifiers))
    for notifier in notifiers:
        threading.Thread(target=notifier.run, daemon=True, name="notices").start()
    while True:
        try:
            listener.wait()
        except (
            KeyError,
            ValueError,
        ):  # the pipe has ended, or the line is no header: supervisord starts us anew
            return 0
        for notifier in notifiers:
            notifier.wake()
        listener.ok()


if __name__ == "__main__":
    sys.exit(main())
