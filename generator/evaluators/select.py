"""Selection of the evaluator by `[generator] evaluator`, credentials, panel and stand-in."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from fleet.config.schema import Settings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import Home
from fleet.runtime.logging import with_sentence
from generator.brain.api import simulation_settings
from generator.brain.credentials import EMAIL, PASSWORD, CredentialSource, brain_url, credential_source
from generator.domain import Source
from generator.evaluators.brain import BrainPlan
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import ScreenPlan

Plan: TypeAlias = LocalPlan | BrainPlan | ScreenPlan

_log = logging.getLogger(__name__)


def plan_evaluator(
    settings: Settings, home: Home, environ: Mapping[str, str], *, config: Path | None, standin: bool
) -> Plan:
    """Return the plan of this fleet's evaluator; raise ConfigError if it is unusable.

    A stand-in fleet always gets a local plan, also with credentials. Its expressions never reach BRAIN, because a
    local plan does not know BRAIN's address.
    """
    wanted, panel = settings.generator.evaluator, settings.panel.path
    if standin:
        if wanted in {"brain", "screen"}:
            sentence = f'a stand-in fleet sends nothing to BRAIN: evaluator = "{wanted}" means "local" here'
            _log.warning("evaluator.standin", extra=with_sentence(sentence))
        return LocalPlan(settings.panel, Source.STANDIN, settings.generator.dask)
    local = LocalPlan(settings.panel, Source.PANEL if panel else Source.SYNTHETIC, settings.generator.dask)
    account = find_credentials(settings, home, environ, config=config).present
    kind = evaluator_kind(wanted, account=account, panel=bool(panel))
    if kind == "local":
        return local
    if kind == "screen" and not panel:
        raise ConfigError(
            'generator.evaluator: "screen" needs a panel of your own in panel.path',
            hint='Set panel.path, or use "brain".',
        )
    brain = plan_brain(settings, home, environ, config=config)
    return brain if kind == "brain" else ScreenPlan(local, brain)


def evaluator_kind(wanted: str, *, account: bool, panel: bool) -> str:
    """Return the evaluator; `auto` is `local` without credentials, else `screen` with a panel and `brain` without."""
    if wanted != "auto":
        return wanted
    if not account:
        return "local"
    return "screen" if panel else "brain"


def find_credentials(
    settings: Settings, home: Home, environ: Mapping[str, str], *, config: Path | None
) -> CredentialSource:
    """Return the sources of credentials, existing or not."""
    return credential_source(settings.brain.credentials, config, home.root(), environ)


def plan_brain(
    settings: Settings, home: Home, environ: Mapping[str, str], *, config: Path | None
) -> BrainPlan:
    """Return the plan of the BRAIN evaluator; raise ConfigError without credentials."""
    credentials = find_credentials(settings, home, environ, config=config)
    if not credentials.present:
        raise ConfigError(
            f"BRAIN needs credentials; none are in {' or '.join(map(str, credentials.files))}",
            hint=f'Write ["e-mail", "password"] into that file, chmod 600 it; or set {EMAIL} and {PASSWORD}.',
        )
    return BrainPlan(
        brain=settings.brain,
        settings=simulation_settings(settings.brain, settings.panel),
        credentials=credentials,
        url=brain_url(environ),
        home=home,
    )
