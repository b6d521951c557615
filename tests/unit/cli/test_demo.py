"""The demonstration starts on the stand-in, whatever the configuration beside it names."""

from pathlib import Path

from cli.demo import demo_environ
from fleet.runtime.home import Home


def test_the_demonstration_uses_no_address_or_log_of_a_real_ollama() -> None:
    given = {"FLEET_OLLAMA_URL": "http://gpu:11434", "FLEET_PROFILE": "native", "PATH": "/bin"}
    assert demo_environ(given, Home(Path("/demo"))) == {
        "PATH": "/bin",
        "FLEET_HOME": "/demo",
        "FLEET_PROFILE": "embedded",
        "FLEET_OLLAMA_URL": "",
        "FLEET_OLLAMA_LOG": "",
    }
