"""Whether a panel fits into memory, told before it is tried."""

import resource
from pathlib import Path

from generator.backtest.errors import PanelError

WORKING = 16
"""Matrices that the engine may hold beside the panel's own."""
_SPARE = 0.9
_RESERVED = 768 << 20
"""Address space that libraries set aside without using it: a limit on it is no limit on memory."""
_CELL = 8


def free_bytes() -> int:
    """Return the memory that this process may still take: the machine's, its control group's, its own limit."""
    found = [_available(), _group_room(), _limit_room()]
    return min((room for room in found if room is not None), default=1 << 62)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    rows = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(rows["MemAvailable"].split()[0]) << 10 if "MemAvailable" in rows else None


def _group_room() -> int | None:
    for most, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit = Path(most).read_text(encoding="ascii").strip()
            taken = int(Path(used).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            return max(0, int(limit) - taken)
    return None


def _limit_room() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return limit
    return usable_of(max(0, limit - pages * resource.getpagesize()))


def usable_of(addresses: int) -> int:
    """Return what of an address space can hold a panel, beside what libraries set aside; little of a small one."""
    return max(addresses - _RESERVED, addresses // 4)


def require_room(path: Path, days: int, instruments: int, columns: int, free: int) -> None:
    """Raise PanelError, with the size that would fit, unless a panel of this size can be worked with."""
    needed = panel_bytes(days, instruments, columns)
    if needed <= free * _SPARE:
        return
    share = free * _SPARE / needed
    sizes = [f"{int(instruments * share):,} instruments", f"{int(days * share):,} dates"]
    room = int(free * _SPARE / (days * instruments * _CELL)) - WORKING
    if room >= 1:
        sizes.append(f"{room} fields")
    raise PanelError(
        f"{path}: {days:,} dates x {instruments:,} instruments x {columns} fields need {gigabytes(needed)}, "
        f"and {gigabytes(free)} are free. What would fit, the rest unchanged: {', or '.join(sizes)}.",
        hint="Leave out dates, symbols or columns, or use a machine with more memory.",
    )


def require_room_to_read(path: Path, needed: int, free: int) -> None:
    """Raise PanelError if the file itself is too large to be read at once."""
    if needed > free * _SPARE:
        raise PanelError(
            f"{path}: reading it needs about {gigabytes(needed)}, and {gigabytes(free)} are free. "
            f"{max(1, int(100 * free * _SPARE / needed))} % of it would fit.",
            hint="Leave out rows or columns, or use a machine with more memory.",
        )


def ran_out(path: Path, free: int) -> PanelError:
    """Return the error for a panel that took more memory than was foreseen."""
    return PanelError(
        f"{path}: memory ran out while it was read, though {gigabytes(free)} seemed free. Half of its rows or columns "
        "may fit.",
        hint="Leave out rows or columns, or use a machine with more memory.",
    )


def panel_bytes(days: int, instruments: int, columns: int) -> int:
    """Return what a panel takes with the engine's own matrices."""
    return days * instruments * _CELL * (columns + WORKING)


def gigabytes(size: int) -> str:
    """Return a size for a person."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004
