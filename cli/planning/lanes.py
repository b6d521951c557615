"""`lanes --suggest`: a lane for each GPU, with a ladder that fits it and an Ollama of its own. Pure.

An Ollama sees one card by CUDA_VISIBLE_DEVICES, on AMD by HIP_VISIBLE_DEVICES. Under systemd each Ollama has its own
unit, port and journal. Under Compose each is a service beside those of docker-compose.yml.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cli.planning.memory import KnownMemory
from cli.planning.suggest import ModelOption, SuggestedRung, Suggestion, suggest
from fleet.config.values import Reserve
from fleet.runtime.errors import FleetError
from fleet.runtime.logging import plain_text
from fleet.runtime.units import show_size

CUDA, HIP = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"
_PORT = 11434
_FIRST_CONTAINER = "naive-ollma-gpu"


@dataclass(frozen=True, slots=True)
class SuggestedLane:
    """A lane for one card: its Ollama's address, log and environment, and the ladder."""

    name: str
    url: str
    log: str
    environment: dict[str, str]
    ladder: Suggestion


def suggest_lanes(
    cards: Sequence[KnownMemory],
    candidates: Iterable[ModelOption],
    reserve: Reserve,
    *,
    variable: str = CUDA,
    compose: bool = False,
) -> list[SuggestedLane]:
    """Return a lane for each card, in the driver's order of the cards. Raise FleetError if none fits one."""
    known, lanes = list(candidates), []
    for number, card in enumerate(cards):
        name, environment = f"gpu{number}", {variable: str(number)}
        try:
            ladder = suggest(card, known, reserve.of(card.total))
        except FleetError as error:
            raise FleetError(f"{name}: {error.message}", hint=error.hint) from error
        if compose:
            container = _container(number)
            lanes.append(
                SuggestedLane(name, f"http://{container}:{_PORT}", f"docker:{container}", environment, ladder)
            )
        else:
            address = f"127.0.0.1:{_PORT + number}"
            environment["OLLAMA_HOST"] = address
            lanes.append(
                SuggestedLane(name, f"http://{address}", f"journal:ollama-{name}", environment, ladder)
            )
    return lanes


def _container(number: int) -> str:
    return f"ollama-gpu{number}" if number else _FIRST_CONTAINER


def lanes_rows(lanes: Sequence[SuggestedLane]) -> list[dict[str, Any]]:
    """Return the lanes for `--json`, sizes in bytes."""
    return [asdict(lane) for lane in lanes]


def lanes_toml(lanes: Sequence[SuggestedLane], services: str) -> str:
    """Return the lanes as TOML, to be pasted into fleet.toml; the services stand below as comments."""
    head = ["# A lane for each GPU. Paste these entries into fleet.toml, and start the Ollamas below."]
    entries = [line for lane in lanes for line in _entry(lane)]
    below = [f"# {line}".rstrip() for line in services.splitlines()]
    return "\n".join([*head, *entries, "", *below])


def _entry(lane: SuggestedLane) -> Iterator[str]:
    ladder = lane.ladder
    yield ""
    yield (
        f"# {show_size(ladder.memory)} of GPU memory ({plain_text(ladder.origin)}); {show_size(ladder.buffers)} of it stay "
        "free on every rung"
    )
    yield "[[lane]]"
    yield f'name = "{lane.name}"'
    yield f'url = "{lane.url}"'
    yield f'log = "{lane.log}"'
    yield "ladder = ["
    for rung in ladder.rungs:
        yield f"  {_rung(rung)},  # {show_size(rung.need)} with its KV cache"
    yield "]"


def _rung(rung: SuggestedRung) -> str:
    model = json.dumps(rung.model, ensure_ascii=False)
    return (
        f'{{ model = {model}, size = "{show_size(rung.weights)}", options = {{ num_ctx = {rung.context} }} }}'
    )


def systemd_services(lanes: Sequence[SuggestedLane]) -> str:
    """Return the shell commands that make a systemd service for each lane, from the unit of Ollama's installer."""
    lines = [
        "# One Ollama for each GPU, from the unit that Ollama's installer made. Run these commands as root."
    ]
    for lane in lanes:
        unit = f"ollama-{lane.name}"
        folder = f"/etc/systemd/system/{unit}.service.d"
        settings = " ".join(f'"{name}={value}"' for name, value in lane.environment.items())
        lines += [
            f"cp /etc/systemd/system/ollama.service /etc/systemd/system/{unit}.service",
            f"mkdir -p {folder}",
            f"cat > {folder}/lane.conf <<'END'",
            "[Service]",
            f"Environment={settings}",
            "END",
        ]
    units = " ".join(f"ollama-{lane.name}" for lane in lanes)
    return "\n".join(
        [
            *lines,
            "systemctl disable --now ollama",
            "systemctl daemon-reload",
            f"systemctl enable --now {units}",
        ]
    )


def compose_services(lanes: Sequence[SuggestedLane]) -> str:
    """Return the Compose file of the lanes, which stands beside docker-compose.yml."""
    lines = [
        f"# One Ollama for each of {len(lanes)} GPUs, and the fleet beside them.",
        "#",
        "#   docker compose -f docker-compose.lanes.yml up -d",
        "#",
        "# fleet.toml needs a lane for each; `python3 fleet_cli.py lanes --suggest --compose` adds a ladder for each card:",
        "#",
        *(f"#   {line}" for lane in lanes for line in _named(lane)),
        "",
        "services:",
    ]
    for number, lane in enumerate(lanes):
        settings = ", ".join(f'{name}: "{value}"' for name, value in lane.environment.items())
        amd = HIP in lane.environment
        file, service = ("docker-compose.amd.yml", "ollama-amd") if amd else ("docker-compose.yml", "ollama")
        lines += [
            f"  {_container(number) if number else 'ollama'}:",
            f"    extends: {{file: {file}, service: {service}}}",
            f"    container_name: {_container(number)}",
            f"    environment: {{{settings}}}",
            "",
        ]
    containers = " ".join(_container(number) for number in range(len(lanes)))
    return "\n".join([*lines, *_COMPOSE_REST]).replace("CONTAINERS", containers)


def _named(lane: SuggestedLane) -> list[str]:
    return ["[[lane]]", f'name = "{lane.name}"', f'url = "{lane.url}"', f'log = "{lane.log}"']


_COMPOSE_REST = """\
  log-proxy:
    extends: {file: docker-compose.yml, service: log-proxy}
    environment:
      OLLAMA_CONTAINER: CONTAINERS

  fleet:
    extends: {file: docker-compose.yml, service: fleet}

networks:
  models: {}
  engine: {internal: true}

volumes:
  models:
    name: ${OLLAMA_VOLUME:-model-fleet-ollama}
  fleet:
    name: ${FLEET_VOLUME:-model-fleet}""".splitlines()
