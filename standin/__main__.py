"""`python -m standin`: serve until SIGTERM or Ctrl-C; one line on stdout says where, the log is stderr."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from fleet.runtime.errors import FleetError
from fleet.runtime.home import ROOT, find_home
from fleet.runtime.process import end_with_parent, hold_program_lock, is_orphan
from fleet.runtime.units import GIGABYTE, parse_size
from standin.models.specs import SEED_MODELS, ModelSpec, spec_for
from standin.ollama import StandinOllama
from standin.settings import model_name, settings_from

_ENDINGS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it; return 0, or 2 if the arguments or the environment are wrong."""
    options = _parser().parse_args(arguments)
    # Blocked in every thread and awaited below. A handler that sets an event could interrupt the main thread
    # within the event's own lock: a deadlock.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    end_with_parent()
    home = find_home(os.environ)
    if is_orphan(home, os.environ):
        return 0
    try:
        if options.ladder:
            hold_program_lock(home.program_lock("standin"), "standin")
        settings = settings_from(os.environ)
        models = ladder_models(os.environ) if options.ladder else options.model or SEED_MODELS
        server = StandinOllama(models, settings, _write, host=options.host, port=options.port)
    except (FleetError, OSError) as error:
        sys.stderr.write(f"standin: {error}\n")
        return 2
    server.start()
    sys.stdout.write(f"listening on {server.url}\n")
    sys.stdout.flush()
    signal.sigwait(_ENDINGS)
    server.stop()
    return 0


def ladder_models(environ: Mapping[str, str]) -> list[ModelSpec]:
    """Return the models of the fleet's ladder, each once; a model without a size counts as 1 GB."""
    from fleet.config.load import find_config, load_settings  # noqa: PLC0415  # only where a ladder is asked for

    ladder = load_settings(find_config(None, environ, ROOT), environ).ladder
    sizes = {rung.model: rung.size or GIGABYTE for rung in ladder}
    return [spec_for(name, size) for name, size in sizes.items()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m standin", description="A stand-in for an Ollama server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on (default: a free one)")
    parser.add_argument(
        "--ladder", action="store_true", help="have the models of the fleet's ladder, as its third program"
    )
    parser.add_argument(
        "--model",
        type=_model,
        action="append",
        metavar="NAME=BYTES",
        help="a model it has, such as tinyllama:1.1b=667942912 or big:70b=40GB; may be given again and again "
        "(default: the default ladder's four)",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:  # noqa: PLR2004  # TCP's own bound
        raise argparse.ArgumentTypeError(f"not a port: {text!r}")
    return int(text)


def _model(text: str) -> ModelSpec:
    name, separator, size = text.rpartition("=")
    try:
        if not separator:
            raise ValueError(f"not NAME=BYTES: {text!r}")  # noqa: TRY301  # one way to say what is wrong
        return spec_for(model_name(name), int(size) if size.isdigit() else parse_size(size))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _write(line: str) -> None:
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # the reader of the log is gone; the server goes on
        return


if __name__ == "__main__":
    sys.exit(main())
