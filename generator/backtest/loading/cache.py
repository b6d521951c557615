"""Panels kept so that they load at once: a folder of .npy files by the content's hash, mapped into memory.

    <home>/panels/<hash of the path>.json   which content the file had when it was last looked at, and its size and times
    <home>/panels/<hash of the content>/    meta.json and an array a field; workers that map it share its pages

A folder is written under another name and renamed, so that it is whole or not there. A file that has changed gets a
new one, and the old one goes. What cannot be written is not kept, and nothing fails for it.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleet.runtime.atomic_write import replace_text
from generator.backtest.panel import Matrix, Panel

FORMAT = 2
"""Raised when reading or checking changes, so that nothing read by an older version is used."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder of kept panels."""

    folder: Path

    def find(self, path: Path) -> Panel | None:
        """Return the panel kept of a file's present content, None if there is none."""
        pointer = _read(self._pointer(path))
        if pointer is None or pointer.get("format") != FORMAT:
            return None
        content = str(pointer.get("content", ""))
        if pointer.get("stamp") != stamp_of(path):
            if content_of(path) != content:
                return None
            with contextlib.suppress(OSError):
                self._point(path, content)
        return open_kept(self.folder / content)

    def keep(self, path: Path, stamp: list[int], panel: Panel) -> Panel:
        """Keep a panel that was read from a file when it had this stamp; return it mapped, or as it is."""
        content = content_of(path)
        if stamp_of(path) != stamp:
            return panel  # it changed while it was read
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            needed = sum(a.nbytes for a in (*panel.fields.values(), *panel.groups.values()))
            if shutil.disk_usage(self.folder).free < 2 * needed:
                return panel
            self._forget(path, content)
            write_kept(self.folder / content, panel)
            self._point(path, content)
        except OSError:
            return panel
        return open_kept(self.folder / content) or panel

    def _pointer(self, path: Path) -> Path:
        name = hashlib.blake2b(os.fsencode(path.resolve()), digest_size=12).hexdigest()
        return self.folder / f"{name}.json"

    def _point(self, path: Path, content: str) -> None:
        row = {"format": FORMAT, "path": str(path.resolve()), "stamp": stamp_of(path), "content": content}
        replace_text(self._pointer(path), json.dumps(row) + "\n")

    def _forget(self, path: Path, content: str) -> None:
        """Remove what was kept of the file's earlier content, unless another file has it too."""
        pointer = self._pointer(path)
        old = str((_read(pointer) or {}).get("content", ""))
        others = [_read(other) or {} for other in self.folder.glob("*.json") if other != pointer]
        if old and old != content and not any(row.get("content") == old for row in others):
            shutil.rmtree(self.folder / old, ignore_errors=True)


def stamp_of(path: Path) -> list[int]:
    """Return what changes with a file's content: size and times of it, or of each file of a folder."""
    stamp = []
    for part in _parts(path):
        found = part.stat()
        stamp += [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    return stamp


def content_of(path: Path) -> str:
    """Return a hash of a file's content, or of all files of a folder with their names."""
    total = hashlib.blake2b(f"format {FORMAT}".encode(), digest_size=16)
    for part in _parts(path):
        total.update(part.name.encode("utf-8", "surrogateescape") if path.is_dir() else part.suffix.encode())
        with part.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _parts(path: Path) -> list[Path]:
    return sorted(part for part in path.iterdir() if part.is_file()) if path.is_dir() else [path]


def write_kept(folder: Path, panel: Panel) -> None:
    """Write a panel's folder, whole or not at all."""
    if folder.exists():
        return
    place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        arrays: dict[str, Matrix] = {"dates": panel.dates.astype("datetime64[D]").view(np.int64)}
        arrays |= {f"field {name}": matrix for name, matrix in panel.fields.items()}
        arrays |= {f"group {name}": codes for name, codes in panel.groups.items()}
        arrays["gaps"] = panel.gaps
        if panel.universe is not None:
            arrays["universe"] = panel.universe
        files = {name: f"{number}.npy" for number, name in enumerate(arrays)}
        for name, matrix in arrays.items():
            np.save(place / files[name], np.ascontiguousarray(matrix))
        names = {name: list(values) for name, values in panel.group_names.items()}
        meta = {
            "format": FORMAT,
            "symbols": list(panel.symbols),
            "files": files,
            "group_names": names,
            "warnings": list(panel.warnings),
        }
        (place / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        place.chmod(0o755)
        place.rename(folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        if not folder.exists():  # else another process was faster
            raise


def open_kept(folder: Path) -> Panel | None:
    """Return the panel of a folder, its arrays mapped; None if the folder is not whole."""
    meta = _read(folder / "meta.json")
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
    """Map an array; copy-on-write, because kernels are compiled for arrays that are not marked read-only."""
    return np.asarray(np.load(file, mmap_mode="c", allow_pickle=False))


def _read(file: Path) -> dict[str, Any] | None:
    try:
        row = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) else None
