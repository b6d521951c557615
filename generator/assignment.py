"""What this generator was started on: the launcher's variables, and where its Ollama is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.clients.ollama import client_url
from fleet.config.schema import Settings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import FleetFile


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
