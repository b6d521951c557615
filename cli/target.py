"""The fleet of a command: its home, its last start and its settings."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fleet.clients.ollama import Ollama, client_url
from fleet.clients.supervisor import Supervisor
from fleet.config.load import find_config, load_settings
from fleet.config.schema import Settings
from fleet.policy.rules import Rules
from fleet.runtime.errors import NoFleetError
from fleet.runtime.home import (
    DEFAULT_LANE,
    FleetFile,
    Home,
    find_home,
    is_there,
    read_fleet_file,
    read_json,
)
from fleet.runtime.units import Bytes, Seconds
from fleet.runtime.untrusted import whole_number


@dataclass(frozen=True, slots=True)
class Fleet:
    """One fleet or lane, running or not. `started` is `run/fleet.json` of its last start, None before the first.

    One that `leads` also answers for the shared parts of the lanes: the page, the notifier, the disk.
    """

    home: Home
    settings: Settings
    started: FleetFile | None
    leads: bool = True

    @property
    def has_lanes(self) -> bool:
        """Return True for a fleet with `[[lane]]` entries, of which none was chosen."""
        return bool(self.settings.lanes) and not self.home.lane

    def lanes(self) -> list["Fleet"]:
        """Return the lanes of a fleet in the order of fleet.toml; the fleet itself if it is one lane."""
        if not self.has_lanes:
            return [self]
        homes = [self.home.of_lane(lane.name) for lane in self.settings.lanes]
        return [
            Fleet(home, self.settings.of_lane(home.lane), read_fleet_file(home), leads=home == homes[0])
            for home in homes
        ]

    @property
    def url(self) -> str:
        """Return the address of its Ollama."""
        if self.started is not None and self.started.ollama_url:
            return self.started.ollama_url
        return client_url(self.settings.ollama.url, os.environ)

    @property
    def log_source(self) -> str:
        """Return the log source, empty if unknown."""
        return self.started.log_source if self.started is not None else self.settings.ollama.log

    @property
    def standin(self) -> bool:
        """Return True if its Ollama is the stand-in, a program of the fleet itself."""
        return self.started is not None and self.started.standin

    @property
    def rules(self) -> Rules:
        """Return the rules, with sizes, needs and free memory from `run/models.json` if it describes this ladder."""
        ladder, row = self.settings.ladder, read_json(self.home.models_file) or {}
        if row.get("ladder") != ladder.digest:
            return Rules(ladder, self.settings.policy, hours=self.settings.hours)
        needs, sizes = (_amounts(row.get(name), len(ladder)) for name in ("needs", "sizes"))
        free = whole_number(row.get("free"))
        policy, hours = self.settings.policy, self.settings.hours
        return Rules(ladder, policy, needs=needs, sizes=sizes, free=free, hours=hours)

    def ollama(self) -> Ollama:
        """Return a client of its Ollama."""
        if self.standin:
            run, alone = self.home.start, self.home.supervisorctl("start", "standin")
            start = (
                f"It is the stand-in: `{run}` starts it with the fleet. In a running fleet `{alone}` does."
            )
            return Ollama(self.url, start=start)
        return Ollama(self.url)

    def supervisor(self, *, timeout: Seconds = 5.0) -> Supervisor:
        """Return a client of its supervisord."""
        home = self.home
        return Supervisor(home.socket, lane=home.lane or DEFAULT_LANE, shared=self.leads, timeout=timeout)


def _amounts(value: object, length: int) -> tuple[Bytes | None, ...]:
    if not isinstance(value, list) or len(value) != length:
        return ()
    return tuple(one if isinstance(one, int) else None for one in value)


def find_fleet(config: str | None, environ: Mapping[str, str]) -> Fleet:
    """Return the fleet of this home.

    Its configuration is the given file, else that of the last start, else that of a new start. Raise NoFleetError if
    there is no fleet, ConfigError for an invalid configuration.
    """
    fleet = any_fleet(config, environ)
    home = fleet.home
    if (
        fleet.started is None
        and not home.state.exists()
        and not (home.lane and home.of_lane("").fleet_file.exists())
    ):
        raise NoFleetError(
            f"there is no fleet in {home.path}",
            hint=f"Start one with `{home.command('make run')}`, or name its home with FLEET_HOME. "
            "One in a container is reached with: docker exec CONTAINER python3 fleet_cli.py status",
        )
    return fleet


def any_fleet(config: str | None, environ: Mapping[str, str]) -> Fleet:
    """Return the fleet of this home, also one that was never started; raise ConfigError."""
    home, given = find_home(environ), environ.get("FLEET_LANE")
    environ = {**environ, **home.environ}
    started = read_fleet_file(home)
    last = started or read_fleet_file(home.of_lane(""))  # a lane that is new in fleet.toml
    known = last.config if last is not None and last.config and is_there(Path(last.config)) else None
    path = find_config(config or (None if environ.get("FLEET_CONFIG") else known), environ, Path.cwd())
    settings = load_settings(path, environ)
    if given == DEFAULT_LANE:  # the home's own files, for any lanes
        settings = replace(settings, lanes=())
    return Fleet(home, settings, started)


def now() -> float:
    """Return the present time in Unix seconds."""
    return time.time()
