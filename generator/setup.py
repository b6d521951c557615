"""What a run of the generator is made from: the home, the settings, the assignment, and where Ollama is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.config import find_config, load_settings
from fleet.errors import ConfigError
from fleet.home import ROOT, FleetFile, Home, find_home, read_fleet_file
from fleet.settings import Settings
from generator.assignment import Assignment, find_url, read_assignment
from generator.evaluators.local import LocalPlan
from generator.keep import KeepRule, parse_keep
from generator.launcher import assignment as chosen_assignment
from generator.records import Source


@dataclass(frozen=True, slots=True)
class Setup:
    """All that was decided before anything was started; `standin`: this fleet's Ollama is the stand-in."""

    home: Home
    settings: Settings
    assignment: Assignment
    url: str
    standin: bool
    plan: LocalPlan
    keep: KeepRule


def read_setup(environ: Mapping[str, str]) -> Setup:
    """Return the setup of this environment; raise FleetError with what is wrong."""
    home = find_home(environ)
    started = read_fleet_file(home)
    settings = load_settings(_config(started, environ), environ)
    if "FLEET_MODEL" not in environ:
        environ = {**environ, **chosen_assignment(environ)}
    standin = started is not None and started.standin
    return Setup(
        home=home,
        settings=settings,
        assignment=read_assignment(environ),
        url=find_url(started, settings, environ),
        standin=standin,
        plan=plan_evaluator(settings, standin=standin),
        keep=parse_keep(settings.generator.keep),
    )


def _config(started: FleetFile | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read: what the environment names, what the fleet was started with, the default."""
    if not environ.get("FLEET_CONFIG") and started is not None and started.config:
        return Path(started.config)
    return find_config(None, environ, ROOT)


def plan_evaluator(settings: Settings, *, standin: bool) -> LocalPlan:
    """Return what evaluates in this fleet; raise ConfigError for what is not built.

    Whatever a stand-in fleet finds is the stand-in's, and nothing of it goes to BRAIN.
    """
    wanted = settings.generator.evaluator
    if wanted in {"brain", "screen"} and not standin:
        raise ConfigError(
            f'generator.evaluator: "{wanted}" is not available in this version',
            hint='Use "auto" or "local".',
        )
    source = Source.PANEL if settings.panel.path else Source.SYNTHETIC
    return LocalPlan(settings.panel, Source.STANDIN if standin else source)
