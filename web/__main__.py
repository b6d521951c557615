"""`python -m web`: serves the page, its JSON and /metrics at `[web] listen` until SIGTERM or SIGINT."""

import logging
import os
import sys

import uvicorn

from cli.target import find_fleet
from fleet.runtime.errors import ConfigError, FleetError
from fleet.runtime.logging import configure, fields, with_sentence
from fleet.runtime.process import end_with_parent, hold_program_lock, is_orphan
from fleet.startup.web_address import make_token, require_safe_address, split_address
from web.access import access_rules
from web.readings import MemoryWatch, Readings

_log = logging.getLogger("web")
_SECRETS = (
    "FLEET_BRAIN_EMAIL",
    "FLEET_BRAIN_PASSWORD",
    "FLEET_NOTIFY_URLS",
    "FLEET_NOTIFY_COMMAND",
    "FLEET_NOTIFY_PING_URL",
)


def main() -> int:
    """Run the server; return its exit code."""
    configure(debug=bool(os.environ.get("FLEET_DEBUG")))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    end_with_parent()
    for name in _SECRETS:
        os.environ.pop(name, None)
    try:
        return _serve()
    except FleetError as error:
        _log.error("web.failed", extra=with_sentence(f"web: {error.message}. {error.hint}", hint=error.hint))
        return error.exit_code


def _serve() -> int:
    fleet = find_fleet(None, os.environ)
    if is_orphan(fleet.home, os.environ):
        return 0
    listen = fleet.settings.web.listen
    if not listen:
        raise ConfigError("[web] listen is not set", hint='Set it, such as "127.0.0.1:9800".')
    require_safe_address(fleet.settings.web, fleet.home)
    lock = hold_program_lock(fleet.home.program_lock("web"), "web")
    host, port = split_address(listen)
    rules = access_rules(host, port, make_token(fleet.home))
    os.environ["NICEGUI_STORAGE_PATH"] = str(fleet.home.run / "nicegui")
    from web.server import build  # noqa: PLC0415  # NiceGUI reads its storage's path as it is imported

    lanes = [Readings(lane, MemoryWatch(lane)) for lane in fleet.lanes()]
    app = build(lanes[0], rules, lanes if fleet.has_lanes else ())
    sys.setswitchinterval(0.0005)  # a thread that reads a long history keeps no request waiting
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    for one in lanes:
        one.memory.start()
    _log.info("web.started", extra=with_sentence(f"the page is at http://{listen}", pid=os.getpid()))
    server.run()
    for one in lanes:
        one.memory.stop()
    lock.release()
    _log.info("web.ended", extra=fields(pid=os.getpid()))
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
