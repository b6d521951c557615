from pathlib import Path

import pytest

from fleet.runtime.power import on_battery

MAINS_ON = {"type": "Mains\n", "online": "1\n"}
MAINS_OFF = {"type": "Mains\n", "online": "0\n"}
USB_ON = {"type": "USB\n", "online": "1\n"}
DISCHARGING = {"type": "Battery\n", "status": "Discharging\n"}
CHARGING = {"type": "Battery\n", "status": "Charging\n"}
FULL = {"type": "Battery\n", "status": "Full\n"}
MOUSE = {"type": "Battery\n", "status": "Discharging\n", "scope": "Device\n"}


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ([], False),
        ([MAINS_ON], False),
        ([MAINS_OFF, DISCHARGING], True),
        ([DISCHARGING], True),
        ([DISCHARGING, DISCHARGING], True),
        ([CHARGING, DISCHARGING], True),
        ([MAINS_ON, DISCHARGING], False),  # a battery that the charger cannot keep up with
        ([DISCHARGING, USB_ON], False),
        ([MAINS_OFF, FULL], False),
        ([CHARGING], False),
        ([MOUSE], False),
        ([MAINS_OFF, MOUSE], False),
        ([{}], False),
    ],
)
def test_a_machine_on_battery_is_known(
    tmp_path: Path, supplies: list[dict[str, str]], expected: bool
) -> None:
    for number, files in enumerate(supplies):
        folder = tmp_path / f"supply{number}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    assert on_battery(tmp_path) == expected


def test_a_machine_without_power_supplies_is_not_on_battery(tmp_path: Path) -> None:
    assert not on_battery(tmp_path / "absent")
