"""`[[lane]]`: what a lane has of its own, what it has of the fleet, and which faults are reported."""

import tomllib
from pathlib import Path

import pytest

from fleet.config.entries import Problem  # noqa: TC001
from fleet.config.load import load_settings, read_settings
from fleet.config.schema import Settings
from fleet.runtime.errors import ConfigError

FLEET = """
[ollama]
keep_alive = "5m"
log = "journal:ollama"
[[hours]]
when = "18:00-20:00"
model = "tinyllama:1.1b"
[[ladder]]
model = "big:8b"
size = "5 GB"
[[ladder]]
model = "tinyllama:1.1b"
options = { num_ctx = 4096 }
[[ladder]]
model = "tinyllama:1.1b"
"""


def read(toml: str, **environ: str) -> tuple[Settings, list[str]]:
    problems: list[Problem] = []
    settings = read_settings(tomllib.loads(toml), environ, "fleet.toml", problems)
    return settings, [str(problem) for problem in problems]


def lane(toml: str) -> Settings:
    settings, problems = read(FLEET + '[[lane]]\nname = "gpu1"\n' + toml)
    assert problems == []
    return settings.of_lane("gpu1")


def test_a_lane_has_the_fleets_settings_where_it_gives_none() -> None:
    settings, problems = read(FLEET + '[[lane]]\nname = "gpu1"\n[[lane]]\nname = "2-b"')
    assert problems == []
    assert [one.name for one in settings.lanes] == ["gpu1", "2-b"]
    own = settings.of_lane("2-b")
    assert (own.ladder, own.hours, own.ollama) == (settings.ladder, settings.hours, settings.ollama)


def test_a_lane_has_its_own_server_and_log_and_the_fleets_other_settings_of_ollama() -> None:
    own = lane('url = "http://127.0.0.1:11435"\nlog = "docker:ollama-gpu1"\non_hang = "restart gpu1"').ollama
    assert (own.url, own.log, own.on_hang) == ("http://127.0.0.1:11435", "docker:ollama-gpu1", "restart gpu1")
    assert own.keep_alive == 300.0


def test_a_name_in_a_lanes_ladder_stands_for_the_fleets_rungs_of_that_model() -> None:
    own = lane('ladder = ["tinyllama:1.1b", "other:1b"]')
    assert [(rung.index, rung.label) for rung in own.ladder] == [
        (0, "tinyllama:1.1b (num_ctx=4096)"),
        (1, "tinyllama:1.1b"),
        (2, "other:1b"),
    ]
    assert own.hours[0].rung == 1  # of this ladder: on the fleet's it is rung 2


def test_a_table_in_a_lanes_ladder_is_a_rung_of_its_own() -> None:
    own = lane(
        'hours = []\nladder = ["big:8b", { model = "b:1b", size = "1 GB", options = { num_ctx = 8192 } }]'
    )
    assert [(rung.label, rung.size) for rung in own.ladder] == [
        ("big:8b", 5 * 1024**3),
        ("b:1b (num_ctx=8192)", 1024**3),
    ]
    assert own.hours == ()


def test_a_lane_without_a_ladder_in_the_file_has_the_default_one() -> None:
    settings, problems = read('[[lane]]\nname = "a"\nladder = ["phi3:mini"]')
    assert problems == []
    assert settings.of_lane("a").ladder[0].description == "Medium model - Phi3 mini"


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('lane = "gpu1"', ["lane: write a [[lane]] table for each lane"]),
        ("[[lane]]\nurl = 'http://a:1'", ["lane[0].name: is missing", "such as gpu1"]),
        ('[[lane]]\nname = "GPU 1"', ["lane[0].name: 'GPU 1' is not allowed"]),
        ('[[lane]]\nname = "../up"', ["lane[0].name: '../up' is not allowed"]),
        ('[[lane]]\nname = "-x"', ["lane[0].name: '-x' is not allowed"]),
        ("[[lane]]\nname = 3", ["lane[0].name: '3' is not allowed"]),
        ('[[lane]]\nname = "default"', ["lane[0].name:", "the lane of the home itself"]),
        ('[[lane]]\nname = "a"\n[[lane]]\nname = "a"', ["lane[1].name:", "another lane"]),
        (
            '[[lane]]\nname = "a"\nurll = "x"',
            ["lane[0].urll: there is no such key; did you mean lane[0].url?"],
        ),
        ('[[lane]]\nname = "a"\nurl = "ftp://x"', ["lane[0].url: 'ftp://x' is not allowed", "http://"]),
        ('[[lane]]\nname = "a"\nurl = "http://u:secret@x"', ["lane[0].url: the value (not shown)"]),
        ('[[lane]]\nname = "a"\nlog = "dcoker:x"', ["lane[0].log: 'dcoker:x' is not allowed"]),
        ('[[lane]]\nname = "a"\nladder = []', ["lane[0].ladder: the ladder is empty"]),
        ('[[lane]]\nname = "a"\nladder = "x"', ["lane[0].ladder: write a list of models"]),
        ('[[lane]]\nname = "a"\nladder = ["a b"]', ["lane[0].ladder[0]: 'a b' is not allowed"]),
        ('[[lane]]\nname = "a"\nladder = ["a:1", "A:1"]', ["lane[0].ladder[1]: A:1 is on rung 0 too"]),
        ('[[lane]]\nname = "a"\nladder = [{ size = "1 GB" }]', ["lane[0].ladder[0].model: is missing"]),
        ('[[lane]]\nname = "a"\nhours = [{ when = "x", model = "none" }]', ["lane[0].hours[0].when:"]),
        (
            '[[hours]]\nwhen = "1:00-2:00"\nmodel = "phi3:mini"\n[[lane]]\nname = "a"\nladder = ["b:1"]',
            ["hours[0].model:", "ladder of lane a; give it hours of its own"],
        ),
    ],
)
def test_a_fault_of_a_lane_is_named_with_its_place(toml: str, expected: list[str]) -> None:
    _, problems = read(toml)
    assert len(problems) == 1, problems
    for part in expected:
        assert part in problems[0]


def test_the_variable_chooses_the_lane_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text('[[lane]]\nname = "a"\nladder = ["x:1"]\n[[lane]]\nname = "b"\n')
    assert [rung.model for rung in load_settings(file, {"FLEET_LANE": "a"}).ladder] == ["x:1"]
    assert len(load_settings(file, {"FLEET_LANE": "default"}).ladder) == 4
    with pytest.raises(ConfigError, match="no lane 'c'") as refused:
        load_settings(file, {"FLEET_LANE": "c"})
    assert refused.value.hint == "Its lanes are a, b."
    assert refused.value.exit_code == 2
