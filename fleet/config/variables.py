"""Names of `FLEET_…` variables: those that are no keys of fleet.toml, misspelt ones, and those that nothing reads."""

from collections.abc import Collection, Iterable

NO_KEYS = frozenset({"FLEET_BRAIN_EMAIL", "FLEET_BRAIN_PASSWORD", "FLEET_BRAIN_URL"})
"""Variables that look like keys of a section; credentials do not belong into the settings file."""
_STANDIN = (
    *("VRAM", "SPILL", "ERA", "MISSING", "THINKING", "PACE", "PARALLEL", "RECOVERY", "SEED", "FAULTS"),
)
_FOR_PEOPLE = NO_KEYS | {
    *("FLEET_HOME", "FLEET_CONFIG", "FLEET_PROFILE", "FLEET_LANE", "FLEET_SINCE", "FLEET_DEBUG"),
    *(f"FLEET_STANDIN_{name}" for name in _STANDIN),
}
# One program of the fleet sets them for another, a systemd unit sets them, or Compose reads them.
_FOR_PROGRAMS = frozenset(
    {
        *("FLEET_PYTHON", "FLEET_PROGRAMS", "FLEET_STANDIN_PORT", "FLEET_START"),
        *("FLEET_MODEL", "FLEET_MODEL_OPTIONS", "FLEET_RUNG", "FLEET_SWITCHES"),
        *("FLEET_IMAGE", "FLEET_VOLUME", "FLEET_USER", "FLEET_DATA", "FLEET_TOML"),
    }
)
_NEAR = 0.9  # how alike a misspelt name and the right one are; other names of the fleet are less alike


def meant_by(variable: str, keys: Collection[str]) -> str:
    """Return the variable that a misspelt name most resembles, empty without one; `keys` are those of fleet.toml."""
    if not variable.startswith("FLEET_") or variable in _FOR_PEOPLE | _FOR_PROGRAMS or variable in keys:
        return ""
    from difflib import get_close_matches  # noqa: PLC0415  # slow import, not needed without such a variable

    return next(iter(get_close_matches(variable, [*keys, *sorted(_FOR_PEOPLE)], n=1, cutoff=_NEAR)), "")


def unread(variables: Iterable[str], keys: Collection[str]) -> list[str]:
    """Return the `FLEET_…` variables that no program of the fleet reads."""
    known = _FOR_PEOPLE | _FOR_PROGRAMS | set(keys)
    return sorted(name for name in variables if name.startswith("FLEET_") and name not in known)
