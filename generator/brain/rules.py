"""What simulations are made under: the settings of `[brain]`, those left open as `[panel]` has them. Pure."""

from collections.abc import Mapping
from typing import Any

from fleet.config.schema import BrainSettings, PanelSettings

# As the original sent them; what else there is stands at the account's defaults.
_FIXED: Mapping[str, object] = {
    "instrumentType": "EQUITY",
    "pasteurization": "ON",
    "unitHandling": "VERIFY",
    "nanHandling": "OFF",
    "language": "FASTEXPR",
    "visualization": False,
}


def simulation_settings(brain: BrainSettings, panel: PanelSettings) -> dict[str, Any]:
    """Return BRAIN's settings of a simulation; two with the same settings give the same figures."""
    neutralization = panel.neutralization if brain.neutralization is None else brain.neutralization
    return {
        **_FIXED,
        "region": brain.region,
        "universe": brain.universe,
        "delay": panel.delay if brain.delay is None else brain.delay,
        "decay": panel.decay if brain.decay is None else brain.decay,
        "neutralization": neutralization.upper(),
        "truncation": panel.truncation if brain.truncation is None else brain.truncation,
    }


def payload(expression: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of one simulation's request."""
    return {"type": "REGULAR", "settings": dict(settings), "regular": expression}


def same_code(left: str, right: str) -> bool:
    """Tell whether two texts are the same expression but for white space and a last semicolon."""
    return _squeezed(left) == _squeezed(right)


def _squeezed(code: str) -> str:
    return "".join(code.split()).rstrip(";")


def same_settings(alpha: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Tell whether an alpha was simulated under these settings, as far as BRAIN names them."""
    return all(alpha[name] == value for name, value in settings.items() if name in alpha)
