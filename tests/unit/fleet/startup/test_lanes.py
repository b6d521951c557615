"""The programs of lanes, as supervisor's own parser reads them; and the pattern that includes them."""

import glob
from configparser import RawConfigParser
from pathlib import Path

import pytest

from fleet.runtime.errors import ConfigError
from fleet.runtime.home import ROOT, Home
from fleet.startup.lanes import LanePlan, include_pattern, programs_conf
from fleet.startup.launch import describe, plan
from fleet.startup.profile import ProfileChoice

CONF = (ROOT / "supervisord.conf").read_text()
STANDIN = (ROOT / "standin" / "program.conf").read_text()


def lane(name: str, port: int = 0) -> LanePlan:
    choice = ProfileChoice("embedded" if port else "native", "", "", "")
    return LanePlan(Home(Path("/h")).of_lane(name), choice, port)


def read(*texts: str) -> RawConfigParser:
    parser = RawConfigParser(inline_comment_prefixes=(";",), strict=False)
    for text in texts:
        parser.read_string(text)
    return parser


def test_each_lane_has_the_programs_of_supervisord_conf_and_the_home_has_none() -> None:
    text = programs_conf([lane("a"), lane("b-2")], CONF, STANDIN, Path("/my root"))
    found, ours = read(CONF, text), read(CONF)
    for name in ("monitor", "generator"):
        assert found[f"program:{name}"]["numprocs"] == "0"
        own = found[f"program:{name}-b-2"]
        assert own["stdout_logfile"] == f"%(ENV_FLEET_HOME)s/lanes/b-2/log/{name}.log"
        assert own["directory"] == "/my root"
        assert own["environment"].startswith('FLEET_LANE="b-2",FLEET_NOTIFY_URLS=""')
        same = set(own) - {"stdout_logfile", "directory", "environment", "command"}
        assert {key: own[key] for key in same} == {key: ours[f"program:{name}"][key] for key in same}
    assert found["program:generator-a"]["command"].endswith('"/my root/generator/launcher.py"')
    assert "program:standin-a" not in found


def test_a_lane_of_the_stand_in_has_one_of_its_own() -> None:
    found = read(programs_conf([lane("a", 4711), lane("b", 4712)], CONF, STANDIN, Path("/r")))
    assert found["program:standin-b"]["command"].endswith("--port 4712")
    assert found["program:standin-b"]["stdout_logfile"] == "%(ENV_FLEET_HOME)s/lanes/b/log/ollama.log"
    assert found["program:standin-b"]["directory"] == "/r/standin/.."


@pytest.mark.parametrize("name", ["plain", "two words", "[a]*?", "three little words"])
def test_the_pattern_has_no_space_and_matches_this_path_alone(name: str, tmp_path: Path) -> None:
    for one in (name, name.replace(" ", "x"), "axx", "[a]xx"):
        (tmp_path / one).touch()
    pattern = include_pattern(tmp_path / name)
    assert " " not in pattern
    assert glob.glob(pattern) == [str(tmp_path / name)]  # noqa: PTH207  # as supervisor does


def start(tmp_path: Path, toml: str, **environ: str) -> str:
    (tmp_path / "fleet.toml").write_text(toml)
    return describe(plan(None, {"FLEET_HOME": str(tmp_path / "home"), **environ}, tmp_path))


def test_a_start_names_the_lanes_whatever_lane_the_environment_names(tmp_path: Path) -> None:
    toml = (
        '[[lane]]\nname = "a"\nurl = "http://127.0.0.1:1"\nlog = "file:/a.log"\n'
        '[[lane]]\nname = "b"\nurl = "http://127.0.0.1:2"\nlog = "docker:b"\n'
    )
    text = start(tmp_path, toml, FLEET_LANE="b")
    assert "Lane a: Ollama http://127.0.0.1:1, its log file:/a.log." in text
    assert "Lane b: Ollama http://127.0.0.1:2, its log docker:b." in text


def test_a_stand_ins_lane_names_itself_when_it_has_a_server(tmp_path: Path) -> None:
    toml = '[[lane]]\nname = "a"\nurl = "http://127.0.0.1:1"\n'
    with pytest.raises(ConfigError, match="lane a: FLEET_PROFILE=embedded"):
        start(tmp_path, toml, FLEET_PROFILE="embedded")


def test_a_stand_in_never_runs_beside_a_real_ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.startup.launch.MachineProbes", lambda _: NoOllama())
    toml = '[[lane]]\nname = "a"\nurl = "http://127.0.0.1:1"\n[[lane]]\nname = "b"\n'
    with pytest.raises(ConfigError, match="no Ollama was found for lane b") as refused:
        start(tmp_path, toml)
    assert "url and log" in refused.value.hint


class NoOllama:
    def container(self, _name: str) -> bool:
        return False

    def ollama(self, _url: str) -> bool:
        return False

    def service(self) -> bool:
        return False

    def native_log(self) -> str:
        return "journal:ollama"
