"""What a run of the generator is made from: the home, the settings, the assignment, and where Ollama is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.config.keep_rule import KeepRule, parse_keep
from fleet.config.load import find_config, load_settings
from fleet.config.schema import Settings
from fleet.runtime.home import ROOT, FleetFile, Home, find_home, read_fleet_file
from generator.assignment import Assignment, find_url, read_assignment
from generator.catalogue import load_catalogue
from generator.catalogue.available import Scope
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import ScreenPlan
from generator.evaluators.select import Plan, plan_evaluator
from generator.launcher import assignment as chosen_assignment


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
