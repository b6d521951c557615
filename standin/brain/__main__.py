"""`python3 -m standin.brain`: a stand-in BRAIN until SIGTERM or Ctrl-C; one line on stdout says where."""

import argparse
import signal
import sys
from collections.abc import Sequence

from fleet.runtime.process import end_with_parent
from standin.brain.server import StandinBrain
from standin.brain.settings import BrainStandinSettings

_ENDINGS = (signal.SIGTERM, signal.SIGINT)
_DEFAULT = BrainStandinSettings()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it; return 0, or 2 if the port cannot be had."""
    options = _parser().parse_args(arguments)
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    end_with_parent()
    settings = BrainStandinSettings(
        email=options.email,
        password=options.password,
        seconds=options.seconds,
        retry_after=options.retry_after,
        slots=options.slots,
        quota=options.quota,
        several=options.several,
        persona=options.persona,
        session=options.session,
    )
    try:
        server = StandinBrain(settings, host=options.host, port=options.port)
    except OSError as error:
        sys.stderr.write(f"standin.brain: {error}\n")
        return 2
    server.start()
    sys.stdout.write(f"listening on {server.url}\n")
    sys.stdout.flush()
    signal.sigwait(_ENDINGS)
    server.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m standin.brain",
        description="A stand-in for WorldQuant BRAIN's API; its figures are made up.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=0, help="port to listen on; 0: a free one")
    add("--email", default=_DEFAULT.email, help="the account's e-mail address")
    add("--password", default=_DEFAULT.password, help="the account's password")
    add("--seconds", type=float, default=_DEFAULT.seconds, help="how long a simulation takes")
    add("--retry-after", type=float, default=_DEFAULT.retry_after, help="what clients are asked to wait")
    add("--slots", type=int, default=_DEFAULT.slots, help="simulations at a time")
    add("--quota", type=int, default=_DEFAULT.quota, help="simulations a day; 0: no bound")
    add("--session", type=float, default=_DEFAULT.session, help="how long a session lasts, in seconds")
    add("--several", action="store_true", help="the account may send multi-simulations")
    add("--persona", action="store_true", help="the account asks for a biometric sign-in")
    return parser


if __name__ == "__main__":
    sys.exit(main())
