"""What a start refuses before it has changed anything, and what it prints."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.runtime.errors import ConfigError, FleetError
from fleet.runtime.home import Home
from fleet.runtime.units import GIGABYTE
from fleet.startup.launch import describe, hold_home, plan, prepare
from fleet.startup.profile import ProfileChoice


def environ(home: object, **more: str) -> dict[str, str]:
    return {"FLEET_HOME": str(home), "FLEET_PROFILE": "embedded", **more}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 120, "too long a path"),
        ("ü" * 60, "too long a path"),
        ("100%", "supervisord cannot use the path"),
        ("a ;b", "supervisord cannot use the path"),
        ("a\nb", "supervisord cannot use the path"),
    ],
)
def test_a_path_that_cannot_work_is_refused(name: str, message: str, tmp_path: Path) -> None:
    home = Path("/tmp") / name
    with pytest.raises(ConfigError, match=message) as refused:
        plan(None, environ(home), tmp_path)
    assert refused.value.hint
    assert not home.exists()


def test_a_home_of_an_unknown_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FLEET_HOME=~nosuchuser/x is in the home of an unknown user"):
        plan(None, environ("~nosuchuser/x"), tmp_path)


@pytest.mark.parametrize("name", ["my home", "a;b", "ü", "it's", '"quoted"'])
def test_a_path_that_can_work_is_taken(name: str, tmp_path: Path) -> None:
    assert plan(None, environ(Path("/tmp") / name), tmp_path).home.path.name == name


def test_what_was_found_out_can_be_overridden_and_what_was_set_needs_no_word_of_it() -> None:
    text = describe(plan(None, environ("/tmp/none"), Path("/tmp")), ignored=["FLEET_THRESHOLD"])
    assert text.endswith("No part of the fleet reads FLEET_THRESHOLD: see fleet.toml for the names of keys.")
    assert "profile embedded (set by FLEET_PROFILE)" in text
    assert "chooses another" not in text
    assert "stand-in" in text


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("embedded", "FLEET_PROFILE=docker or native chooses another."),
        ("native", "FLEET_PROFILE=docker chooses another; FLEET_PROFILE=embedded also needs a FLEET_HOME"),
        ("docker", "FLEET_PROFILE=native chooses another; FLEET_PROFILE=embedded also needs a FLEET_HOME"),
    ],
)
def test_a_profile_that_was_found_out_names_the_others_as_they_can_start(
    profile: str, expected: str, tmp_path: Path
) -> None:
    ready = plan(None, environ(tmp_path / "home"), tmp_path)
    found = replace(ready, choice=ProfileChoice(profile, "http://x:1", "file:/x", "found out"))
    assert expected in describe(found)


def test_the_first_real_start_sets_what_a_stand_in_produced_aside(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.run.mkdir()
    home.kind_file.write_text('{"kind": "stand-in"}')
    for file in (home.state, home.hopeful, home.database, home.generator_file, home.unstored_file):
        file.write_text("{}")
    ready = plan(None, environ(tmp_path, FLEET_PROFILE="native", FLEET_OLLAMA_LOG="file:/dev/null"), tmp_path)
    prepare(ready, {}, 1000.0)
    names = {"model_fleet_state.json", "hopeful_alphas.json", "alphas.db", "generator.json", "unstored.json"}
    assert {path.name for path in (tmp_path / "stand-in-1000").iterdir()} == names
    assert not home.unstored_file.exists()


def test_a_home_is_one_fleets(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    held = hold_home(home)
    with pytest.raises(FleetError, match="runs in"):
        hold_home(home)
    os.close(held)
    os.close(hold_home(home))


def test_a_default_ladder_far_below_the_card_is_said(tmp_path: Path) -> None:
    ready = plan(None, environ(tmp_path / "home"), tmp_path)
    assert "ladder --suggest" not in describe(ready, 4 * GIGABYTE)
    line = describe(ready, 24 * GIGABYTE).splitlines()[-1]
    assert line.startswith("The GPU has 24.0 GB, and the largest model of the default ladder takes 2.1 GB: ")
    assert f"FLEET_HOME={tmp_path / 'home'} python3 fleet_cli.py ladder --suggest" in line
