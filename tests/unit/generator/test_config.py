import pytest

from fleet.config.load import load_settings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import FleetFile
from generator.config import find_url, read_assignment
from generator.domain import Assignment


def test_the_launchers_variables_are_read() -> None:
    environ = {
        "FLEET_MODEL": "a:1b",
        "FLEET_MODEL_OPTIONS": '{"num_ctx": 2048}',
        "FLEET_RUNG": "2",
        "FLEET_SWITCHES": "5",
    }
    assert read_assignment(environ) == Assignment("a:1b", {"num_ctx": 2048}, 2, 5)
    assert read_assignment({"FLEET_MODEL": "a:1b"}) == Assignment("a:1b", {}, 0, 0)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"FLEET_MODEL": "a", "FLEET_MODEL_OPTIONS": "{"},
        {"FLEET_MODEL": "a", "FLEET_MODEL_OPTIONS": "[]"},
        {"FLEET_MODEL": "a", "FLEET_RUNG": "x"},
    ],
)
def test_wrong_variables_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        read_assignment(environ)


def test_ollama_is_where_the_running_fleet_says_then_settings_then_environment() -> None:
    started = FleetFile("native", "http://a:1", "file:x", "", "", 0.0)
    configured = load_settings(None, {"FLEET_OLLAMA_URL": "http://b:2"})
    plain = load_settings(None, {})
    assert find_url(started, configured, {"OLLAMA_HOST": "c"}) == "http://a:1"
    assert find_url(None, configured, {"OLLAMA_HOST": "c"}) == "http://b:2"
    assert find_url(None, plain, {"OLLAMA_HOST": "0.0.0.0"}) == "http://127.0.0.1:11434"
    assert find_url(None, plain, {}) == "http://127.0.0.1:11434"
