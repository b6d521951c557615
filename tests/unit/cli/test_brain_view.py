"""How `status` and `doctor` show BRAIN: by what the generator told, and by the credentials' file."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from jsonschema import Draft202012Validator

from cli.doctor import _brain, examine
from cli.faults import Finding, Health
from cli.render import finding_lines, status_lines
from cli.status import collect_status
from cli.target import Fleet, find_fleet
from fleet.runtime.home import ROOT, FleetFile, Home

URL = "http://127.0.0.1:9"
TOLD = {
    "signed_in": True,
    "in_flight": 3,
    "slots": 3,
    "queued": 2,
    "sent_today": 120,
    "trouble": None,
    "mend": None,
}
PAIR = '["me@example.org", "s3cret"]'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("FLEET_BRAIN_EMAIL", "FLEET_BRAIN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path / "home")
    home.create()
    return home


def fleet_of(
    home: Home, *, profile: str = "native", told: dict[str, Any] | None = None, **environ: str
) -> Fleet:
    FleetFile(profile, URL, "file:x", "", str(home.socket), 1.0).write(home)
    row = {"heartbeat": time.time(), **({} if told is None else {"brain": told})}
    home.generator_file.write_text(json.dumps(row))
    credentials = str(home.path / "credential.txt")
    return find_fleet(
        None,
        {
            "FLEET_HOME": str(home.path),
            "FLEET_OLLAMA_URL": URL,
            "FLEET_BRAIN_CREDENTIALS": credentials,
            **environ,
        },
    )


def write(home: Home, text: str = PAIR, mode: int = 0o600) -> Path:
    path = home.path / "credential.txt"
    path.write_text(text)
    path.chmod(mode)
    return path


def found(fleet: Fleet) -> list[tuple[str, Health]]:
    return [(one.part, one.health) for one in _brain(fleet)]


def shown(fleet: Fleet) -> str:
    return unstyle("\n".join(status_lines(collect_status(fleet), time.time())))


def test_status_says_how_the_generator_stands_with_brain(home: Home) -> None:
    fleet = fleet_of(home, told=TOLD)
    assert (
        "BRAIN        signed in, 3 of 3 slots in use, 2 queued, 120 sent in 24 hours\n" in shown(fleet) + "\n"
    )
    row = collect_status(fleet)
    assert row["brain"] == TOLD
    schema = json.loads((ROOT / "docs/schema/status.json").read_text())
    Draft202012Validator(schema["properties"]["brain"]).validate(row["brain"])


def test_status_shows_what_keeps_the_generator_from_brain(home: Home) -> None:
    trouble = "BRAIN asks for a biometric sign-in: open https://x/ in a browser"
    text = shown(fleet_of(home, told={**TOLD, "signed_in": False, "trouble": trouble}))
    assert "not signed in" in text
    assert trouble in text
    assert "The generator asks again by itself" in text
    mend = "They are not sent again until they change."
    text = shown(fleet_of(home, told={**TOLD, "trouble": "BRAIN refuses the credentials", "mend": mend}))
    assert mend in text
    assert "asks again" not in text


def test_status_says_nothing_of_brain_where_it_is_not_asked(home: Home) -> None:
    fleet = fleet_of(home)
    assert "BRAIN" not in shown(fleet)
    assert collect_status(fleet)["brain"] is None


def test_doctor_finds_sound_credentials_and_never_shows_them(home: Home) -> None:
    write(home)
    fleet = fleet_of(home, told=TOLD)
    assert found(fleet) == [("credentials", Health.SOUND), ("brain", Health.SOUND)]
    assert "s3cret" not in "\n".join(finding_lines(_brain(fleet)))


def test_doctor_warns_of_a_password_that_others_may_read(home: Home) -> None:
    write(home, mode=0o644)
    [one] = _brain(fleet_of(home))
    assert (one.part, one.health) == ("credentials", Health.WARNING)
    assert "chmod 600" in one.hint


@pytest.mark.parametrize("text", ["me@example.org:s3cret", '{"email": "s3cret"}', '["s3cret"]', ""])
def test_doctor_finds_a_file_that_holds_no_pair(home: Home, text: str) -> None:
    write(home, text)
    faults = [one for one in examine(fleet_of(home)) if one.part == "brain"]
    assert [one.health for one in faults] == [Health.FAULT]
    assert "no JSON pair" in faults[0].detail
    assert "s3cret" not in "\n".join(finding_lines(faults))


def test_doctor_misses_credentials_only_where_they_are_asked_for(home: Home) -> None:
    assert found(fleet_of(home)) == []
    wanting = fleet_of(home, FLEET_GENERATOR_EVALUATOR="brain")
    faults: list[Finding] = [one for one in examine(wanting) if one.part == "brain"]
    assert "there are no BRAIN credentials" in faults[0].detail


def test_doctor_shows_the_trouble_that_the_generator_told(home: Home) -> None:
    write(home)
    fleet = fleet_of(home, told={**TOLD, "trouble": "BRAIN refuses the credentials"})
    faults = [one for one in examine(fleet) if one.part == "brain" and one.health is Health.FAULT]
    assert [one.detail for one in faults] == ["BRAIN refuses the credentials"]


def test_doctor_says_that_a_standin_fleet_sends_brain_nothing(home: Home) -> None:
    write(home, "no pair at all")
    [one] = _brain(fleet_of(home, profile="embedded"))
    assert (one.health, one.detail) == (Health.SOUND, "not asked: a stand-in fleet sends it nothing")
