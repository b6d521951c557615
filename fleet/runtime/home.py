"""The home: paths of a fleet's runtime files, and `run/fleet.json`, where other programs find its parts.

A lane is a home of its own, `lanes/NAME` in the fleet's home, found by FLEET_HOME with FLEET_LANE. It shares the fleet's
supervisord, database and hopeful alphas. Without `[[lane]]` entries the fleet's home is the lane `default`.
"""

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.errors import ConfigError, FleetError, NoFleetError
from fleet.runtime.untrusted import finite, parse_json, printable

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_LANE = "default"
LANE_PROGRAMS = ("monitor", "generator", "standin")
"""The programs of which each lane has its own."""


class _Place:
    """A path in a home, or for `shared` ones in that of the whole fleet."""

    def __init__(self, name: str, *, shared: bool = False) -> None:
        self._name = name
        self._shared = shared

    def __get__(self, home: "Home", _: type | None = None) -> Path:
        return (home.root() if self._shared else home.path) / self._name


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one fleet's files, or of one lane's; only `create` makes folders. `lane` is empty for `default`."""

    path: Path
    lane: str = ""

    def root(self) -> Path:
        """Return the fleet's home, which holds the shared files of its lanes."""
        return self.path.parents[1] if self.lane else self.path

    def of_lane(self, name: str) -> "Home":
        """Return the home of a lane of this fleet."""
        return Home(self.root()) if name in {"", DEFAULT_LANE} else Home(self.root() / "lanes" / name, name)

    def program(self, name: str) -> str:
        """Return supervisord's name of a program, in a lane such as `monitor-gpu1`."""
        return f"{name}-{self.lane}" if self.lane and name in LANE_PROGRAMS else name

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables by which `find_home` finds this home."""
        return {"FLEET_HOME": str(self.root()), "FLEET_LANE": self.lane}

    state = _Place("model_fleet_state.json")
    """The state file, `model_fleet_state.json`."""
    history = _Place("history.jsonl")
    """The history, a line for each incident, switch and failure."""
    signals = _Place("signals.jsonl")
    """The generator's reports to the monitor, a line for each call to Ollama."""
    database = _Place("alphas.db", shared=True)
    """The default database of alphas, one for all lanes."""
    hopeful = _Place("hopeful_alphas.json", shared=True)
    """The hopeful alphas, in the original's format, one file for all lanes."""
    log = _Place("log")
    """The folder of the programs' logs."""
    call_log = _Place("log/calls.log")
    """The log of the generator's prompts and replies."""
    supervisord_log = _Place("log/supervisord.log", shared=True)
    """The log of supervisord itself."""
    run = _Place("run")
    """The folder of sockets, locks and heartbeats; only its owner may enter."""
    socket = _Place("run/supervisor.sock", shared=True)
    """The socket of supervisord."""
    pid_file = _Place("run/supervisord.pid", shared=True)
    """The pid file of supervisord."""
    programs_file = _Place("run/programs.conf")
    """The programs of the lanes, written at each start and included by supervisord.conf."""
    fleet_file = _Place("run/fleet.json")
    """`fleet.json`, written at each start."""
    generator_file = _Place("run/generator.json")
    """The generator's heartbeat, `generator.json`."""
    models_file = _Place("run/models.json")
    """The monitor's knowledge of the ladder's models, `models.json`."""
    card_file = _Place("run/card.json")
    """The monitor's last reading of the GPUs' memory, `card.json`."""
    starts_file = _Place("run/starts.json")
    """The launcher's count of quick starts, `starts.json`."""
    owner_file = _Place("run/owner")
    """The file with the home's id in a database that several fleets share."""
    unstored_file = _Place("run/unstored.json")
    """The finished calls that the generator could not store before its end, `unstored.json`."""
    pause_file = _Place("run/pause.json")
    """The request that the generator pauses, `pause.json`."""
    pull_file = _Place("run/pull.json")
    """The progress of the pull under way, `pull.json`."""
    notices_file = _Place("notices.json")
    """The notifier's outbox, `notices.json`."""
    switch_lock = _Place("run/switch.lock")
    """The lock that serialises the steps of switches."""
    web_token = _Place("run/web.token")
    """The file with the token of the page, `web.token`."""
    kind_file = _Place("home.json")
    """The file that says whether the home belongs to a real fleet or a stand-in."""

    def heartbeat(self, program: str) -> Path:
        """Return the heartbeat file of a program."""
        return self.run / f"{program}.json"

    def program_lock(self, program: str) -> Path:
        """Return the lock that a program holds for life."""
        return self.run / f"{program}.lock"

    @property
    def is_default(self) -> bool:
        """Return True for the home that programs find without FLEET_HOME: `var`, or the folder that it links to."""
        default = ROOT / "var"
        try:
            return self.root() == default or self.root().resolve() == default.resolve()
        except (OSError, RuntimeError):  # links in a circle
            return False

    def supervisorctl(self, verb: str, *programs: str) -> str:
        """Return the command that asks this fleet's supervisord, to be shown and pasted."""
        tool = "supervisorctl"
        if shutil.which(tool) is None and (ROOT / ".venv" / "bin" / tool).exists():
            tool = f".venv/bin/{tool}"
            tool = tool if self.is_default else shlex.quote(str(ROOT / tool))
        words = " ".join((verb, *map(self.program, programs)))
        address = "" if self.is_default else f"-s {shlex.quote(f'unix://{self.socket}')} "
        return f"{tool} {address}{words}"

    def command(self, words: str) -> str:
        """Return a command of this fleet, such as `make run`, to be shown and pasted."""
        if self.lane:
            words = words.replace("fleet_cli.py ", f"fleet_cli.py --lane {self.lane} ")
        return words if self.is_default else f"FLEET_HOME={shlex.quote(str(self.root()))} {words}"

    @property
    def start(self) -> str:
        """Return the command that starts this fleet, as its last start named it: a systemd unit has its own."""
        last = read_fleet_file(self.of_lane(""))
        return (last.start if last else "") or self.command("make run")

    def _environment(self) -> str:
        """Return what `sudo`, which passes no variables on, needs before a command of this home."""
        return "" if self.is_default else f"env FLEET_HOME={shlex.quote(str(self.root()))} "

    def require_owner(self) -> None:
        """Raise ConfigError in the home of another user: its programs cannot read root's files, and others cannot write.

        Some mounts show an owner of their own for files that this user may write.
        """
        try:
            owner = self.kind_file.stat().st_uid
        except OSError:
            return
        user = os.geteuid()
        if user != owner and (user == 0 or not os.access(self.run, os.W_OK)):
            raise ConfigError(
                f"{self.root()} belongs to the user {_name(owner)}, and one user runs all of a fleet",
                hint=f"Do it as that user: sudo -u {shlex.quote(_name(owner))} {self._environment()}…",
            )

    def create(self) -> None:
        """Make the folders; raise FleetError. `run` has mode 0700: access to the socket is control of the fleet."""
        try:
            self.log.mkdir(parents=True, exist_ok=True)
            self.run.mkdir(mode=0o700, exist_ok=True)
            self.run.chmod(0o700)
        except OSError as error:
            raise FleetError(
                f"the home {self.path} cannot be created: {error.strerror}",
                hint="Choose another with FLEET_HOME, or correct its permissions.",
            ) from error


def _name(uid: int) -> str:
    import pwd  # noqa: PLC0415  # Windows, where a start is refused, lacks it

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"  # as sudo takes it


def is_there(path: Path) -> bool:
    """Return True unless nothing has this name. Reading reports a link to nothing, a closed folder, too long a name."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def expanded(text: str) -> Path:
    """Return a path with its `~` replaced; `~user` stays where there is no such user."""
    return Path(os.path.expanduser(text))  # noqa: PTH111  # Path.expanduser raises RuntimeError then


def find_home(environ: Mapping[str, str]) -> Home:
    """Return the home that `FLEET_HOME` names, else `var` beside `supervisord.conf`; with FLEET_LANE that of the lane.

    FLEET_HOME may name a lane's own folder too.
    """
    named = environ.get("FLEET_HOME")
    path = expanded(named) if named else ROOT / "var"
    if str(path).startswith("~"):
        raise ConfigError(
            f"FLEET_HOME={named} is in the home of an unknown user", hint="Write the whole path."
        )
    path = path.absolute()
    own = path.name if path.parent.name == "lanes" else ""
    if own and (read_json(path / "home.json") or {}).get("lane") == own:
        return Home(path, own).of_lane(environ.get("FLEET_LANE") or own)
    return Home(path).of_lane(environ.get("FLEET_LANE", ""))


@dataclass(frozen=True, slots=True)
class FleetFile:
    """`run/fleet.json`: how the fleet was started and where its parts are. `start` is a systemd unit's command."""

    profile: str
    ollama_url: str
    log_source: str
    config: str
    socket: str
    started: float
    start: str = ""

    @property
    def standin(self) -> bool:
        """Return True if this fleet's Ollama is the stand-in."""
        return self.profile == "embedded"

    def write(self, home: Home) -> None:
        """Write the file into the home, atomically; raise OSError."""
        replace_text(home.fleet_file, json.dumps(asdict(self), indent=2) + "\n")


def read_fleet_file(home: Home) -> FleetFile | None:
    """Return the file that the last start wrote, None if it is missing or damaged."""
    row = read_json(home.fleet_file)
    if row is None:
        return None
    try:
        return FleetFile(
            profile=str(row["profile"]),
            ollama_url=str(row["ollama_url"]),
            log_source=str(row["log_source"]),
            config=str(row["config"]),
            socket=str(row["socket"]),
            started=finite(row["started"]) or 0.0,
            start=printable(str(row.get("start") or "")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def require_fleet_file(home: Home) -> FleetFile:
    """Return the file that the last start wrote; raise NoFleetError if the home has none."""
    found = read_fleet_file(home)
    if found is None:
        raise NoFleetError(
            f"there is no fleet in {home.path}",
            hint=f"Start one with `{home.command('make run')}`, or point FLEET_HOME at its home. "
            "In a container: docker exec NAME python3 fleet_cli.py status",
        )
    return found


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object of a small JSON file; None if the file is missing, unreadable or holds no object."""
    try:
        row = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) else None


def process_environ(pid: int) -> dict[str, str]:
    """Return a process's environment from /proc; empty where it cannot be read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return {
        name: value
        for part in raw.split(b"\0")
        for name, equals, value in [os.fsdecode(part).partition("=")]
        if equals
    }
