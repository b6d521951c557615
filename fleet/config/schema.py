"""The settings of `fleet.toml`: a dataclass for each section, with each key's default and allowed values.

Durations are in seconds, sizes in bytes. `fleet.toml` explains the keys; a test compares it with this file.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import date

from fleet.config.hours import HoursRow
from fleet.config.keep_rule import NAMES, parse_keep
from fleet.config.ladder import Ladder, Rung
from fleet.config.network import check_dask_address, check_server_address
from fleet.config.values import (
    Reserve,
    addresses,
    choice,
    day,
    duration,
    flag,
    key,
    number,
    reserve,
    rule,
    text,
    whole,
    words,
)
from fleet.memory_errors.user_patterns import UserPattern
from fleet.runtime.errors import ConfigError
from fleet.runtime.units import Seconds, parse_size

CAUSES = ("allocation", "runner_died", "not_recovered")
NOTICES = (
    "held",
    "gpu_lost",
    "ollama_hangs",
    "unanswered",
    "program_failed",
    "log_away",
    "lines_skipped",
    "brain_login",
    "disk_full",
    "slow",
    "spill",
)
"""The kinds of notices."""
_PING = r"(https?://[^\s]+)?"
_DATABASE = r"([A-Za-z]\w*(\+\w+)?://.*)?"
_KEEP = f'comparisons of {", ".join(NAMES)} with numbers, such as "fitness > 0.5 and turnover < 0.7"'
_LISTEN = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_PORTS = 65536
_LOG = r"((docker|journal):[A-Za-z0-9][A-Za-z0-9_.@-]*|file:.+)?"

SEED_LADDER = Ladder(
    [
        Rung(0, "llama3.2:3b", parse_size("2.0 GB"), "Large model - 3B parameters"),
        Rung(1, "phi3:mini", parse_size("2200 MB"), "Medium model - Phi3 mini"),
        Rung(2, "tinyllama:1.1b", parse_size("637 MB"), "Small model - 1.1B parameters"),
        Rung(3, "qwen2.5:0.5b", parse_size("397 MB"), "Tiny model - 0.5B parameters"),
    ]
)


def _check_url(text: str) -> None:
    if text:
        check_server_address(text)


@dataclass(frozen=True, slots=True)
class OllamaSettings:
    """`[ollama]`: the server, its log and its use."""

    url: str = key("", rule(_check_url, "an http:// or https:// address without a user"))
    log: str = key("", text(_LOG, "docker:NAME, file:PATH or journal:UNIT"))
    keep_alive: Seconds = key("30m", duration())
    first_token_timeout: Seconds = key("6m", duration(1))
    on_hang: str = key("", text(allowed="a program with its arguments"))
    auto_pull: bool = key(default=True, kind=flag())
    pull_ahead: bool = key(default=True, kind=flag())


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """`[policy]`: when the fleet switches models."""

    threshold: int = key(3, whole(1, 1000))
    window: Seconds = key("10m", duration(1))
    incident_gap: Seconds = key("5s", duration())
    cool_down: Seconds = key("30s", duration())
    check_interval: Seconds = key("30s", duration(0.1))
    causes: list[str] = key(list(CAUSES), words(*CAUSES))
    min_fail_share: float = key(0.0, number(0, 1))
    on_spill: str = key("downgrade", choice("downgrade", "report"))
    spill_share: float = key(0.8, number(0, 1))
    selection: str = key("next", choice("next", "fits"))
    on_exhausted: str = key("hold", choice("hold", "cpu", "reset"))
    recover_after: Seconds = key("10m", duration())
    recover_cap: Seconds = key("1h", duration())
    max_switches_per_hour: int = key(12, whole(1, 3600))
    canary: bool = key(default=True, kind=flag())
    dynamic_threshold: bool = key(default=False, kind=flag())
    reserve: Reserve = key("0 B", reserve())


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """`[notify]`: notices to people. Addresses and command are secret, since they may hold passwords."""

    urls: list[str] = key([], addresses(), secret=True)
    command: str = key("", text(allowed="a program with its arguments"), secret=True)
    on: list[str] = key(list(NOTICES), words(*NOTICES))
    ping_url: str = key("", text(_PING, "an http:// or https:// address"), secret=True)

    @property
    def used(self) -> bool:
        """Return True if there is anything for the notifier to do."""
        return bool(self.urls or self.command or self.ping_url)


def _check_dask(text: str) -> None:
    if text:
        check_dask_address(text)


@dataclass(frozen=True, slots=True)
class GeneratorSettings:
    """`[generator]`: how alphas are mined."""

    batch_size: int = key(2, whole(1, 100))
    max_concurrent: int = key(2, whole(1, 32))
    evaluator: str = key("auto", choice("auto", "local", "brain", "screen"))
    keep: str = key("fitness > 0.5", rule(parse_keep, _KEEP))
    breed: int = key(2, whole(0, 100))
    dask: str = key("", rule(_check_dask, "tls://HOST:PORT of a dask scheduler, tcp:// only on this machine"))
    database: str = key("", text(_DATABASE, "an SQLAlchemy URL such as sqlite:///FILE"), secret=True)
    keep_calls: Seconds = key("7d", duration())


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """`[panel]`: the local evaluator's data and settings."""

    path: str = key("", text(allowed="a path to a Parquet or CSV file"))
    delay: int = key(1, whole(0, 1))
    decay: int = key(0, whole(0, 512))
    neutralization: str = key("industry", choice("none", "market", "sector", "industry", "subindustry"))
    truncation: float = key(0.08, number(0, 1))
    gaps: str = key("earned", choice("earned", "skipped"))
    validation_from: date | None = key(None, day().or_none())
    test_from: date | None = key(None, day().or_none())


@dataclass(frozen=True, slots=True)
class BrainSettings:
    """`[brain]`: WorldQuant BRAIN."""

    credentials: str = key("credential.txt", text(allowed="a path"))
    region: str = key("USA", text("[A-Z]{3}", "a region such as USA"))
    universe: str = key("TOP3000", text("[A-Z0-9_]+", "a universe such as TOP3000"))
    slots: int = key(3, whole(1, 80))
    max_simulations_per_day: int = key(0, whole(0))
    delay: int | None = key(None, whole(0, 1).or_none())
    decay: int | None = key(None, whole(0, 512).or_none())
    neutralization: str | None = key(None, text("[A-Za-z_]+", "BRAIN's name of a neutralization").or_none())
    truncation: float | None = key(None, number(0, 1).or_none())


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`[log]`: the form of the programs' logs."""

    format: str = key("text", choice("text", "json"))


def _check_listen(text: str) -> None:
    if text and (_LISTEN.fullmatch(text) is None or not 0 < int(text.rpartition(":")[2]) < _PORTS):
        raise ValueError("no address with a port from 1 to 65535")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`[web]`: the page, its JSON and /metrics."""

    listen: str = key("", rule(_check_listen, "an address and a port such as 127.0.0.1:9800"))


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """A lane of `[[lane]]`: its own settings, completed by the fleet's."""

    name: str
    ollama: OllamaSettings
    ladder: Ladder
    hours: tuple[HoursRow, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, valid by construction; `source` is the file's name, empty without a file."""

    ollama: OllamaSettings = field(default_factory=OllamaSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    panel: PanelSettings = field(default_factory=PanelSettings)
    brain: BrainSettings = field(default_factory=BrainSettings)
    web: WebSettings = field(default_factory=WebSettings)
    log: LogSettings = field(default_factory=LogSettings)
    ladder: Ladder = SEED_LADDER
    patterns: tuple[UserPattern, ...] = ()
    hours: tuple[HoursRow, ...] = ()
    lanes: tuple[LaneSettings, ...] = ()
    source: str = ""

    def of_lane(self, name: str) -> "Settings":
        """Return the settings of a lane, which differ in Ollama, ladder and hours; raise ConfigError if there is none."""
        for lane in self.lanes:
            if lane.name == name:
                return replace(self, ollama=lane.ollama, ladder=lane.ladder, hours=lane.hours)
        names = ", ".join(lane.name for lane in self.lanes)
        raise ConfigError(
            f"{self.source or 'the configuration'} has no lane {name!r}",
            hint=f"Its lanes are {names}." if names else "It has no [[lane]] entries.",
        )
