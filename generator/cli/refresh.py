"""`python3 -m generator refresh`: fetches BRAIN's lists of operators and data fields for the user's account."""

import os
import threading

import click

from fleet.config.load import find_config, load_settings
from fleet.runtime.clock import Clock, SystemClock
from fleet.runtime.errors import ConfigError, GeneratorError
from fleet.runtime.home import ROOT, find_home, read_fleet_file
from fleet.runtime.logging import configure
from fleet.runtime.units import Seconds, show_duration
from generator.brain.account_catalogue import Listing, listing_path
from generator.brain.errors import BrainAccessError, BrainAwayError, BrainError, BrainLimitError, PersonaError
from generator.brain.limits import wait_after
from generator.catalogue import Catalogue, save
from generator.evaluators.brain import BrainPlan
from generator.evaluators.select import plan_brain

_MOST_FAILURES = 5
_PERSONA_PATIENCE: Seconds = 900.0


@click.command()
def refresh() -> None:
    """Fetch BRAIN's operators and data fields for your account and save them in the home.

    A generator that evaluates on BRAIN fetches them itself once a week.
    """
    configure()
    plan, clock = _plan(), SystemClock()
    plan.home.create()
    made = fetch(Listing(plan.connect(clock), clock), clock)
    path = listing_path(plan.home, plan.settings)
    save(made, path)
    click.echo(f"{len(made.operators)} operators and {len(made.fields)} fields, saved in {path}")
    if made.skipped:
        click.echo(f"left out, because their text cannot be parsed: {', '.join(made.skipped)}")


def _plan() -> BrainPlan:
    home, environ = find_home(os.environ), os.environ
    started = read_fleet_file(home)
    if started is not None and started.standin:
        raise ConfigError(
            f"the fleet in {home.path} runs with the stand-in and sends nothing to BRAIN",
            hint="Name a real fleet's home in FLEET_HOME.",
        )
    config = find_config(None, environ, ROOT)
    settings = load_settings(config, environ)
    return plan_brain(settings, home, environ, config=config)


def fetch(listing: Listing, clock: Clock) -> Catalogue:
    """Return the catalogue after the waits that BRAIN requires; raise BrainError after too many failures."""
    failures, began, never = 0, clock.monotonic(), threading.Event()
    while True:
        try:
            made = listing.step()
        except BrainError as error:
            failures += 1
            wait = wait_after(error, failures, 0.0)
            if not _worth_waiting(error, failures, clock.monotonic() - began):
                raise _given_up(error) from error
            if failures == 1 or not isinstance(error, PersonaError):
                click.echo(f"{error.message}; next try in {show_duration(wait)}", err=True)
            clock.wait(never, wait)
        else:
            failures = 0
            if made is not None:
                return made


def _given_up(error: BrainError) -> GeneratorError:
    """Return a failure whose hint suits a command that ends without another try."""
    if isinstance(error, BrainAwayError | BrainLimitError):
        return GeneratorError(error.message, hint="Run `refresh` again later.")
    if isinstance(error, PersonaError):
        return GeneratorError(error.message, hint="Run `refresh` again afterwards.")
    return error


def _worth_waiting(error: BrainError, failures: int, waited: Seconds) -> bool:
    if isinstance(error, PersonaError):
        return waited < _PERSONA_PATIENCE
    if isinstance(error, BrainAccessError):
        return False
    return isinstance(error, BrainLimitError | BrainAwayError) and failures < _MOST_FAILURES
