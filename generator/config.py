"""What a run of the generator is made from: the home, the settings, the assignment, and where Ollama is."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.clients.ollama import client_url
from fleet.config.keep_rule import KeepRule, parse_keep
from fleet.config.load import find_config, load_settings
from fleet.config.schema import Settings
from fleet.runtime.atomic_write import replace_text
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import ROOT, FleetFile, Home, find_home, read_fleet_file
from generator.catalogue import load_catalogue
from generator.catalogue.available import Scope
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import ScreenPlan
from generator.evaluators.select import Plan, plan_evaluator
from generator.launcher import assignment as chosen_assignment

_LONGEST = 64


def owner_of(path: Path, lane: str) -> str:
    """Return the name kept in a file, made at the first call, for a lane of the home.

    Where the file cannot be kept, host and path have to do.
    """
    try:
        name = _kept(path) or _made(path)
    except OSError:
        name = f"{os.uname().nodename}:{path.parent}"
    return f"{name}/{lane}"[-255:]


def _kept(path: Path) -> str:
    try:
        return "".join(filter(str.isalnum, path.read_text(errors="replace")))[:_LONGEST]
    except FileNotFoundError:
        return ""


def _made(path: Path) -> str:
    name = os.urandom(8).hex()
    replace_text(path, name + "\n")
    return name


@dataclass(frozen=True, slots=True)
class Assignment:
    """A model with its rung's options, and the number of the switch that led to it."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rung: int = 0
    switches: int = 0
    lane: str = "default"


def read_assignment(environ: Mapping[str, str]) -> Assignment:
    """Return what the environment says; raise ConfigError if it says it wrongly."""
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
    """Return Ollama's address: the running fleet's, else the settings', `OLLAMA_HOST`'s or its own."""
    if started is not None and started.ollama_url:
        return started.ollama_url
    return client_url(settings.ollama.url, environ)


@dataclass(frozen=True, slots=True)
class Setup:
    """All that was decided before anything was started; `standin`: this fleet's Ollama is the stand-in."""

    home: Home
    settings: Settings
    assignment: Assignment
    url: str
    standin: bool
    plan: Plan
    keep: KeepRule

    def scope(self) -> Scope:
        """Return what expressions may be made of: what BRAIN listed for the account, else what ships."""
        listed = None if isinstance(self.plan, LocalPlan) else self.plan.listing
        return Scope(
            listed or load_catalogue(), self.plan.fields, known_only=isinstance(self.plan, ScreenPlan)
        )


def read_setup(environ: Mapping[str, str]) -> Setup:
    """Return the setup of this environment; raise FleetError with what is wrong."""
    home = find_home(environ)
    started = read_fleet_file(home)
    config = _config(started, environ)
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


def _config(started: FleetFile | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read: what the environment names, what the fleet was started with, the default."""
    if not environ.get("FLEET_CONFIG") and started is not None and started.config:
        return Path(started.config)
    return find_config(None, environ, ROOT)
