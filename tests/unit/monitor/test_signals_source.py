"""The monitor's source of the generator's calls, before the first call."""

from pathlib import Path

from fleet.runtime.home import FleetFile, Home
from monitor.__main__ import build
from monitor.loop import SIGNALS
from monitor.sources.base import Away


def test_before_the_first_call_the_missing_file_is_said_to_be_the_generators(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    FleetFile(
        "native", "http://127.0.0.1:1", f"file:{tmp_path / 'ollama.log'}", "", str(home.socket), 1.0
    ).write(home)
    source = build(home, {"FLEET_CONFIG": ""})._open_source(SIGNALS)
    away = next(item for item in source.items() if isinstance(item, Away))
    source.close()
    assert str(home.signals) in away.reason
    assert away.hint == "The generator creates it at the end of its first call."
