import json
from pathlib import Path

import pytest

from tools import audit
from tools.audit import Audit, main, read_audit

SOUND = {"name": "click", "version": "8.5.1", "vulns": []}
SKIPPED = {"name": "own", "skip_reason": "not found"}
FAULTY = {
    "name": "old",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}, {"id": "PYSEC-2", "fix_versions": []}],
}


def test_a_report_is_read() -> None:
    found = read_audit(json.dumps({"dependencies": [SOUND, SKIPPED, FAULTY]}))
    assert found == Audit(
        3, 1, ("old 1.0: PYSEC-1, mended in 1.1, 2.0", "old 1.0: PYSEC-2, mended in no version yet")
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dependencies": [{"vulns": [{}]}]}'])
def test_what_is_no_report_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_audit(text)


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (None, 0, "not audited"),
        (Audit(30, 30, ()), 0, "not audited"),
        (Audit(30, 1, ()), 0, "29 of 30 packages audited, 0 faults"),
        (Audit(30, 0, ("old 1.0: PYSEC-1",)), 1, "old 1.0: PYSEC-1"),
    ],
)
def test_only_a_known_fault_fails(
    found: Audit | None,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "audit", lambda _lock: found)
    assert main([str(Path("lock.txt"))]) == code
    assert said in capsys.readouterr().out
