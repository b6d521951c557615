import pytest

from fleet.runtime.clock import parse_beginning
from fleet.runtime.errors import ConfigError

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        (None, None),
        ("", None),
        (" start ", "start"),
        ("2h", NOW - 7200),
        ("1794990000", 1_794_990_000.0),
        ("1794990000.5", 1_794_990_000.5),
        ("2026-11-18", 1_794_960_000.0),
        ("20261118", 1_794_960_000.0),
        ("2026-11-18T01:00+01:00", 1_794_960_000.0),
    ],
)
def test_where_a_first_start_begins(text: str | None, begins: float | str | None) -> None:
    assert parse_beginning(text, NOW) == begins


@pytest.mark.parametrize("text", ["yesterday", "-5", "1.2.3", "nan", "end"])
def test_what_is_no_time_is_told_with_what_is(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read since") as caught:
        parse_beginning(text, NOW)
    assert '"start"' in caught.value.hint
