"""Places of notices: their names and reasons hold no address, and a command gets JSON."""

import json
import logging
import sys
import threading
from pathlib import Path

import pytest

from fleet.clients.notices import AppriseUrl, NoticeCommand, notice_places

ROW = {"id": "event-1", "title": "Model Fleet on box: held [event-1]", "state": "begun"}


def test_names_and_keys_show_no_address() -> None:
    url = "discord://hook-secret/token-secret"
    places = notice_places([url], "/bin/true --password secret")
    assert [place.name for place in places] == ["urls[0] (discord)", "command"]
    assert all("secret" not in place.key for place in places)
    assert notice_places([], "") == []


def test_a_command_reads_the_notice_as_json(tmp_path: Path) -> None:
    taken = tmp_path / "taken.json"
    script = f"import sys; open({str(taken)!r}, 'w').write(sys.stdin.read())"
    assert NoticeCommand(f'{sys.executable} -c "{script}"').deliver(ROW, "the body") == ""
    assert json.loads(taken.read_text()) == {**ROW, "body": "the body"}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/no/such/program", "cannot be started: No such file or directory"),
        ("sh -c 'exit 3'", "ended with exit status 3"),
        ("sh -c 'exit", "quotes do not match"),
        ("echo x; false", ""),
    ],
)
def test_a_command_fails_with_its_reason_and_no_shell_reads_it(command: str, reason: str) -> None:
    failed = NoticeCommand(command).deliver(ROW, "body")
    assert reason in failed
    assert bool(failed) is bool(reason)


def test_an_unknown_address_is_named_without_being_shown() -> None:
    reason = AppriseUrl("nosuch://user:hunter22@host", "urls[0] (nosuch)").deliver(ROW, "body")
    assert "does not know this address" in reason
    assert "hunter22" not in reason


def test_a_service_that_is_away_gives_a_reason_without_the_address() -> None:
    reason = AppriseUrl("json://someone:hunter22@127.0.0.1:9/topic-secret", "x").deliver(ROW, "body")
    assert "Connection" in reason or "connect" in reason
    assert "hunter22" not in reason
    assert "topic-secret" not in reason


def test_a_place_gives_no_warning_of_another_place_as_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_beside_another(*_: object, **__: object) -> bool:
        # A new thread has no context of this delivery, as another delivery has none.
        other = threading.Thread(target=logging.getLogger("apprise").warning, args=("to topic-of-another",))
        other.start()
        other.join()
        logging.getLogger("apprise").warning("no route")
        return False

    monkeypatch.setattr("apprise.plugins.custom_json.NotifyJSON.send", fails_beside_another)
    assert AppriseUrl("json://127.0.0.1:9", "x").deliver(ROW, "body") == "no route"
