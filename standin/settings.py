"""Settings of a stand-in Ollama for a whole run, read from its environment.

| variable | meaning | default |
|---|---|---|
| `FLEET_STANDIN_VRAM` | what of the GPU is free for us, such as `1.0 GB` | `1.2 GB` |
| `FLEET_STANDIN_SPILL` | 1: the card itself is small, so a model spills onto the CPU instead of failing | 0 |
| `FLEET_STANDIN_ERA` | the logs' and errors' age: `new` (from v0.30 on) or `old` (v0.4 to v0.11.4) | `new` |
| `FLEET_STANDIN_MISSING` | models that are not here and can be pulled, with commas | none |
| `FLEET_STANDIN_THINKING` | models that think, with commas, beside deepseek-r1, qwen3, magistral, gpt-oss | none |
| `FLEET_STANDIN_PACE` | factor on all waiting: 1 is a small model's pace, 0 waits never | 1 |
| `FLEET_STANDIN_PARALLEL` | requests that a model answers at once, as `OLLAMA_NUM_PARALLEL` | 1 |
| `FLEET_STANDIN_RECOVERY` | seconds until old Ollama complains that GPU memory did not come back | 5 |
| `FLEET_STANDIN_SEED` | makes answers without a seed of their own repeatable | none |
| `FLEET_STANDIN_FAULTS` | faults for the whole run, in the JSON that `standin.faults` describes | none |
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from fleet.runtime.errors import ConfigError
from fleet.runtime.units import Bytes, Seconds, parse_size
from standin.faults import Fault, FaultKind, parse_faults
from standin.models.specs import canonical

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}(?:[/:][\w.-]{1,80}){0,4}")
DEFAULT_VRAM: Bytes = parse_size("1.2 GB")


class Era(Enum):
    """The era of the imitated Ollama."""

    NEW = "new"
    OLD = "old"


@dataclass(frozen=True, slots=True)
class StandinSettings:
    """A stand-in's settings; the module's docstring has their meaning."""

    vram: Bytes = DEFAULT_VRAM
    spill: bool = False
    era: Era = Era.NEW
    missing: frozenset[str] = frozenset()
    thinking: frozenset[str] = frozenset()
    pace: float = 1.0
    parallel: int = 1
    recovery: Seconds = 5.0
    seed: int | None = None
    faults: tuple[Fault, ...] = field(default=())


def model_name(text: str) -> str:
    """Return a model's name as Ollama files it; raise ValueError if it is none."""
    if _NAME.fullmatch(text.strip()) is None:
        raise ValueError(f"not a model's name: {text!r}")
    return canonical(text)


def settings_from(environ: Mapping[str, str]) -> StandinSettings:
    """Return the settings of an environment; raise ConfigError with every value that is wrong."""
    problems: list[str] = []

    def read(name: str, convert: Callable[[str], T], default: T) -> T:
        text = environ.get(f"FLEET_STANDIN_{name}", "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            problems.append(f"FLEET_STANDIN_{name}={text!r}: {error}")
            return default

    settings = StandinSettings(
        vram=read("VRAM", parse_size, DEFAULT_VRAM),
        spill=read("SPILL", _flag, default=False),
        era=read("ERA", _era, Era.NEW),
        missing=read("MISSING", _names, frozenset()),
        thinking=read("THINKING", _names, frozenset()),
        pace=read("PACE", _amount, 1.0),
        parallel=read("PARALLEL", _count, 1),
        recovery=read("RECOVERY", _amount, 5.0),
        seed=read("SEED", _whole, None),
        faults=read("FAULTS", _faults, ()),
    )
    if problems:
        text = "\n  ".join(["the stand-in cannot start:", *problems])
        raise ConfigError(text, hint="The table at the top of standin/settings.py says what is allowed.")
    return settings


def _flag(text: str) -> bool:
    values = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in values:
        raise ValueError("0 or 1 is allowed")
    return values[text.lower()]


def _era(text: str) -> Era:
    try:
        return Era(text.lower())
    except ValueError:
        raise ValueError("new or old is allowed") from None


def _names(text: str) -> frozenset[str]:
    return frozenset(model_name(part) for part in text.split(",") if part.strip())


def _amount(text: str) -> float:
    amount = float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,9})?", text) else -1.0
    if amount < 0:
        raise ValueError("a number of at least 0 is allowed")
    return amount


def _whole(text: str) -> int | None:
    if re.fullmatch(r"-?\d{1,18}", text) is None:
        raise ValueError("a whole number is allowed")
    return int(text)


def _count(text: str) -> int:
    if re.fullmatch(r"[1-9]\d?", text) is None:
        raise ValueError("a whole number from 1 to 99 is allowed")
    return int(text)


def _faults(text: str) -> tuple[Fault, ...]:
    try:
        faults = tuple(parse_faults(json.loads(text)))
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON ({error})") from error
    if any(fault.kind is FaultKind.AWAY for fault in faults):
        raise ValueError("away happens at once; it is for POST /standin/faults only")
    return faults
