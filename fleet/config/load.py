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

from fleet.config.hours import HOURS_KEYS, MOST_ROWS, HoursRow, read_hours_row
from fleet.config.ladder import Ladder, OptionValue, Rung
from fleet.config.schema import SEED_LADDER, Settings
from fleet.config.values import choice, size, text, whole
from fleet.memory_errors.user_patterns import MOST, PATTERN_CAUSES, UserPattern, fault
from fleet.runtime.errors import ConfigError
from fleet.runtime.logging import plain_text

SECTIONS: Mapping[str, type] = {
    part.name: part.default_factory  # type: ignore[misc]  # every section has a factory, its own class
    for part in fields(Settings)
    if part.name not in {"ladder", "patterns", "hours", "source"}
}
_MODEL = text(
    r"[A-Za-z0-9][\w.-]*(?:[/:][\w.-]+){0,4}", "an Ollama tag such as llama3.2:3b or hf.co/NAME/MODEL"
)
_PATTERN_KEYS = ("pattern", "cause", "name")
_NAME = text(r"[a-z0-9][a-z0-9_-]{0,39}", "a short name such as my-driver")
# These variables look like overrides but have no key: credentials do not belong into the settings file.
_NOT_OVERRIDES = frozenset({"FLEET_BRAIN_EMAIL", "FLEET_BRAIN_PASSWORD", "FLEET_BRAIN_URL"})
_USER = re.compile(r"//[^/\s]*@")  # user and password of a URL, which must not be shown
_RUNG_KEYS = ("model", "size", "description", "threshold", "options")


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of the configuration: its place, and a message with the allowed values."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


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
        return default if default.exists() else None
    path = Path(named).expanduser()
    if not path.exists():
        by = "--config" if explicit else "FLEET_CONFIG"
        raise ConfigError(
            f"there is no configuration file {path}", hint=f"It was named by {by}; correct the path."
        )
    return path


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of a file and the environment; raise InvalidConfigError with all problems."""
    source = "the environment" if path is None else str(path)
    problems: list[Problem] = []
    settings = read_settings(_parse(path), environ, source, problems)
    if problems:
        raise InvalidConfigError(source, problems)
    return settings


def _parse(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is no valid TOML: {error}", hint="Correct the line that it names."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="Check its permissions."
        ) from error


def read_settings(
    table: Mapping[str, Any], environ: Mapping[str, str], source: str, problems: list[Problem]
) -> Settings:
    """Return the settings of a TOML table and the environment, appending faults to `problems` (pure)."""
    known = [*SECTIONS, "ladder", "hours", "lane", "pattern"]
    problems.extend(_unknown(name, known, "") for name in table if name not in known)
    if table.get("lane"):
        problems.append(Problem("lane", "several lanes are not available in this version; remove [[lane]]"))
    overrides = _environment(environ, problems)
    parts = {
        name: _section(name, section, table.get(name, {}), overrides.get(name, {}), problems)
        for name, section in SECTIONS.items()
    }
    ladder = read_ladder(table["ladder"], problems) if "ladder" in table else None
    if ladder is not None:
        parts["ladder"] = ladder
    known_ladder = ladder if "ladder" in table else SEED_LADDER
    parts["hours"] = read_hours(table.get("hours", []), known_ladder, problems)
    parts["patterns"] = read_patterns(table.get("pattern", []), problems)
    return Settings(**parts, source=source)


def _unknown(name: str, known: list[str], prefix: str) -> Problem:
    from difflib import get_close_matches  # noqa: PLC0415  # imported only where there is a fault

    near = get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(known)}"
    return Problem(f"{prefix}{name}", f"there is no such key; {hint}")


def _environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, dict[str, str]]:
    overrides: dict[str, dict[str, str]] = {}
    for variable, value in sorted(environ.items()):
        match = re.fullmatch(rf"FLEET_({'|'.join(SECTIONS).upper()})_(\w+)", variable)
        if match is None or variable in _NOT_OVERRIDES:
            continue
        section, name = match[1].lower(), match[2].lower()
        known = [part.name for part in fields(SECTIONS[section])]
        if name not in known:
            problem = _unknown(name, known, "")
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
    problems.extend(_unknown(key, list(known), f"{name}.") for key in table if key not in known)
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


def read_ladder(rows: Any, problems: list[Problem]) -> Ladder | None:
    """Return the ladder of `[[ladder]]` rows; None if they have faults, which are appended to `problems`."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        problems.append(Problem("ladder", "write a [[ladder]] table for each model"))
        return None
    if not rows:
        problems.append(Problem("ladder", "the ladder is empty; it needs at least one model"))
        return None
    before = len(problems)
    rungs = [_rung(index, row, problems) for index, row in enumerate(rows)]
    seen: dict[str, int] = {}
    for rung in rungs:
        first = seen.setdefault(rung.label.lower(), rung.index)
        if first != rung.index:
            where = f"ladder[{rung.index}]"
            problems.append(Problem(where, f"{rung.label} is on rung {first} too; give it other options"))
    return Ladder(rungs) if len(problems) == before else None


def _rung(index: int, row: Mapping[str, Any], problems: list[Problem]) -> Rung:
    where = f"ladder[{index}]."
    problems.extend(_unknown(key, list(_RUNG_KEYS), where) for key in row if key not in _RUNG_KEYS)
    if "model" not in row:
        problems.append(Problem(f"{where}model", "is missing; allowed is " + _MODEL.allowed))

    def read(name: str, kind: Any) -> Any:
        if name not in row:
            return None
        try:
            return kind.read(row[name])
        except ValueError as error:
            problems.append(Problem(where + name, f"{row[name]!r} is not allowed; allowed is {error}"))
            return None

    return Rung(
        index=index,
        model=read("model", _MODEL) or f"?{index}",
        size=read("size", size()),
        description=read("description", text()) or "",
        threshold=read("threshold", whole(1, 1000)),
        options=_options(row.get("options", {}), f"{where}options", problems),
    )


def _options(table: Any, where: str, problems: list[Problem]) -> dict[str, OptionValue]:
    if not isinstance(table, Mapping):
        problems.append(Problem(where, "write a table such as { num_ctx = 2048 }"))
        return {}
    for name, value in table.items():
        listed = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not (listed or isinstance(value, (bool, int, float, str))):
            problems.append(
                Problem(f"{where}.{name}", "an Ollama option is a number, text, true, false or a list")
            )
    return dict(table)


def read_hours(rows: Any, ladder: Ladder | None, problems: list[Problem]) -> tuple[HoursRow, ...]:
    """Return the caps of `[[hours]]` rows, appending faults to `problems`."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        problems.append(Problem("hours", "write an [[hours]] table for each cap"))
        return ()
    if len(rows) > MOST_ROWS:
        problems.append(Problem("hours", f"there are {len(rows)}; at most {MOST_ROWS} are allowed"))
    found = []
    for index, row in enumerate(rows[:MOST_ROWS]):
        where = f"hours[{index}]."
        problems.extend(_unknown(key, list(HOURS_KEYS), where) for key in row if key not in HOURS_KEYS)
        cap, faults = read_hours_row(row, ladder)
        problems.extend(Problem(where + key, plain_text(message)) for key, message in faults)
        found += [cap] if cap is not None else []
    return tuple(found)


def read_patterns(rows: Any, problems: list[Problem]) -> tuple[UserPattern, ...]:
    """Return the patterns of `[[pattern]]` rows, appending faults to `problems`."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        problems.append(Problem("pattern", "write a [[pattern]] table for each pattern"))
        return ()
    if len(rows) > MOST:
        problems.append(Problem("pattern", f"there are {len(rows)}; at most {MOST} can be added"))
    return tuple(_pattern(number, row, problems) for number, row in enumerate(rows[:MOST], start=1))


def _pattern(number: int, row: Mapping[str, Any], problems: list[Problem]) -> UserPattern:
    where = f"pattern[{number - 1}]."
    problems.extend(_unknown(key, list(_PATTERN_KEYS), where) for key in row if key not in _PATTERN_KEYS)

    def read(name: str, kind: Any, default: str) -> Any:
        try:
            return kind.read(row.get(name, default))
        except ValueError as error:
            problems.append(Problem(where + name, f"{row[name]!r} is not allowed; allowed is {error}"))
            return default

    wording = row.get("pattern")
    wrong = fault(wording) if isinstance(wording, str) else "is missing; allowed is a regular expression"
    if wrong is not None:
        problems.append(Problem(f"{where}pattern", f"{str(wording or '')[:60]!r} {wrong}"))
    return UserPattern(
        pattern=str(wording),
        cause=read("cause", choice(*PATTERN_CAUSES), "allocation"),
        name=read("name", _NAME, f"user-{number}"),
    )
