import json
from pathlib import Path

import pytest

from fleet.config.load import load_settings
from fleet.runtime.errors import ConfigError
from generator.brain.credentials import DEFAULT_URL, CredentialSource, brain_url, credential_source
from generator.brain.errors import BrainAccessError

SECRET = "hunter2 é"


def file(folder: Path, text: str | None = None, mode: int = 0o600) -> Path:
    path = folder / "credential.txt"
    path.write_text(json.dumps(["me@x.org", SECRET]) if text is None else text)
    path.chmod(mode)
    return path


def test_a_json_pair_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = CredentialSource({}, (file(tmp_path),)).read()
    assert (found.email, found.password) == ("me@x.org", SECRET)
    assert SECRET not in repr(found)
    assert "me@x.org" not in repr(found)
    assert caplog.records == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o400, 0o666])
def test_another_mode_is_warned_of(tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    CredentialSource({}, (file(tmp_path, mode=mode),)).read()
    assert "brain.credentials_open" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me:hunter2",
        '["me"]',
        '["a", "b", "c"]',
        '{"a": "hunter2"}',
        '["", "hunter2"]',
        "[1, 2]",
        "[" * 9999,
    ],
)
def test_anything_else_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(BrainAccessError) as caught:
        CredentialSource({}, (file(tmp_path, text),)).read()
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.__cause__ is None


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "credential.txt"
    path.write_bytes(b"\xff\xfe\x00hunter2")
    with pytest.raises(BrainAccessError, match="not UTF-8 text"):
        CredentialSource({}, (path,)).read()


def test_the_environment_wins(tmp_path: Path) -> None:
    source = CredentialSource(
        {"FLEET_BRAIN_EMAIL": "you@x.org", "FLEET_BRAIN_PASSWORD": "p"}, (file(tmp_path),)
    )
    assert source.read().email == "you@x.org"
    assert "you@x.org" not in repr(source)


def test_half_an_environment_is_none(tmp_path: Path) -> None:
    source = CredentialSource({"FLEET_BRAIN_EMAIL": "you@x.org"}, (tmp_path / "no",))
    assert not source.present
    with pytest.raises(BrainAccessError, match="there are no BRAIN credentials"):
        source.read()


def test_a_changed_file_is_another_version(tmp_path: Path) -> None:
    source = CredentialSource({}, (file(tmp_path),))
    before = source.read().version
    assert source.read().version == before
    file(tmp_path, '["me@x.org", "other"]')
    assert source.read().version != before


def test_it_is_looked_for_beside_the_configuration_and_then_in_the_home(tmp_path: Path) -> None:
    source = credential_source(
        "credential.txt", tmp_path / "etc/fleet.toml", tmp_path / "home", {"PATH": "x"}
    )
    assert source.files == (tmp_path / "etc/credential.txt", tmp_path / "home/credential.txt")
    assert source.environ == {}
    absolute = credential_source("/somewhere/c.txt", None, tmp_path, {})
    assert absolute.files == (Path("/somewhere/c.txt"),)


def test_the_accounts_variables_are_no_keys_of_the_configuration() -> None:
    environ = {
        "FLEET_BRAIN_EMAIL": "me@x.org",
        "FLEET_BRAIN_PASSWORD": SECRET,
        "FLEET_BRAIN_URL": "http://127.0.0.1:1",
        "FLEET_BRAIN_SLOTS": "2",
    }
    assert load_settings(None, environ).brain.slots == 2


@pytest.mark.parametrize("url", ["https://brain.example/", "http://127.0.0.1:8000", "http://localhost:1"])
def test_tests_may_name_another_server(url: str) -> None:
    assert brain_url({"FLEET_BRAIN_URL": url}) == url.rstrip("/")
    assert brain_url({}) == DEFAULT_URL


@pytest.mark.parametrize(
    "url", ["http://brain.example", "https://me:pw@brain.example", "ftp://127.0.0.1", "brain"]
)
def test_an_address_that_would_leak_the_password_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        brain_url({"FLEET_BRAIN_URL": url})


def test_a_path_that_cannot_be_looked_up_is_refused_with_its_reason(tmp_path: Path) -> None:
    source = CredentialSource({}, (tmp_path / ("x" * 300),))
    assert source.present
    with pytest.raises(BrainAccessError, match="cannot be read: File name too long"):
        source.read()
