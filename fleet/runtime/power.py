"""Whether the machine runs on its battery, by the kernel's list of power supplies."""

from pathlib import Path

SUPPLIES = Path("/sys/class/power_supply")


def on_battery(supplies: Path = SUPPLIES) -> bool:
    """Return True if a battery of the machine discharges and no mains feeds it; False if unknown.

    Batteries of devices, such as a mouse, do not count.
    """
    discharging = False
    for supply in _folders(supplies):
        kind = _read(supply / "type")
        if kind in {"Mains", "USB"} and _read(supply / "online") == "1":
            return False
        own = kind == "Battery" and _read(supply / "scope") != "Device"
        discharging = discharging or (own and _read(supply / "status") == "Discharging")
    return discharging


def _folders(supplies: Path) -> list[Path]:
    try:
        return sorted(supplies.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
