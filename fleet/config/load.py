"""The loader of `fleet.toml` and its environment variables; it reports all problems at once.

The file is an explicit path, else `FLEET_CONFIG`, else `./fleet.toml`; without a file the defaults apply.
`FLEET_<SECTION>_<KEY>` overrides a key.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from fleet.config.entries import Problem, read_hours, read_ladder, read_patterns, unknown_key
from fleet.config.lanes import read_lanes
from fleet.config.schema import SEED_LADDER, PanelSettings, Settings
from fleet.config.variables import NO_KEYS, meant_by
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import DEFAULT_LANE, ROOT, FleetFile, expanded, is_there
from fleet.runtime.logging import plain_text

SECTIONS: Mapping[str, type] = {
    part.name: part.default_factory  # type: ignore[misc]  # every section has a factory, its own class
    for part in fields(Settings)
    if part.name not in {"ladder", "patterns", "hours", "lanes", "source"}
}
KEYS = tuple(
    f"FLEET_{name}_{key.name}".upper() for name, section in SECTIONS.items() for key in fields(section)
)
"""The variables that override a key."""
_USER = re.compile(r"//[^/\s]*@")  # user and password of a URL, which must not be shown


class InvalidConfigError(ConfigError):
    """The configuration has faults; `problems` lists all of them."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        rows = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(
            f"{source} has {count}:{rows}", hint="Correct the keys named above; nothing was started."
        )
        self.problems = problems


def find_config(explicit: str | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the configuration file, None if there is none; raise ConfigError if a named file is missing."""
    named = explicit or environ.get("FLEET_CONFIG") or None
    if named is None:
        default = folder / "fleet.toml"
        return default if is_there(default) else None
    path = expanded(named)
    if not is_there(path):
        by = "--config" if explicit else "FLEET_CONFIG"
        raise ConfigError(
            f"there is no configuration file {path}", hint=f"It was named by {by}; correct the path."
        )
    return path


def config_path(started: FleetFile | None, environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file: the environment's, else the running fleet's, else the default."""
    if not environ.get("FLEET_CONFIG") and started is not None and started.config:
        return Path(started.config)
    return find_config(None, environ, ROOT)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of a file and the environment, with FLEET_LANE those of the lane.

    Raise InvalidConfigError with all problems, ConfigError for an unknown lane.
    """
    source = "the environment" if path is None else str(path)
    problems: list[Problem] = []
    settings = read_settings(_parse(path), environ, source, problems)
    if problems:
        raise InvalidConfigError(source, problems)
    lane = environ.get("FLEET_LANE", "")
    return settings if lane in {"", DEFAULT_LANE} else settings.of_lane(lane)


def _parse(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is no valid TOML: {error}", hint="Correct the line that it names."
        ) from error
    except RecursionError as error:
        raise ConfigError(
            f"{path} is no valid TOML: its brackets are nested too deeply", hint="Close the brackets."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="Name a file that this user may read."
        ) from error


def read_settings(
    table: Mapping[str, Any], environ: Mapping[str, str], source: str, problems: list[Problem]
) -> Settings:
    """Return the settings of a TOML table and the environment, appending faults to `problems` (pure)."""
    known = [*SECTIONS, "ladder", "hours", "lane", "pattern"]
    problems.extend(unknown_key(name, known, "") for name in table if name not in known)
    overrides = _environment(environ, problems)
    parts = {
        name: _section(name, section, table.get(name, {}), overrides.get(name, {}), problems)
        for name, section in SECTIONS.items()
    }
    _require_order(parts["panel"], problems)
    ladder = read_ladder(table["ladder"], problems) if "ladder" in table else None
    if ladder is not None:
        parts["ladder"] = ladder
    known_ladder = ladder if "ladder" in table else SEED_LADDER
    parts["hours"] = read_hours(table.get("hours", []), known_ladder, problems)
    parts["patterns"] = read_patterns(table.get("pattern", []), problems)
    if "lane" in table:
        parts["lanes"] = read_lanes(
            table["lane"], parts["ollama"], ladder or SEED_LADDER, table.get("hours", []), problems
        )
    return Settings(**parts, source=source)


def _require_order(panel: PanelSettings, problems: list[Problem]) -> None:
    """Append the fault of days of test that do not follow those of validation."""
    first, last = panel.validation_from, panel.test_from
    if first is not None and last is not None and last <= first:
        message = f"{last} is not allowed; allowed is a date after panel.validation_from ({first})"
        problems.append(Problem("panel.test_from", message))


def _environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, dict[str, str]]:
    overrides: dict[str, dict[str, str]] = {}
    for variable, value in sorted(environ.items()):
        match = re.fullmatch(rf"FLEET_({'|'.join(SECTIONS).upper()})_(\w+)", variable)
        if variable in NO_KEYS:
            continue
        if match is None:
            if meant := meant_by(variable, KEYS):
                problems.append(Problem(variable, f"there is no such variable; did you mean {meant}?"))
            continue
        section, name = match[1].lower(), match[2].lower()
        known = [part.name for part in fields(SECTIONS[section])]
        if name not in known:
            problem = unknown_key(name, known, "")
            problems.append(Problem(variable, f"{problem.message} ({section}.{name})"))
        else:
            overrides.setdefault(section, {})[name] = value
    return overrides


def _section(
    name: str, section: type, table: Any, overrides: Mapping[str, str], problems: list[Problem]
) -> Any:
    if not isinstance(table, Mapping):
        problems.append(Problem(name, f"this is a section: write [{name}] with its keys below"))
        table = {}
    known = {part.name: part for part in fields(section)}
    problems.extend(unknown_key(key, list(known), f"{name}.") for key in table if key not in known)
    values: dict[str, Any] = {}
    for key, part in known.items():
        if key in table or key in overrides:
            raw = _RawValue(f"{name}.{key}", part, table.get(key), overrides.get(key))
            values.update((key, value) for value in raw.read(problems))
    return section(**values)


@dataclass(frozen=True, slots=True)
class _RawValue:
    """A key's value from the file or from a variable; the variable wins."""

    path: str
    part: "Field[Any]"
    in_file: object
    in_environment: str | None

    def read(self, problems: list[Problem]) -> Iterator[Any]:
        """Yield the checked value, or append its problem and yield nothing."""
        kind = self.part.metadata["kind"]
        raw: object = self.in_file
        try:
            if self.in_environment is not None:
                raw = self.in_environment
                value = kind.read(_from_text(kind, self.in_environment))
            else:
                value = kind.read(raw)
        except ValueError as error:
            problems.append(Problem(self._where, f"{self._shown(raw)} is not allowed; allowed is {error}"))
            return
        yield value

    @property
    def _where(self) -> str:
        if self.in_environment is None:
            return self.path
        return "FLEET_" + self.path.replace(".", "_").upper()

    def _shown(self, raw: object) -> str:
        if self.part.metadata["secret"]:
            return "the value (not shown)"
        shown = repr(raw) if not isinstance(raw, str) else f'"{plain_text(_USER.sub("//...@", raw))}"'
        return shown if len(shown) <= 60 else shown[:57] + "..."  # noqa: PLR2004  # a limit for one line of a message


def _from_text(kind: Any, string: str) -> object:
    try:
        return kind.from_text(string)
    except (ValueError, KeyError):
        raise ValueError(kind.allowed) from None
