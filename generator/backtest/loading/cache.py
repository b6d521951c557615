"""Cache of panels: a folder of .npy files for each content hash, memory-mapped.

    <home>/panels/<hash of the path>.json   the file's last known content hash, size and times
    <home>/panels/<hash of the content>/    meta.json and one array a field; processes that map it share its pages

A folder is written under a temporary name and renamed, so it is complete or absent. A changed file gets a new folder, and
the old one is removed. Of the panels of all files those used last stay. A panel that cannot be written is not cached; that
is no error.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.units import Seconds
from generator.backtest.panel import Matrix, Panel

FORMAT = 2
"""Increase it when reading or checking changes, so that panels read by an older version are not used."""
META = "meta.json"
_KEPT = 8
"""Files whose panels stay, the ones used last."""
_LEFT: Seconds = 86400.0
"""Age from which an incomplete folder is one of a process that was killed."""
_CONTENT = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class PanelCache:
    """The folder of cached panels."""

    folder: Path

    def find(self, path: Path, stamp: list[int]) -> Panel | None:
        """Return the cached panel of a file with this stamp, None if there is none."""
        pointer = _read(self._pointer(path))
        if pointer is None or pointer.get("format") != FORMAT:
            return None
        content = str(pointer.get("content", ""))
        if pointer.get("stamp") != stamp:
            if content_of(path) != content:
                return None
            with contextlib.suppress(OSError):
                self._write_pointer(path, stamp, content)
        with contextlib.suppress(OSError):
            os.utime(self._pointer(path))
        return map_panel(self.folder / content)

    def store(self, path: Path, stamp: list[int], panel: Panel) -> Panel:
        """Cache a panel that was read when the file had this stamp; return it mapped, else as given."""
        content = content_of(path)
        if stamp_of(path) != stamp:
            return panel  # the file changed while it was read
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            needed = sum(a.nbytes for a in (*panel.fields.values(), *panel.groups.values()))
            if shutil.disk_usage(self.folder).free < 2 * needed:
                return panel
            self._remove_old(path, content)
            write_panel(self.folder / content, panel)
            self._write_pointer(path, stamp, content)
        except OSError:
            return panel
        with contextlib.suppress(OSError):  # another process may tidy at the same time
            self._tidy()
        return map_panel(self.folder / content) or panel

    def _pointer(self, path: Path) -> Path:
        name = hashlib.blake2b(os.fsencode(path.resolve()), digest_size=12).hexdigest()
        return self.folder / f"{name}.json"

    def _write_pointer(self, path: Path, stamp: list[int], content: str) -> None:
        """Store the content of a file with this stamp, taken before it was read: the file may have been replaced since."""
        row = {"format": FORMAT, "path": str(path.resolve()), "stamp": stamp, "content": content}
        replace_text(self._pointer(path), json.dumps(row) + "\n")

    def _remove_old(self, path: Path, content: str) -> None:
        """Remove the panel of the file's earlier content, unless another file has the same content."""
        pointer = self._pointer(path)
        old = str((_read(pointer) or {}).get("content", ""))
        others = [_read(other) or {} for other in self.folder.glob("*.json") if other != pointer]
        if old and old != content and not any(row.get("content") == old for row in others):
            shutil.rmtree(self.folder / old, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove all panels but those used last, and what killed processes left behind."""
        pointers = [(file, content) for file in self.folder.glob("*.json") if (content := _content_in(file))]
        pointers.sort(key=lambda one: one[0].stat().st_mtime, reverse=True)
        kept = {content for _, content in pointers[:_KEPT]}
        for file, content in pointers[_KEPT:]:
            file.unlink(missing_ok=True)
            if content not in kept:
                shutil.rmtree(self.folder / content, ignore_errors=True)
        for left in self.folder.glob(".*"):
            if left.is_dir() and time.time() - left.stat().st_mtime > _LEFT:
                shutil.rmtree(left, ignore_errors=True)


def _content_in(pointer: Path) -> str:
    """Return the content hash in a pointer; empty for another file."""
    content = str((_read(pointer) or {}).get("content", ""))
    return content if _CONTENT.fullmatch(content) else ""


def stamp_of(path: Path) -> list[int]:
    """Return size, times and inode of a file, or of each file of a folder; they change with the content."""
    stamp = []
    for part in _parts(path):
        found = part.stat()
        stamp += [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    return stamp


def content_of(path: Path) -> str:
    """Return a hash of a file's content, or of the names and contents of a folder's files."""
    total = hashlib.blake2b(f"format {FORMAT}".encode(), digest_size=16)
    for part in _parts(path):
        total.update(part.name.encode("utf-8", "surrogateescape") if path.is_dir() else part.suffix.encode())
        with part.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _parts(path: Path) -> list[Path]:
    return sorted(part for part in path.iterdir() if part.is_file()) if path.is_dir() else [path]


def write_panel(folder: Path, panel: Panel) -> None:
    """Write a panel's folder, complete or not at all."""
    if folder.exists():
        return
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        meta = panel_meta(panel)
        for name, matrix in panel.arrays().items():
            np.save(temporary / meta["files"][name], np.ascontiguousarray(matrix))
        (temporary / META).write_text(json.dumps(meta), encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if not folder.exists():  # else another process has written the same panel
            raise


def panel_meta(panel: Panel) -> dict[str, Any]:
    """Return the content of a panel's META file; `files` are those of its arrays by name."""
    return {
        "format": FORMAT,
        "symbols": list(panel.symbols),
        "files": {name: f"{number}.npy" for number, name in enumerate(panel.arrays())},
        "group_names": {name: list(values) for name, values in panel.group_names.items()},
        "warnings": list(panel.warnings),
    }


def map_panel(folder: Path) -> Panel | None:
    """Return the panel of a folder with memory-mapped arrays; None if the folder is incomplete."""
    meta = _read(folder / META)
    if meta is None or meta.get("format") != FORMAT:
        return None
    try:
        return _panel(folder, meta)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _panel(folder: Path, meta: Mapping[str, Any]) -> Panel:
    arrays = {name: _map(folder / file) for name, file in meta["files"].items()}

    def named(kind: str) -> dict[str, Matrix]:
        return {name.removeprefix(kind): matrix for name, matrix in arrays.items() if name.startswith(kind)}

    return Panel(
        dates=np.array(arrays["dates"]).view("datetime64[D]"),
        symbols=tuple(meta["symbols"]),
        fields=named("field "),
        groups=named("group "),
        group_names={name: tuple(values) for name, values in meta["group_names"].items()},
        universe=arrays.get("universe"),
        warnings=tuple(meta["warnings"]),
        gaps=arrays["gaps"],
    )


def _map(file: Path) -> Matrix:
    """Return a memory-mapped array.

    It is mapped copy-on-write, because the kernels are compiled for arrays that are not read-only.
    """
    return np.asarray(np.load(file, mmap_mode="c", allow_pickle=False))


def _read(file: Path) -> dict[str, Any] | None:
    try:
        row = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) else None
