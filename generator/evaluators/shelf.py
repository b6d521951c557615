"""Panels on a worker's disk by their content hash: sent in parts, checked, and memory-mapped.

    <folder>/<hash>/    a panel's folder as `generator.backtest.loading.cache` writes it

A folder has a temporary name until its content has the hash: under its own it is complete or absent.
"""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fleet.runtime.errors import GeneratorError
from generator.backtest.loading.cache import META, map_panel, panel_meta
from generator.backtest.panel import Panel

PART = 4 << 20
"""Bytes that are sent at a time."""
_KEPT = 4
"""Panels that stay on the disk, the ones used last."""
_HASH = re.compile("[0-9a-f]{16}")
_FILE = re.compile(r"[0-9]{1,5}\.npy|meta\.json")


class PanelShelf:
    """The folder of a worker's panels; several workers may use one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, content: str) -> Panel | None:
        """Return the panel with this hash, memory-mapped; None if it is not here."""
        folder = self._folder / _checked(_HASH, content)
        panel = map_panel(folder)
        if panel is not None:
            os.utime(folder)
        return panel

    def receive(self, content: str, file: str, offset: int, data: bytes) -> None:
        """Append a part to a file of the panel with this hash; the parts come in order."""
        path = self._coming(content) / _checked(_FILE, file)
        if offset == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        with path.open("ab") as stream:
            if stream.tell() != offset:
                raise GeneratorError(
                    f"a part of the panel {content} is missing before byte {offset} of {file}"
                )
            stream.write(data)

    def finish(self, content: str) -> None:
        """Put the panel that was received in place; raise GeneratorError if its content has another hash."""
        coming = self._coming(content)
        panel = map_panel(coming)
        if panel is None or panel.content() != content:
            shutil.rmtree(coming, ignore_errors=True)
            raise GeneratorError(f"the panel {content} arrived damaged")
        try:
            coming.rename(self._folder / content)
        except OSError:  # another worker has put the same panel there
            shutil.rmtree(coming, ignore_errors=True)
        self._tidy()

    def _coming(self, content: str) -> Path:
        return self._folder / f".{_checked(_HASH, content)}.{os.getpid()}"

    def _tidy(self) -> None:
        """Remove all panels but those used last."""
        present = [path for path in self._folder.iterdir() if _HASH.fullmatch(path.name)]
        present.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in present[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def _checked(form: re.Pattern[str], name: str) -> str:
    if form.fullmatch(name) is None:
        raise GeneratorError(f"{name!r} is no name of a panel's part")
    return name


def panel_parts(panel: Panel) -> Iterator[tuple[str, int, bytes]]:
    """Yield a panel's files in parts: the file's name, the part's offset, its bytes."""
    meta = panel_meta(panel)
    for name, matrix in panel.arrays().items():
        head = io.BytesIO()
        matrix = np.ascontiguousarray(matrix)  # noqa: PLW2901  # the same values
        np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(matrix))
        yield meta["files"][name], 0, head.getvalue()
        body, begin = matrix.reshape(-1).view(np.uint8).data, len(head.getvalue())
        for at in range(0, len(body), PART):
            yield meta["files"][name], begin + at, bytes(body[at : at + PART])
    yield META, 0, json.dumps(meta).encode()
