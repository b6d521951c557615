import subprocess
import sys
from pathlib import Path

import pytest

from fleet.runtime.errors import ConfigError
from monitor.sources.open import open_source

PROGRAM = """
import sys
from monitor.sources.open import open_source
source = open_source("docker:ollama")
assert "requests" in sys.modules and "docker" in sys.modules
assert not {"chardet", "charset_normalizer"} & set(sys.modules), "they cost 5 to 10 MB and are never asked"
import charset_normalizer
from requests import Response
answer = Response()
answer._content = b"caf\\xc3\\xa9"
assert answer.text == "caf\u00e9"
"""


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "ollama.log",
        "file:",
        "docker:",
        "ftp:x",
        "docker:a/b",
        "docker:../x",
        "journal:a b",
        "journal:-f",
        "file:a\0b",
    ],
)
def test_what_names_no_log_is_told_with_the_forms_that_do(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(spec)
    assert caught.value.hint.startswith("Write docker:NAME")


@pytest.mark.parametrize("spec", ["file:/var/log/ollama.log", "docker:naive-ollma-gpu", "journal:ollama"])
def test_a_source_is_named_by_its_spec(spec: str) -> None:
    source = open_source(spec)
    assert source.name == spec
    source.close()


def test_an_unknown_since_is_refused() -> None:
    with pytest.raises(ConfigError, match="yesterday"):
        open_source("file:x", since="yesterday")


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/miner")
    assert open_source("file:~/o.log").name == f"file:{Path('/home/miner/o.log')}"


def test_a_docker_source_loads_no_guesser_of_encodings() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
