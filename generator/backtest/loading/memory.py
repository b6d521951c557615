"""Free memory, and refusal of panels that do not fit, before they are read."""

import resource
from pathlib import Path

from generator.backtest.errors import PanelError

WORKING_MATRICES = 16
"""Matrices that the engine may hold in addition to the panel's."""
_USABLE_SHARE = 0.9  # of the free memory
_RESERVED_BYTES = 768 << 20  # address space that libraries reserve and do not use
_CELL_BYTES = 8


def free_bytes() -> int:
    """Return the bytes that this process may still allocate: the least of machine, control group and RLIMIT_AS."""
    limits = [_machine_free(), _cgroup_free(), _rlimit_free()]
    return min((limit for limit in limits if limit is not None), default=1 << 62)


def _machine_free() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    rows = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(rows["MemAvailable"].split()[0]) << 10 if "MemAvailable" in rows else None


def _cgroup_free() -> int | None:
    for limit_file, usage_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit = Path(limit_file).read_text(encoding="ascii").strip()
            used = int(Path(usage_file).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            return max(0, int(limit) - used)
    return None


def _rlimit_free() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return limit
    return usable_address_space(max(0, limit - pages * resource.getpagesize()))


def usable_address_space(addresses: int) -> int:
    """Return the bytes of an address space that can hold a panel: without the libraries' part, at least a quarter."""
    return max(addresses - _RESERVED_BYTES, addresses // 4)


def require_memory(path: Path, days: int, instruments: int, columns: int, free: int) -> None:
    """Raise PanelError, with the size that would fit, if a panel of this size does not fit into `free` bytes."""
    needed = panel_bytes(days, instruments, columns)
    if needed <= free * _USABLE_SHARE:
        return
    share = free * _USABLE_SHARE / needed
    sizes = [f"{int(instruments * share):,} instruments", f"{int(days * share):,} dates"]
    fields = int(free * _USABLE_SHARE / (days * instruments * _CELL_BYTES)) - WORKING_MATRICES
    if fields >= 1:
        sizes.append(f"{fields} fields")
    raise PanelError(
        f"{path}: {days:,} dates x {instruments:,} instruments x {columns} fields need {gigabytes(needed)}, "
        f"and {gigabytes(free)} are free. What would fit, the rest unchanged: {', or '.join(sizes)}.",
        hint="Leave out dates, symbols or columns, or use a machine with more memory.",
    )


def require_memory_to_read(path: Path, needed: int, free: int) -> None:
    """Raise PanelError if reading the file needs more than `free` bytes."""
    if needed > free * _USABLE_SHARE:
        raise PanelError(
            f"{path}: reading it needs about {gigabytes(needed)}, and {gigabytes(free)} are free. "
            f"{max(1, int(100 * free * _USABLE_SHARE / needed))} % of it would fit.",
            hint="Leave out rows or columns, or use a machine with more memory.",
        )


def out_of_memory(path: Path, free: int) -> PanelError:
    """Return the error for a panel that needed more memory than estimated."""
    return PanelError(
        f"{path}: memory ran out while reading, though {gigabytes(free)} seemed free. Half of the rows or columns "
        "may fit.",
        hint="Leave out rows or columns, or use a machine with more memory.",
    )


def panel_bytes(days: int, instruments: int, columns: int) -> int:
    """Return the bytes of a panel and of the engine's matrices."""
    return days * instruments * _CELL_BYTES * (columns + WORKING_MATRICES)


def gigabytes(size: int) -> str:
    """Return a size in MB or GB, for display."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"  # noqa: PLR2004
