import json
from pathlib import Path

import pytest

from generator.launcher import assignment, quick_starts, start_backoff

LADDER = """
[[ladder]]
model = "big:8b"
options = { num_ctx = 4096 }
[[ladder]]
model = "small:1b"
[[ladder]]
model = "small:1b"
options = { num_gpu = 3, stop = ["x"] }
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(LADDER)
    return tmp_path


def choose(home: Path, **environ: str) -> dict[str, str]:
    return assignment({"FLEET_HOME": str(home), "FLEET_CONFIG": str(home / "fleet.toml"), **environ})


def state(home: Path, value: object, name: str = "model_fleet_state.json") -> None:
    (home / name).write_text(value if isinstance(value, str) else json.dumps(value))


def named(chosen: dict[str, str]) -> tuple[str, object, str, str]:
    return (
        chosen["FLEET_MODEL"],
        json.loads(chosen["FLEET_MODEL_OPTIONS"]),
        chosen["FLEET_RUNG"],
        chosen["FLEET_SWITCHES"],
    )


def test_without_a_state_it_is_the_first_rung(home: Path) -> None:
    assert named(choose(home)) == ("big:8b", {"num_ctx": 4096}, "0", "0")
    assert choose(home)["FLEET_LANE"] == "default"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"current_model": "small:1b", "current_model_index": 1, "switches": 4},
            ("small:1b", {}, "1", "4"),
        ),
        (
            {"current_model": "small:1b", "current_model_index": 2, "switches": 4},
            ("small:1b", {"num_gpu": 3, "stop": ["x"]}, "2", "4"),
        ),
        (
            {"current_model": "small:1b", "current_model_index": 2, "current_options": {"num_gpu": 0}},
            ("small:1b", {"num_gpu": 0}, "2", "0"),
        ),
        ({"current_model": "other:3b", "current_model_index": 1}, ("other:3b", {}, "1", "0")),
        ({"current_model_index": 1}, ("small:1b", {}, "1", "0")),
        ({"current_model_index": 99}, ("big:8b", {"num_ctx": 4096}, "0", "0")),
        (
            {"current_model": "small:1b", "current_model_index": True, "switches": -3},
            ("small:1b", {}, "0", "0"),
        ),
        ({"current_model": "x\u0000y", "current_model_index": 1}, ("small:1b", {}, "1", "0")),
    ],
)
def test_the_state_names_the_model(home: Path, value: object, expected: object) -> None:
    state(home, value)
    assert named(choose(home)) == expected


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", "\x00\x01", '{"current_model": 3}', "[" * 100_000])
def test_a_damaged_state_falls_back_to_its_copy_and_then_to_the_first_rung(
    home: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state(home, damage)
    assert named(choose(home))[0] == "big:8b"
    assert "cannot be used" in capsys.readouterr().err
    state(home, {"current_model": "small:1b", "current_model_index": 1}, "model_fleet_state.json.bak")
    assert named(choose(home))[0] == "small:1b"


@pytest.mark.parametrize("config", ["", "nonsense [", "ladder = 3", "[[ladder]]\nsize = 3"])
def test_without_a_usable_ladder_it_is_the_seed_model(home: Path, config: str) -> None:
    (home / "fleet.toml").write_text(config)
    assert named(choose(home))[0] == "llama3.2:3b"


def test_the_running_fleets_configuration_is_used_where_none_is_named(home: Path) -> None:
    (home / "run").mkdir()
    (home / "run/fleet.json").write_text(json.dumps({"config": str(home / "fleet.toml")}))
    assert assignment({"FLEET_HOME": str(home)})["FLEET_MODEL"] == "big:8b"


# The back-off of a generator that dies soon after each start


def test_the_brake_leaves_a_few_starts_free_and_then_doubles_up_to_its_bound() -> None:
    assert [start_backoff(quick) for quick in (0, 1, 3, 4, 5, 6, 9, 100)] == [0, 0, 0, 0.5, 1, 2, 5, 5]


@pytest.mark.parametrize(
    ("last", "quick"),
    [
        (None, 0),
        ("rubbish", 0),
        ({"switches": "4", "began": 100.0, "quick": 7}, 8),
        ({"switches": "4", "began": 97.5, "quick": 7}, 8),
        ({"switches": "4", "began": 96.0, "quick": 7}, 0),
        ({"switches": "3", "began": 100.0, "quick": 7}, 0),
        ({"switches": "4", "began": 104.0, "quick": 7}, 8),
        ({"switches": "4", "began": 9000.0, "quick": 7}, 0),
        ({"switches": "4", "began": "x", "quick": 7}, 0),
        ({"switches": "4", "began": 100.0, "quick": "x"}, 1),
    ],
    ids=[
        "a first start",
        "a damaged note",
        "it died at once",
        "it died soon",
        "it lived",
        "a switch begins anew",
        "it was ended while it waited",
        "the clock was set back",
        "a damaged time",
        "a damaged count",
    ],
)
def test_starts_that_follow_soon_on_each_other_are_counted(last: object, quick: int) -> None:
    assert quick_starts(last, "4", 100.0) == quick


LANES = """
[[lane]]
name = "a"
[[lane]]
name = "b"
ladder = ["small:1b", { model = "own:2b", options = { num_ctx = 512 } }]
[[lane]]
name = "c"
ladder = ["other:3b"]
"""


@pytest.mark.parametrize(
    ("lane", "expected"),
    [
        ("a", ("big:8b", {"num_ctx": 4096}, "0", "0")),
        ("b", ("small:1b", {}, "0", "0")),
        ("c", ("other:3b", {}, "0", "0")),
        ("gone", ("big:8b", {"num_ctx": 4096}, "0", "0")),
    ],
)
def test_a_lane_starts_on_its_own_ladder(home: Path, lane: str, expected: object) -> None:
    (home / "fleet.toml").write_text(LADDER + LANES)
    chosen = choose(home, FLEET_LANE=lane)
    assert named(chosen) == expected
    assert chosen["FLEET_LANE"] == lane


def test_a_lane_reads_its_own_state(home: Path) -> None:
    (home / "lanes" / "b").mkdir(parents=True)
    state(home, {"current_model": "big:8b", "current_model_index": 0, "current_options": {}})
    state(
        home,
        {"current_model": "own:2b", "current_model_index": 1, "switches": 4},
        "lanes/b/model_fleet_state.json",
    )
    (home / "fleet.toml").write_text(LADDER + LANES)
    assert named(choose(home, FLEET_LANE="b")) == ("own:2b", {"num_ctx": 512}, "1", "4")
    assert choose(home, FLEET_LANE="default")["FLEET_MODEL"] == "big:8b"
