"""The configuration is checked whole: each fault is reported with its place, its value and what is allowed."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from fleet.config.load import SECTIONS, InvalidConfigError, Problem, find_config, load_settings, read_settings
from fleet.config.schema import Settings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import ROOT

DEFAULT_FILE = ROOT / "fleet.toml"


def read(toml: str, **environ: str) -> tuple[Settings, list[str]]:
    problems: list[Problem] = []
    settings = read_settings(tomllib.loads(toml), environ, "fleet.toml", problems)
    return settings, [str(problem) for problem in problems]


def without_marks(text: str) -> str:
    """Return the default file with every key in force: the mark is taken off, as its first line says."""
    return re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE).replace("# [[", "[[")


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("[ollma]\nurl = 'x'", ["ollma: there is no such key", "did you mean ollama?"]),
        ("[policy]\ntreshold = 2", ["policy.treshold: there is no such key", "policy.threshold?"]),
        ("[policy]\nzzz = 2", ["policy.zzz: there is no such key", "known are threshold"]),
        ("policy = 3", ["policy: this is a section"]),
        ("[policy]\nthreshold = 0", ["policy.threshold: 0 is not allowed", "from 1 to 1000"]),
        ('[policy]\nthreshold = "3"', ['policy.threshold: "3" is not allowed']),
        ("[policy]\nthreshold = true", ["policy.threshold: True is not allowed"]),
        ("[policy]\nthreshold = 2.5", ["policy.threshold: 2.5 is not allowed"]),
        ("[policy]\nwindow = 600", ["policy.window: 600 is not allowed", '"10m"']),
        ('[policy]\nwindow = "-1s"', ['policy.window: "-1s" is not allowed']),
        ('[policy]\ncauses = ["alocation"]', ["policy.causes:", "allocation, runner_died, not_recovered"]),
        ("[policy]\nmin_fail_share = nan", ["policy.min_fail_share: nan is not allowed"]),
        ('[policy]\non_spill = "explode"', ['"downgrade" or "report"']),
        ('[ollama]\nlog = "dcoker:x"', ["ollama.log:", "docker:NAME, file:PATH or journal:UNIT"]),
        ('[ollama]\nurl = "ftp://x"', ["ollama.url:", "http://"]),
        ('[ollama]\nurl = "http://gpu:99999"', ["ollama.url:", "a port is a number from 1 to 65535"]),
        ('[ollama]\nurl = "http://gpu:0"', ["ollama.url:", "a port is a number from 1 to 65535"]),
        ('[ollama]\nurl = "http://gpu:one"', ["ollama.url:", "with a host"]),
        ('[ollama]\nurl = "http:///x"', ["ollama.url:", "with a host"]),
        ('[[lane]]\nname = "a"\nurl = "http://gpu:99999"', ["lane[0].url:", "from 1 to 65535"]),
        (
            "[panel]\nvalidation_from = 2024-06-01\ntest_from = 2024-06-01",
            ["panel.test_from: 2024-06-01 is not allowed", "after panel.validation_from (2024-06-01)"],
        ),
        ('[generator]\nkeep = "fitnes > 1"', ["generator.keep:", '"fitnes" is no metric']),
        ("[generator]\nkeep = \"__import__('os')\"", ["generator.keep:", "belongs to no comparison"]),
        ("[generator]\nkeep = 1", ["generator.keep: 1 is not allowed", "fitness > 0.5"]),
        ('[panel]\nneutralization = "sectr"', ["panel.neutralization:", '"subindustry"']),
        ("ladder = []", ["ladder: the ladder is empty"]),
        ('[ladder]\nmodel = "a:1"', ["ladder: write a [[ladder]] table for each model"]),
        ('[[ladder]]\nsize = "1 GB"', ["ladder[0].model: is missing"]),
        ('[[ladder]]\nmodel = "a b"', ["ladder[0].model: 'a b' is not allowed"]),
        ('[[ladder]]\nmodel = "a:1"\nsize = "big"', ["ladder[0].size: 'big' is not allowed", "2.0 GB"]),
        (
            '[[ladder]]\nmodel = "a:1"\nsize = "9000000 TB"',
            ["ladder[0].size: '9000000 TB' is not allowed", "2.0 GB"],
        ),
        (
            '[[ladder]]\nmodel = "a:1"\noptions = { num_cxt = 2048 }',
            ["ladder[0].options.num_cxt", "mean num_ctx?"],
        ),
        (
            '[[ladder]]\nmodel = "a:1"\noptions = { temprature = 0 }',
            ["options.temprature", "mean temperature?"],
        ),
        (
            '[[ladder]]\nmodel = "a:1"\noptions = { num_gpu = "all" }',
            ["ladder[0].options.num_gpu: 'all'", "a number"],
        ),
        ('[[ladder]]\nmodel = "a:1"\noptions = { top_p = nan }', ["options.top_p: nan is not allowed"]),
        ('[[ladder]]\nmodel = "a:1"\noptions = { mine = inf }', ["options.mine: inf is not allowed"]),
        ('[[ladder]]\nmodel = "a:1"\noptions = { seed = true }', ["options.seed: True is not allowed"]),
        ('[[ladder]]\nmodel = "a:1"\noptions = { x = { y = 1 } }', ["ladder[0].options.x: an Ollama option"]),
        ('[[ladder]]\nmodel = "a:1"\ncolour = 1', ["ladder[0].colour: there is no such key"]),
        ('[[ladder]]\nmodel = "a:1"\n[[ladder]]\nmodel = "A:1"', ["ladder[1]: A:1 is on rung 0 too"]),
        ('[[ladder]]\nmodel = "a"\n[[ladder]]\nmodel = "a:latest"', ["ladder[1]: a:latest is on rung 0 too"]),
        ('[[ladder]]\nmodel = "a:1"\n[[ladder]]\nmodel = "library/a:1"', ["library/a:1 is on rung 0 too"]),
        ('hours = "18:00-20:00"', ["hours: write an [[hours]] table for each cap"]),
        ('[[hours]]\nmodel = "none"', ["hours[0].when: is missing"]),
        ('[[hours]]\nwhen = "18:00-20:00"', ["hours[0].model: is missing"]),
        ('[[hours]]\nwhen = 18\nmodel = "none"', ["hours[0].when: is no text"]),
        ('[[hours]]\nwhen = "18:00-20:00"\nmodel = "tinylama:1.1b"', ["hours[0].model:", "tinyllama:1.1b"]),
        ('[[hours]]\nwhen = "18:00-25:00"\nmodel = "none"', ["hours[0].when:", "25:00 is no time"]),
        (
            '[[hours]]\nwhen = "18:00-20:00"\nmodel = "none"\nmodl = 1',
            ["hours[0].modl: there is no such key"],
        ),
        (
            '[[hours]]\nwhen = "1:00-2:00"\nmodel = "none"\ntimezone = "Europe/Brlin"',
            ["did you mean Europe/Berlin?"],
        ),
        (
            '[[hours]]\nwhen = "1:00-2:00"\nmodel = "none"\ntimezone = "../etc"',
            ["hours[0].timezone:", "Europe/Berlin"],
        ),
        ('[[hours]]\nwhen = "1:00-2:00"\nmodel = "none"\ntimezone = 1', ["hours[0].timezone: is no text"]),
        ('[policy]\nreserve = "100%"', ['policy.reserve: "100%" is not allowed', "20%"]),
        ('[policy]\nreserve = "much"', ['policy.reserve: "much" is not allowed', "1.5 GB"]),
    ],
)
def test_a_fault_is_told_with_its_place_and_what_is_allowed(toml: str, parts: list[str]) -> None:
    _, problems = read(toml)
    assert len(problems) == 1, problems
    for part in parts:
        assert part in problems[0]


def test_all_faults_of_an_hours_table_are_told_at_once() -> None:
    _, problems = read('[[hours]]\nwhen = 1\nmodel = "tiny"\ntimezone = 2\n[[hours]]\nwhen = "x"')
    assert [problem.partition(":")[0] for problem in problems] == [
        *("hours[0].when", "hours[0].model", "hours[0].timezone"),
        *("hours[1].model", "hours[1].when"),
    ]


def test_all_faults_are_told_at_once() -> None:
    _, problems = read(
        '[policy]\ntreshold = 1\nwindow = "x"\n[generator]\nkeep = "?"\nbatch_size = 0\n[[ladder]]\nsize = 1'
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        "policy.treshold",
        "policy.window",
        "generator.batch_size",
        "generator.keep",
        "ladder[0].model",
        "ladder[0].size",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "section", "key", "expected"),
    [
        ("FLEET_POLICY_THRESHOLD", "5", "policy", "threshold", 5),
        ("FLEET_POLICY_WINDOW", "2m", "policy", "window", 120.0),
        ("FLEET_POLICY_CANARY", "no", "policy", "canary", False),
        ("FLEET_POLICY_CAUSES", "allocation, runner_died", "policy", "causes", ["allocation", "runner_died"]),
        ("FLEET_POLICY_SPILL_SHARE", "0.5", "policy", "spill_share", 0.5),
        ("FLEET_OLLAMA_LOG", "journal:ollama", "ollama", "log", "journal:ollama"),
        ("FLEET_GENERATOR_KEEP", "sharpe > 1", "generator", "keep", "sharpe > 1"),
        ("FLEET_BRAIN_DELAY", "0", "brain", "delay", 0),
    ],
)
def test_the_environment_wins_over_the_file(
    variable: str, value: str, section: str, key: str, expected: object
) -> None:
    settings, problems = read("[policy]\nthreshold = 9", **{variable: value})
    assert not problems
    assert getattr(getattr(settings, section), key) == expected


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("FLEET_POLICY_THRESHOLD", "abc", ['FLEET_POLICY_THRESHOLD: "abc" is not allowed', "from 1 to 1000"]),
        ("FLEET_POLICY_THRESHOLD", "", ['FLEET_POLICY_THRESHOLD: "" is not allowed']),
        ("FLEET_POLICY_CANARY", "maybe", ["FLEET_POLICY_CANARY:", "true or false"]),
        ("FLEET_POLICY_TRESHOLD", "3", ["FLEET_POLICY_TRESHOLD: there is no such key", "policy.treshold"]),
    ],
)
def test_a_fault_of_the_environment_names_its_variable(variable: str, value: str, parts: list[str]) -> None:
    _, problems = read("", **{variable: value})
    assert len(problems) == 1
    for part in parts:
        assert part in problems[0]


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("FLEET_POLCY_THRESHOLD", "FLEET_POLICY_THRESHOLD"),
        ("FLEET_POLICYTHRESHOLD", "FLEET_POLICY_THRESHOLD"),
        ("FLEET_OLAMA_URL", "FLEET_OLLAMA_URL"),
        ("FLEET_WEBB_LISTEN", "FLEET_WEB_LISTEN"),
        ("FLEET_BRIAN_PASSWORD", "FLEET_BRAIN_PASSWORD"),
        ("FLEET_PROFIL", "FLEET_PROFILE"),
        ("FLEET_HOM", "FLEET_HOME"),
        ("FLEET_CONFG", "FLEET_CONFIG"),
        ("FLEET_LANES", "FLEET_LANE"),
        ("FLEET_SINSE", "FLEET_SINCE"),
        ("FLEET_STANDIN_VRM", "FLEET_STANDIN_VRAM"),
    ],
)
def test_a_misspelt_variable_is_refused(variable: str, near: str) -> None:
    _, problems = read("", **{variable: "2"})
    assert problems == [f"{variable}: there is no such variable; did you mean {near}?"]


@pytest.mark.parametrize(
    "variable",
    [
        *("FLEET_HOME", "FLEET_CONFIG", "FLEET_PROFILE", "FLEET_LANE", "FLEET_SINCE", "FLEET_DEBUG"),
        *("FLEET_PYTHON", "FLEET_PROGRAMS", "FLEET_LOG_FORMAT", "FLEET_STANDIN_PORT", "FLEET_STANDIN_VRAM"),
        *("FLEET_MODEL", "FLEET_MODEL_OPTIONS", "FLEET_BRAIN_PASSWORD", "FLEETS"),
        "MY_FLEET_POLCY_THRESHOLD",
    ],
)
def test_variables_of_other_use_are_no_keys(variable: str) -> None:
    _, problems = read("", **{variable: "json"})
    assert not problems


@pytest.mark.parametrize("url", ["postgres//u:hunter2@host/x", "://u:hunter2@host"])
def test_the_address_of_a_database_is_checked_and_not_shown(url: str) -> None:
    _, problems = read("", FLEET_GENERATOR_DATABASE=url)
    assert len(problems) == 1
    assert "SQLAlchemy URL" in problems[0]
    assert "hunter2" not in problems[0]


@pytest.mark.parametrize("url", ["", "sqlite:///x.db", "sqlite://", "postgresql+psycopg://u:p@h:5432/n?a=b"])
def test_an_address_of_a_database_is_taken(url: str) -> None:
    settings, problems = read("", FLEET_GENERATOR_DATABASE=url)
    assert not problems
    assert settings.generator.database == url


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration file"):
        find_config(None, {"FLEET_CONFIG": str(tmp_path / "none.toml")}, tmp_path)
    assert find_config(None, {}, tmp_path) is None
    (tmp_path / "fleet.toml").write_text("")
    assert find_config(None, {}, tmp_path) == tmp_path / "fleet.toml"
    with pytest.raises(ConfigError, match="there is no configuration file"):
        find_config("other.toml", {"FLEET_CONFIG": str(tmp_path / "fleet.toml")}, tmp_path)


def test_a_file_that_is_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").symlink_to(tmp_path / "gone.toml")
    found = find_config(None, {}, tmp_path)
    assert found == tmp_path / "fleet.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_settings(found, {})


def test_a_name_that_cannot_be_looked_up_says_why(tmp_path: Path) -> None:
    found = find_config(str(tmp_path / ("x" * 300)), {}, tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        load_settings(found, {})


def test_a_file_in_the_home_of_nobody_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file ~nosuchuser/fleet\.toml"):
        find_config("~nosuchuser/fleet.toml", {}, tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"[policy\n", "no valid TOML"),
        (b"a = " + b"[" * 100_000, "no valid TOML"),
        (b"# \xe4\n", "not UTF-8"),
        (b"[policy]\nthreshold = 0", "one problem"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=match) as caught:
        load_settings(path, {})
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_an_invalid_file_keeps_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("[policy]\nthreshold = 0\nwindow = 1\n")
    with pytest.raises(InvalidConfigError) as caught:
        load_settings(path, {})
    assert [problem.path for problem in caught.value.problems] == ["policy.threshold", "policy.window"]


def test_the_default_file_holds_the_defaults() -> None:
    assert load_settings(DEFAULT_FILE, {}) == Settings(source=str(DEFAULT_FILE))


def test_the_default_file_shows_each_key_that_works_with_its_default() -> None:
    shown = tomllib.loads(without_marks(DEFAULT_FILE.read_text("utf-8")))
    for name, section in SECTIONS.items():
        assert set(shown[name]) == {part.name for part in fields(section)}, name
    problems: list[Problem] = []
    settings = read_settings(
        {name: table for name, table in shown.items() if name not in {"pattern", "hours"}}, {}, "", problems
    )
    assert not problems
    # These show what a key looks like; left out, the profile and [panel] decide.
    examples = {
        "ollama": {"url", "log"},
        "panel": {"validation_from", "test_from"},
        "brain": {"delay", "decay", "neutralization", "truncation"},
    }
    for name, section in SECTIONS.items():
        for part in fields(section):
            if part.name not in examples.get(name, set()):
                given, default = getattr(settings, name), getattr(Settings(), name)
                assert getattr(given, part.name) == getattr(default, part.name), f"{name}.{part.name}"
