"""The arrays of tables in `fleet.toml`: `[[ladder]]`, `[[hours]]` and `[[pattern]]`; `lanes` has `[[lane]]`. Pure.

Faults are appended to `problems`, each with its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleet.config.hours import HOURS_KEYS, MOST_ROWS, HoursRow, read_hours_row
from fleet.config.ladder import Ladder, OptionValue, Rung, full_name
from fleet.config.values import choice, size, text, whole
from fleet.memory_errors.user_patterns import MOST, PATTERN_CAUSES, UserPattern, fault
from fleet.runtime.logging import plain_text
from fleet.runtime.untrusted import finite

MODEL = text(
    r"[A-Za-z0-9][\w.-]*(?:[/:][\w.-]+){0,4}", "an Ollama tag such as llama3.2:3b or hf.co/NAME/MODEL"
)
_PATTERN_KEYS = ("pattern", "cause", "name")
_NAME = text(r"[a-z0-9][a-z0-9_-]{0,39}", "a short name such as my-driver")
_NUMBERS = (
    *("num_ctx", "num_gpu", "num_batch", "num_thread", "num_predict", "num_keep", "main_gpu", "seed"),
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "tfs_z", "repeat_last_n"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty", "mirostat", "mirostat_tau", "mirostat_eta"),
)
_OPTIONS = (*_NUMBERS, "stop", "penalize_newline", "low_vram", "f16_kv", "use_mmap", "use_mlock", "numa")
"""Ollama's options. Ollama ignores others in silence, so a name that is nearly one of these is refused."""
_MISSPELT = 0.85
_RUNG_KEYS = ("model", "size", "description", "threshold", "options")


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of the configuration: its place, and a message with the allowed values."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def unknown_key(name: str, known: list[str], prefix: str) -> Problem:
    """Return the problem of a key that does not exist, with the nearest that does."""
    from difflib import get_close_matches  # noqa: PLC0415  # imported only where there is a fault

    near = get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(known)}"
    return Problem(f"{prefix}{name}", f"there is no such key; {hint}")


def read_ladder(rows: Any, problems: list[Problem]) -> Ladder | None:
    """Return the ladder of `[[ladder]]` rows; None if they have faults, which are appended to `problems`."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        problems.append(Problem("ladder", "write a [[ladder]] table for each model"))
        return None
    before = len(problems)
    rungs = [read_rung(index, row, f"ladder[{index}]", problems) for index, row in enumerate(rows)]
    ladder = ladder_of(rungs, "ladder", problems)
    return ladder if len(problems) == before else None


def ladder_of(rungs: Sequence[Rung], where: str, problems: list[Problem]) -> Ladder | None:
    """Return the ladder of these rungs; None, with a problem, for no rung or for two that are equal."""
    if not rungs:
        problems.append(Problem(where, "the ladder is empty; it needs at least one model"))
        return None
    before = len(problems)
    seen: dict[str, int] = {}
    for rung in rungs:
        first = seen.setdefault(replace(rung, model=full_name(rung.model)).label.lower(), rung.index)
        if first != rung.index:
            message = f"{rung.label} is on rung {first} too; give it other options"
            problems.append(Problem(f"{where}[{rung.index}]", message))
    return Ladder(rungs) if len(problems) == before else None


def read_rung(index: int, row: Mapping[str, Any], place: str, problems: list[Problem]) -> Rung:
    """Return the rung of a table, appending faults to `problems`."""
    where = f"{place}."
    problems.extend(unknown_key(key, list(_RUNG_KEYS), where) for key in row if key not in _RUNG_KEYS)
    if "model" not in row:
        problems.append(Problem(f"{where}model", "is missing; allowed is " + MODEL.allowed))

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
        model=read("model", MODEL) or f"?{index}",
        size=read("size", size()),
        description=read("description", text()) or "",
        threshold=read("threshold", whole(1, 1000)),
        options=_options(row.get("options", {}), f"{where}options", problems),
    )


def _options(table: Any, where: str, problems: list[Problem]) -> dict[str, OptionValue]:
    if not isinstance(table, Mapping):
        problems.append(Problem(where, "write a table such as { num_ctx = 2048 }"))
        return {}
    from difflib import get_close_matches  # noqa: PLC0415  # imported only where a rung has options

    for name, value in table.items():
        near = [] if name in _OPTIONS else get_close_matches(name, _OPTIONS, n=1, cutoff=_MISSPELT)
        if near:
            problems.append(Problem(f"{where}.{name}", f"there is no such option; did you mean {near[0]}?"))
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if (name in _NUMBERS and not number) or (number and finite(value) is None):
            problems.append(Problem(f"{where}.{name}", f"{value!r:.60} is not allowed; allowed is a number"))
            continue
        listed = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not (listed or isinstance(value, (bool, int, float, str))):
            problems.append(
                Problem(f"{where}.{name}", "an Ollama option is a number, text, true, false or a list")
            )
    return dict(table)


def read_hours(
    rows: Any, ladder: Ladder | None, problems: list[Problem], place: str = "hours"
) -> tuple[HoursRow, ...]:
    """Return the caps of `[[hours]]` rows, appending faults to `problems`."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        problems.append(Problem(place, "write an [[hours]] table for each cap"))
        return ()
    if len(rows) > MOST_ROWS:
        problems.append(Problem(place, f"there are {len(rows)}; at most {MOST_ROWS} are allowed"))
    found = []
    for index, row in enumerate(rows[:MOST_ROWS]):
        where = f"{place}[{index}]."
        problems.extend(unknown_key(key, list(HOURS_KEYS), where) for key in row if key not in HOURS_KEYS)
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
    problems.extend(unknown_key(key, list(_PATTERN_KEYS), where) for key in row if key not in _PATTERN_KEYS)

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
