"""`[[pattern]]` rows of the configuration: read, and all faults reported at once."""

import tomllib
from pathlib import Path

from fleet.config.load import Problem, read_settings
from fleet.config.schema import Settings
from fleet.memory_errors.user_patterns import UserPattern


def read(toml: str) -> tuple[Settings, list[str]]:
    problems: list[Problem] = []
    settings = read_settings(tomllib.loads(toml), {}, "fleet.toml", problems)
    return settings, [str(problem) for problem in problems]


def test_a_pattern_has_a_cause_and_a_name_of_its_own_or_the_usual_ones() -> None:
    settings, problems = read(
        """
        [[pattern]]
        pattern = "my driver.*ran out"
        [[pattern]]
        pattern = "nothing left"
        cause = "host"
        name = "my-pool"
        """
    )
    assert not problems
    assert settings.patterns == (
        UserPattern("my driver.*ran out", "allocation", "user-1"),
        UserPattern("nothing left", "host", "my-pool"),
    )


def test_without_rows_there_are_none() -> None:
    assert read("")[0].patterns == ()


def test_all_faults_are_reported_at_once() -> None:
    _, problems = read(
        """
        [[pattern]]
        pattern = "(a+)+b"
        [[pattern]]
        cause = "allocation"
        [[pattern]]
        pattern = "fine"
        cause = "bad luck"
        name = "Not A Name"
        [[pattern]]
        patern = "fine"
        """
    )
    text = "\n".join(problems)
    assert "pattern[0].pattern: '(a+)+b' repeats a group" in text
    assert "pattern[1].pattern: '' is missing" in text
    assert "pattern[2].cause: 'bad luck' is not allowed" in text
    assert "pattern[2].name: 'Not A Name' is not allowed" in text
    assert "did you mean pattern[3].pattern?" in text


def test_a_table_in_place_of_rows_is_refused() -> None:
    assert read('pattern = "x"')[1] == ["pattern: write a [[pattern]] table for each pattern"]


def test_the_default_file_shows_the_keys() -> None:
    text = (Path(__file__).parents[4] / "fleet.toml").read_text("utf-8")
    shown = text[text.index("# [[pattern]]") :].split("\n\n")[0]
    shown = "\n".join(line.removeprefix("# ") for line in shown.split("\n"))
    settings, problems = read(shown)
    assert not problems
    assert [own.name for own in settings.patterns] == ["my-driver"]
