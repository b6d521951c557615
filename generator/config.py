"""Setup of a generator run: home, settings, assigned model, Ollama's address and the evaluator's plan."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.clients.ollama import client_url
from fleet.config.keep_rule import KeepRule, parse_keep
from fleet.config.load import config_path, load_settings
from fleet.config.schema import Settings
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import FleetFile, Home, find_home, read_fleet_file
from generator.catalogue import load_catalogue
from generator.catalogue.available import Scope
from generator.domain import Assignment, storable
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import ScreenPlan
from generator.evaluators.select import Plan, plan_evaluator
from generator.launcher import assignment as chosen_assignment

if TYPE_CHECKING:
    from generator.storage.store import AlphaStore

_NAME_LIMIT, _OWNER_LIMIT = 64, 255


def database_owner(path: Path, lane: str) -> str:
    """Return the owner of this lane's database rows: the name in the file, created at the first call.

    Return host and path as the name if the file cannot be used.
    """
    try:
        name = _read_name(path) or _create_name(path)
    except OSError:
        name = storable(f"{os.uname().nodename}:{path.parent}")
    return f"{name}/{lane}"[-_OWNER_LIMIT:]


def _read_name(path: Path) -> str:
    try:
        return "".join(filter(str.isalnum, path.read_text(errors="replace")))[:_NAME_LIMIT]
    except FileNotFoundError:
        return ""


def _create_name(path: Path) -> str:
    name = os.urandom(8).hex()
    replace_text(path, name + "\n")
    return name


def read_assignment(environ: Mapping[str, str]) -> Assignment:
    """Return the assignment in the environment; raise ConfigError if it is missing or malformed."""
    model = environ.get("FLEET_MODEL", "")
    if not model:
        raise ConfigError("FLEET_MODEL is not set", hint="Start the generator through generator/launcher.py.")
    try:
        options = json.loads(environ.get("FLEET_MODEL_OPTIONS") or "{}")
        rung, switches = int(environ.get("FLEET_RUNG") or 0), int(environ.get("FLEET_SWITCHES") or 0)
    except ValueError as error:
        raise ConfigError(
            f"FLEET_MODEL_OPTIONS, FLEET_RUNG or FLEET_SWITCHES is wrong: {error}",
            hint="They are a JSON object and two whole numbers; the launcher sets them.",
        ) from error
    if not isinstance(options, dict):
        raise ConfigError("FLEET_MODEL_OPTIONS is no JSON object", hint='Write such as {"num_ctx": 2048}.')
    return Assignment(model, options, rung, switches, environ.get("FLEET_LANE") or "default")


def find_url(started: FleetFile | None, settings: Settings, environ: Mapping[str, str]) -> str:
    """Return Ollama's address: the running fleet's, else that of the settings, `OLLAMA_HOST` or Ollama's default."""
    if started is not None and started.ollama_url:
        return started.ollama_url
    return client_url(settings.ollama.url, environ)


@dataclass(frozen=True, slots=True)
class Setup:
    """All decisions before the start; `standin`: this fleet's Ollama is the stand-in."""

    home: Home
    settings: Settings
    assignment: Assignment
    url: str
    standin: bool
    plan: Plan
    keep: KeepRule

    def scope(self) -> Scope:
        """Return the operators and fields for expressions: BRAIN's listing for the account, else the shipped catalogue."""
        listed = None if isinstance(self.plan, LocalPlan) else self.plan.listing
        return Scope(
            listed or load_catalogue(), self.plan.fields, known_only=isinstance(self.plan, ScreenPlan)
        )


def read_setup(environ: Mapping[str, str]) -> Setup:
    """Return the setup of this environment; raise FleetError if it is wrong."""
    home = find_home(environ)
    started = read_fleet_file(home)
    config = config_path(started, environ)
    settings = load_settings(config, environ)
    if "FLEET_MODEL" not in environ:
        environ = {**environ, **chosen_assignment(environ)}
    standin = started is not None and started.standin
    return Setup(
        home=home,
        settings=settings,
        assignment=read_assignment(environ),
        url=find_url(started, settings, environ),
        standin=standin,
        plan=plan_evaluator(settings, home, environ, config=config, standin=standin),
        keep=parse_keep(settings.generator.keep),
    )


class LazyStore:
    """Opens the store at its first use: importing SQLAlchemy takes longer than sending the first call."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._store: AlphaStore | None = None
        self._lock = threading.Lock()

    def __call__(self) -> "AlphaStore":
        """Return the store."""
        with self._lock:
            if self._store is None:
                from generator.storage.read import database_location, database_url  # noqa: PLC0415
                from generator.storage.store import AlphaStore  # noqa: PLC0415  # see the class

                url = database_url(
                    database_location(self._setup.settings.generator.database, self._setup.home)
                )
                owner = database_owner(self._setup.home.owner_file, self._setup.assignment.lane)
                self._store = AlphaStore(url, owner=owner)
            return self._store
