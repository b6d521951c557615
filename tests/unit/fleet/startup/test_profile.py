"""Which profile a start picks, and which wishes it refuses because it could not honour both."""

from pathlib import Path

import pytest

from fleet.config.load import load_settings
from fleet.config.schema import OllamaSettings
from fleet.runtime.errors import ConfigError
from fleet.startup.profile import MachineProbes, choose


class NothingHere:
    """A machine without Docker, Ollama or a journal."""

    def container(self, name: str) -> bool:
        return False

    def ollama(self, url: str) -> bool:
        return False

    def service(self) -> bool:
        return False

    def native_log(self) -> str:
        return "file:/nowhere"


class StartingService(NothingHere):
    """A machine whose service `ollama` does not answer yet."""

    def service(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("ollama", "named"),
    [
        (OllamaSettings(url="http://gpu:11434"), "[ollama] url"),
        (OllamaSettings(log="docker:mine"), "[ollama] log"),
        (OllamaSettings(url="http://gpu:11434", log="docker:mine"), "[ollama] url and log"),
    ],
)
def test_the_stand_in_refuses_the_address_or_log_of_a_real_ollama(ollama: OllamaSettings, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        choose({"FLEET_PROFILE": "embedded"}, ollama, None, NothingHere())
    assert named in refused.value.message
    assert "FLEET_PROFILE" in refused.value.hint
    assert refused.value.exit_code == 2


def test_empty_variables_put_the_file_aside_for_a_stand_in(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('[ollama]\nurl = "http://gpu:11434"\nlog = "docker:mine"\n')
    environ = {"FLEET_PROFILE": "embedded", "FLEET_OLLAMA_URL": "", "FLEET_OLLAMA_LOG": ""}
    choice = choose(environ, load_settings(path, environ).ollama, None, NothingHere())
    assert choice.profile == "embedded"


@pytest.mark.parametrize("profile", ["docker", "native"])
def test_the_other_profiles_use_the_address_and_log_that_are_set(profile: str) -> None:
    ollama = OllamaSettings(url="http://gpu:11434", log="docker:mine")
    choice = choose({"FLEET_PROFILE": profile}, ollama, None, NothingHere())
    assert (choice.ollama_url, choice.log_source) == ("http://gpu:11434", "docker:mine")


def test_a_service_that_does_not_answer_yet_is_waited_for(tmp_path: Path) -> None:
    choice = choose({}, OllamaSettings(), None, StartingService())
    assert choice.profile == "native"
    assert "service ollama" in choice.why
    (tmp_path / "ollama.service").touch()
    assert MachineProbes({}, [tmp_path]).service()
    assert not MachineProbes({}, [tmp_path / "none"]).service()
    assert choose({}, OllamaSettings(), None, NothingHere()).profile == "embedded"


def test_a_masked_service_is_not_waited_for(tmp_path: Path) -> None:
    """`systemctl mask` links the name to /dev/null in a folder before that of the package."""
    masked, packaged = tmp_path / "etc", tmp_path / "lib"
    for folder in (masked, packaged):
        folder.mkdir()
    (packaged / "ollama.service").touch()
    (masked / "ollama.service").symlink_to("/dev/null")
    assert not MachineProbes({}, [masked, packaged]).service()
    assert MachineProbes({}, [packaged, masked]).service()
