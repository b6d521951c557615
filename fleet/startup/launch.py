"""Start of a fleet: check the configuration, choose the profile, write `fleet.json`, exec supervisord."""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.clients.gpu import cards
from fleet.clients.supervisor import Supervisor
from fleet.config.load import KEYS, find_config, load_settings
from fleet.config.schema import Settings
from fleet.config.variables import unread
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.clock import parse_beginning
from fleet.runtime.errors import ConfigError, FleetError, SupervisorError
from fleet.runtime.home import DEFAULT_LANE, ROOT, FleetFile, Home, find_home, read_json
from fleet.runtime.units import Bytes
from fleet.startup.card import wasted_card
from fleet.startup.lanes import LanePlan, include_pattern, write_programs
from fleet.startup.profile import PROFILES, MachineProbes, ProfileChoice, choose
from fleet.startup.stdout_relay import prepare_output
from fleet.startup.web_address import require_safe_address

_STANDIN_FILES = (
    "model_fleet_state.json",
    "model_fleet_state.json.bak",
    "history.jsonl",
    "history.jsonl.1",
    "notices.json",
    "signals.jsonl",
    "signals.jsonl.1",
    "alphas.db",
    "alphas.db-wal",
    "alphas.db-shm",
    "hopeful_alphas.json",
    "run/generator.json",
    "run/unstored.json",
    "log/calls.log",
    "log/calls.log.1",
    "log/calls.log.2",
    "log/calls.log.3",
)
_SOCKET_LIMIT = 107


@dataclass(frozen=True, slots=True)
class StartPlan:
    """A checked start: home, settings, profile, configuration file and lanes; the profile is that of the first lane."""

    home: Home
    settings: Settings
    choice: ProfileChoice
    config: Path | None
    lanes: tuple[LanePlan, ...] = ()


def plan(explicit_config: str | None, environ: Mapping[str, str], folder: Path) -> StartPlan:
    """Return a checked start; raise FleetError. Nothing is changed either way."""
    environ = {name: value for name, value in environ.items() if name != "FLEET_LANE"}  # all lanes start
    config = find_config(explicit_config, environ, folder)
    settings = load_settings(config, environ)
    parse_beginning(environ.get("FLEET_SINCE"), time.time())
    home = find_home(environ)
    _refuse_path(home)
    home.require_owner()
    require_safe_address(settings.web, home)
    lanes = _lanes(home, settings, environ)
    choice = (
        lanes[0].choice
        if lanes
        else choose(environ, settings.ollama, _earlier_profile(home), MachineProbes(environ))
    )
    refuse_running_fleet(home)
    return StartPlan(home, settings, choice, config, lanes)


def _lanes(home: Home, settings: Settings, environ: Mapping[str, str]) -> tuple[LanePlan, ...]:
    """Return the lanes with their profiles; raise ConfigError for a stand-in's lane beside a real one."""
    plans = []
    for lane in settings.lanes:
        own = home.of_lane(lane.name)
        earlier = _earlier_profile(own) or _earlier_profile(home)
        try:
            choice = choose(environ, lane.ollama, earlier, MachineProbes(environ))
        except ConfigError as error:
            raise ConfigError(f"lane {lane.name}: {error.message}", hint=error.hint) from error
        plans.append(LanePlan(own, choice, _free_port() if choice.profile == "embedded" else 0))
    standins = [one.home.lane for one in plans if one.port]
    if standins and len(standins) < len(plans):
        raise ConfigError(
            f"no Ollama was found for lane {' and '.join(standins)}, and other lanes have one",
            hint="Give each lane the url and log of its own Ollama. A stand-in never runs beside a real one.",
        )
    return tuple(plans)


def _refuse_path(home: Home) -> None:
    """Raise ConfigError for paths that supervisord's configuration or a unix socket address cannot hold."""
    for path in (home.path, ROOT):
        text = str(path)
        if "%" in text or " ;" in text or not text.isprintable():
            raise ConfigError(
                f"supervisord cannot use the path {text!r}",
                hint='A path with "%", " ;" or control characters does not work there; name a home with FLEET_HOME.',
            )
    # supervisord first binds the socket under a temporary name: the path, a dot and its pid.
    over = len(os.fsencode(f"{home.socket}.{os.getpid()}")) - _SOCKET_LIMIT
    if over > 0:
        raise ConfigError(
            f"the home {home.path} has too long a path: its socket address is {over} bytes over the limit of unix",
            hint="Name a shorter one with FLEET_HOME, such as ~/.model-fleet.",
        )


def _earlier_profile(home: Home) -> str | None:
    row = read_json(home.kind_file) or {}
    return str(row["profile"]) if row.get("kind") == "real" and row.get("profile") else None


def refuse_running_fleet(home: Home) -> None:
    """Raise FleetError if a supervisord answers in the home."""
    try:
        Supervisor(home.socket, timeout=2.0).programs()
    except SupervisorError:
        return
    raise _already_runs(home)


def _already_runs(home: Home) -> FleetError:
    return FleetError(
        f"a fleet runs in {home.path} already",
        hint=f"See it with `{home.command('python3 fleet_cli.py status')}`; another fleet needs a FLEET_HOME of its own.",
    )


def hold_home(home: Home) -> int:
    """Lock the home for this process and the supervisord that it becomes; raise FleetError if it is locked.

    Return the lock's descriptor. The kernel releases the lock at any end of supervisord, whose programs do not inherit
    it. Unlike a request to the socket, the lock also detects a frozen supervisord and two simultaneous starts.
    """
    descriptor = os.open(home.run / "supervisord.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise _already_runs(home) from None
    os.set_inheritable(descriptor, True)  # noqa: FBT003  # the standard library takes it by position
    return descriptor


def prepare(ready: StartPlan, environ: Mapping[str, str], now: float) -> dict[str, str]:
    """Write the home's files about this start; return the environment of supervisord and its programs."""
    home, choice = ready.home, ready.choice
    embedded = choice.profile == "embedded"
    port = ready.lanes[0].port if ready.lanes else _free_port() if embedded else 0
    config = str(ready.config.absolute()) if ready.config else ""
    for one in (LanePlan(home, choice, port), *ready.lanes):
        _prepare_home(one, config, now, environ.get("FLEET_START", ""))
    if ready.lanes:
        write_programs(home, ready.lanes)
    return {
        **{name: value for name, value in environ.items() if name != "FLEET_LANE"},
        "FLEET_HOME": str(home.path),
        "FLEET_CONFIG": config,
        "FLEET_PROFILE": choice.profile,
        "FLEET_LOG_FORMAT": ready.settings.log.format,
        "FLEET_PYTHON": sys.executable,
        "FLEET_PROGRAMS": _programs(ready, embedded=embedded),
        "FLEET_STANDIN_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }


def _prepare_home(one: LanePlan, config: str, now: float, start: str) -> None:
    """Write the files about this start into a home, the fleet's own or a lane's."""
    home, choice = one.home, one.choice
    embedded = choice.profile == "embedded"
    if not embedded:
        _set_standin_aside(home, now)
    kind = {"kind": "stand-in" if embedded else "real", "profile": choice.profile}
    replace_text(home.kind_file, json.dumps({**kind, "lane": home.lane or DEFAULT_LANE}) + "\n")
    url = f"http://127.0.0.1:{one.port}" if embedded else choice.ollama_url
    log = f"file:{home.log / 'ollama.log'}" if embedded else choice.log_source
    FleetFile(choice.profile, url, log, config, str(home.socket), now, start).write(home)


def _programs(ready: StartPlan, *, embedded: bool) -> str:
    """Return the files that supervisord.conf includes: programs that not every fleet has."""
    optional = {
        "standin/program.conf": embedded and not ready.lanes,
        include_pattern(ready.home.programs_file): bool(ready.lanes),
        "notifier/program.conf": ready.settings.notify.used,
        "web/program.conf": bool(ready.settings.web.listen),
    }
    return " ".join(path for path, runs in optional.items() if runs)


def _set_standin_aside(home: Home, now: float) -> None:
    """Move the files of a stand-in fleet into a folder of their own before a real fleet starts; delete nothing."""
    row = read_json(home.kind_file) or {}
    if row.get("kind") != "stand-in":
        return
    aside = home.path / f"stand-in-{int(now)}"
    aside.mkdir(exist_ok=True)
    for name in _STANDIN_FILES:
        if (home.path / name).exists():
            (home.path / name).rename(aside / Path(name).name)
    print(f"The stand-in's files of this home were moved to {aside}.", file=sys.stderr)  # noqa: T201  # a message for the terminal


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _card_memory(ready: StartPlan) -> Bytes:
    """Return the memory of this machine's cards, 0 if it is unknown or no real model runs."""
    if ready.choice.profile == "embedded":
        return 0
    try:
        return sum(card.total for card in cards() or [])
    except FleetError:
        return 0


def _others(profile: str) -> str:
    """Return how another profile is chosen. A home that has met a real Ollama takes no stand-in."""
    real = " or ".join(name for name in PROFILES if name not in {profile, "embedded"})
    if profile == "embedded":
        return f"FLEET_PROFILE={real} chooses another."
    return f"FLEET_PROFILE={real} chooses another; FLEET_PROFILE=embedded also needs a FLEET_HOME of its own."


def describe(ready: StartPlan, memory: Bytes = 0, ignored: Sequence[str] = ()) -> str:
    """Return the lines that a start prints: profile, home, configuration, Ollama.

    A ladder far below the card's memory and variables that nothing reads get a line each.
    """
    choice = ready.choice
    explicit = choice.why.startswith("set by")
    lines = [
        f"Model Fleet, profile {choice.profile} ({choice.why}).",
        *([] if explicit else [_others(choice.profile)]),
        f"Home {ready.home.path}, configuration {ready.settings.source}.",
    ]
    if choice.profile == "embedded":
        lines.append("There is no model: a stand-in answers in Ollama's place, and every alpha is random.")
    elif not ready.lanes:
        lines.append(f"Ollama {choice.ollama_url}, its log {choice.log_source}.")
    for lane in ready.lanes:
        ollama = (
            "a stand-in"
            if lane.port
            else f"Ollama {lane.choice.ollama_url}, its log {lane.choice.log_source}"
        )
        lines.append(f"Lane {lane.home.lane}: {ollama}.")
    if not ready.lanes and (wasted := wasted_card(ready.settings.ladder, memory)):
        command = ready.home.command("python3 fleet_cli.py ladder --suggest")
        lines.append(f"{wasted[0].upper()}{wasted[1:]}: `{command}` prints a larger one.")
    if ignored:
        lines.append(
            f"No part of the fleet reads {', '.join(ignored)}: see fleet.toml for the names of keys."
        )
    return "\n".join(lines)


def _claim_home(ready: StartPlan) -> dict[str, str]:
    """Create, lock and prepare the home; return the environment of supervisord and its programs."""
    for home in (ready.home, *(lane.home for lane in ready.lanes)):
        home.create()
    prepare_output()
    try:
        hold_home(ready.home)
        return prepare(ready, os.environ, time.time())
    except OSError as error:
        raise FleetError(
            f"the home {ready.home.path} cannot be written: {error.strerror}",
            hint="Free disk space or correct the permissions; one user runs all of a fleet.",
        ) from error


def run(explicit_config: str | None = None) -> None:
    """Start a fleet in this process, which becomes supervisord; raise FleetError if it cannot start."""
    ready = plan(explicit_config, os.environ, Path.cwd())
    environ = _claim_home(ready)
    ignored = unread(os.environ, KEYS)
    print(describe(ready, _card_memory(ready), ignored), file=sys.stderr, flush=True)  # noqa: T201  # a message for the terminal
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(ROOT / "supervisord.conf")]
    os.chdir(ROOT)
    os.execve(sys.executable, command, environ)  # noqa: S606  # supervisord replaces this process
