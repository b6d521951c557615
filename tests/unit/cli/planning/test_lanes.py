"""`lanes --suggest`: what it prints is a configuration that the loader takes, and services that match it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from cli.commands import main
from cli.planning.lanes import HIP, compose_services, lanes_toml, suggest_lanes, systemd_services
from cli.planning.memory import KnownMemory, each_card
from cli.planning.suggest import table
from fleet.clients.gpu import Card
from fleet.config.load import load_settings
from fleet.config.values import Reserve
from fleet.runtime.errors import FleetError
from fleet.runtime.home import ROOT
from fleet.runtime.units import GIGABYTE

CARDS = [KnownMemory(8 * GIGABYTE, "--gpus"), KnownMemory(12 * GIGABYTE, "--gpus")]
SCHEMA = json.loads((ROOT / "docs" / "schema" / "lanes.json").read_text())


def run(*words: str, home: Path) -> Result:
    return CliRunner(env={"FLEET_HOME": str(home), "FLEET_LANE": None}).invoke(main, list(words))


@pytest.mark.parametrize("compose", [[], ["--compose"]])
def test_the_suggestion_is_loaded_as_it_is_printed(tmp_path: Path, compose: list[str]) -> None:
    printed = run("lanes", "--suggest", "--gpus", "8GB, 12GB", *compose, home=tmp_path / "none")
    assert printed.exit_code == 0, printed.stderr
    file = tmp_path / "fleet.toml"
    file.write_text((ROOT / "fleet.toml").read_text() + "\n" + printed.stdout)
    settings = load_settings(file, {})
    assert [lane.name for lane in settings.lanes] == ["gpu0", "gpu1"]
    first, second = (settings.of_lane(lane.name) for lane in settings.lanes)
    for own, memory in ((first, 8 * GIGABYTE), (second, 12 * GIGABYTE)):
        assert len(own.ladder) >= 3
        sizes = [rung.size for rung in own.ladder if rung.size is not None]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) == len(own.ladder)
        assert sizes[0] < memory
    assert (second.ladder[0].size or 0) > (first.ladder[0].size or 0)
    assert len({first.ollama.url, second.ollama.url, first.ollama.log, second.ollama.log}) == 4


def test_each_service_has_one_card_and_its_lanes_address_and_log() -> None:
    lanes = suggest_lanes(CARDS, table(), Reserve())
    text = systemd_services(lanes)
    for number, lane in enumerate(lanes):
        port = 11434 + number
        assert f'Environment="CUDA_VISIBLE_DEVICES={number}" "OLLAMA_HOST=127.0.0.1:{port}"' in text
        assert (lane.url, lane.log) == (f"http://127.0.0.1:{port}", f"journal:ollama-gpu{number}")
        assert f"/etc/systemd/system/ollama-gpu{number}.service" in text
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_amd_has_its_own_variable_and_image() -> None:
    lanes = suggest_lanes(CARDS, table(), Reserve(), variable=HIP, compose=True)
    text = compose_services(lanes)
    assert 'HIP_VISIBLE_DEVICES: "1"' in text
    assert "{file: docker-compose.amd.yml, service: ollama-amd}" in text
    assert "CUDA" not in text


def test_the_file_that_ships_is_the_suggestion_for_two_cards() -> None:
    text = compose_services(suggest_lanes(CARDS, table(), Reserve(), compose=True))
    assert (ROOT / "docker-compose.lanes.yml").read_text() == text + "\n"


def test_compose_reads_the_file() -> None:
    tool = shutil.which("docker-compose")
    if tool is None:
        pytest.skip("docker-compose is not here")
    command = [tool, "-f", "docker-compose.lanes.yml", "config", "--services"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"ollama", "ollama-gpu1", "log-proxy", "fleet"}


def test_a_card_that_is_too_small_is_named() -> None:
    with pytest.raises(FleetError, match="gpu1: no known model fits"):
        suggest_lanes([CARDS[0], KnownMemory(GIGABYTE // 2, "x")], table(), Reserve())


def test_the_reserve_is_left_on_each_card() -> None:
    free = [
        rung.free for lane in suggest_lanes(CARDS, table(), Reserve(share=0.25)) for rung in lane.ladder.rungs
    ]
    assert min(free) >= 2 * GIGABYTE


def test_the_machines_cards_are_each_one() -> None:
    found = each_card([], lambda: [Card("One", 0, GIGABYTE), Card("Two\x1b", 0, 2 * GIGABYTE)])
    assert [one.total for one in found] == [GIGABYTE, 2 * GIGABYTE]
    assert "\x1b" not in found[1].origin
    with pytest.raises(FleetError, match="no GPU was found") as refused:
        each_card([], lambda: None)
    assert "--gpus" in refused.value.hint


@pytest.mark.parametrize("sizes", ["", "8", "0GB", "8GB;12GB", "8GB,,x"])
def test_what_is_no_list_of_sizes_is_refused(tmp_path: Path, sizes: str) -> None:
    result = run("lanes", "--suggest", "--gpus", sizes, home=tmp_path)
    assert result.exit_code == 2
    assert "is no size" in result.stderr


@pytest.mark.parametrize("words", [["--compose"], ["--services"], ["--compose", "--services"]])
def test_each_option_of_a_suggestion_asks_for_one(tmp_path: Path, words: list[str]) -> None:
    full = run("lanes", "--suggest", "--gpus", "8GB", *words, home=tmp_path)
    found = run("lanes", *words, home=tmp_path)
    assert full.exit_code == 0
    assert found.exit_code == 1 or found.stdout.startswith(full.stdout[:2])  # this machine may have cards
    assert "default: " not in found.stdout


def test_a_log_that_is_not_known_yet_is_called_so(tmp_path: Path) -> None:
    assert "log found out at the start, " in run("lanes", home=tmp_path).stdout


def test_json_follows_its_schema(tmp_path: Path) -> None:
    for words in (["--suggest", "--gpus", "8GB"], []):
        result = run("lanes", *words, "--json", home=tmp_path / "none")
        Draft202012Validator(SCHEMA).validate(json.loads(result.stdout))


def test_an_origin_cannot_end_its_comment() -> None:
    card = KnownMemory(8 * GIGABYTE, 'x\n[[lane]]\nname = "evil"')
    text = lanes_toml(suggest_lanes([card], table(), Reserve()), "")
    assert text.count("\n[[lane]]") == 1
