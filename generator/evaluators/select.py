"""Which evaluator a fleet has: by `[generator] evaluator`, its credentials, its panel, and whether it is real."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from fleet.config.schema import Settings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import Home
from fleet.runtime.logging import tell
from generator.brain.api import simulation_settings
from generator.brain.credentials import EMAIL, PASSWORD, CredentialSource, credential_source
from generator.brain.http import brain_url
from generator.domain import Source
from generator.evaluators.brain import BrainPlan
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import ScreenPlan

Plan: TypeAlias = LocalPlan | BrainPlan | ScreenPlan

_log = logging.getLogger(__name__)


def plan_evaluator(
    settings: Settings, home: Home, environ: Mapping[str, str], *, config: Path | None, standin: bool
) -> Plan:
    """Return what evaluates in this fleet; raise ConfigError for one that cannot.

    Whatever a stand-in fleet finds is the stand-in's, and nothing of it goes to BRAIN, whatever credentials
    lie about: there is no plan of it that knows BRAIN's address.
    """
    wanted, panel = settings.generator.evaluator, settings.panel.path
    if standin:
        if wanted in {"brain", "screen"}:
            sentence = f'a stand-in fleet sends nothing to BRAIN: evaluator = "{wanted}" is taken for "local"'
            _log.warning("evaluator.standin", extra=tell(sentence))
        return LocalPlan(settings.panel, Source.STANDIN)
    local = LocalPlan(settings.panel, Source.PANEL if panel else Source.SYNTHETIC)
    account = find_credentials(settings, home, environ, config=config).present
    kind = evaluator_kind(wanted, account=account, panel=bool(panel))
    if kind == "local":
        return local
    if kind == "screen" and not panel:
        raise ConfigError(
            'generator.evaluator: "screen" needs a panel of your own in panel.path: made-up data screens nothing',
            hint='Name one, or use "brain".',
        )
    brain = plan_brain(settings, home, environ, config=config)
    return brain if kind == "brain" else ScreenPlan(local, brain)


def evaluator_kind(wanted: str, *, account: bool, panel: bool) -> str:
    """Return the evaluator that is meant: `auto` is local without credentials, else brain, with a panel screen."""
    if wanted != "auto":
        return wanted
    if not account:
        return "local"
    return "screen" if panel else "brain"


def find_credentials(
    settings: Settings, home: Home, environ: Mapping[str, str], *, config: Path | None
) -> CredentialSource:
    """Return where the account is, whether or not there is one."""
    return credential_source(settings.brain.credentials, config, home.path, environ)


def plan_brain(
    settings: Settings, home: Home, environ: Mapping[str, str], *, config: Path | None
) -> BrainPlan:
    """Return what evaluates on BRAIN; raise ConfigError if there are no credentials."""
    credentials = find_credentials(settings, home, environ, config=config)
    if not credentials.present:
        raise ConfigError(
            f"BRAIN needs credentials, and there are none in {' or '.join(map(str, credentials.files))}",
            hint=f'Write ["e-mail", "password"] into that file, chmod 600 it; or set {EMAIL} and {PASSWORD}.',
        )
    return BrainPlan(
        brain=settings.brain,
        settings=simulation_settings(settings.brain, settings.panel),
        credentials=credentials,
        url=brain_url(environ),
        home=home,
    )
