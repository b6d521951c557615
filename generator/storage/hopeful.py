"""`hopeful_alphas.json`: kept alphas of real markets, in a format shared with other scripts.

Other programs read the file at any time and delete rows. Each write therefore starts from the file's present
content and replaces the file atomically, under a lock of its own. A damaged file is renamed, never overwritten.
"""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from fleet.runtime.atomic_write import replace_text, sync_folder
from fleet.runtime.logging import with_sentence
from fleet.runtime.units import Bytes, Seconds
from generator.domain import BASIS, Evaluated

Row: TypeAlias = Mapping[str, Any]

_LOCK_TIMEOUT: Seconds = 1.0
_END = "\n]\n"
_BEGIN = re.compile(r"[ \t\r\n]*\[[ \t\r\n]*(\])?")
_NEXT = re.compile(r"[ \t\r\n]*([,\]])[ \t\r\n]*")
_log = logging.getLogger(__name__)


class HopefulFile:
    """Writes the file under its lock; for one thread at a time.

    If the file is as this program left it, new alphas are appended to a copy without parsing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left: tuple[int, ...] | None = None
        self._expressions: set[str] = set()

    @property
    def size(self) -> Bytes:
        """Return the file's size, 0 if there is none."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def add(self, alphas: Sequence[Evaluated]) -> bool:
        """Merge alphas into the file; log the reason and return False if it cannot be written."""
        from filelock import FileLock, Timeout  # noqa: PLC0415  # not before there is something to write

        lock = FileLock(
            self._path.with_name(self._path.name + ".lock"), timeout=_LOCK_TIMEOUT, fallback_to_soft=False
        )
        try:
            with lock:
                self._write([hopeful_row(one) for one in alphas])
        except (OSError, Timeout) as error:
            sentence = f"{self._path} cannot be written: {error}; the next kept alpha tries again"
            _log.error("hopeful.unwritten", extra=with_sentence(sentence, path=self._path))
            return False
        return True

    def _write(self, rows: Sequence[Row]) -> None:
        new = [str(row["expression"]) for row in rows]
        untouched = self._left is not None and self._left == self._stamp()
        if untouched and len(set(new)) == len(new) and self._expressions.isdisjoint(new):
            self._append(rows)
            self._expressions.update(new)
            self._left = self._stamp()
            return
        text = ""
        try:
            text = self._read()
            present, known = parse_rows(text, set(new))
        except (ValueError, RecursionError):
            self._set_aside()
            present, known = [], set()
        merged = merge(present, rows)
        written = merged != present
        if written:
            replace_text(self._path, _text_of(merged, text), durable=True)
        # Nothing is appended to a file that another program wrote: it may end differently.
        self._left = self._stamp() if merged and (written or untouched) else None
        self._expressions = known.union(new)

    def _append(self, rows: Sequence[Row]) -> None:
        """Replace the file by a copy with more rows; nothing is parsed."""
        added = ",\n" + json.dumps(list(rows), indent=2).removeprefix("[\n") + "\n"
        copy = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with self._path.open("rb") as source, copy.open("wb") as target:
                copy.chmod(0o600)
                _copy(source.fileno(), target.fileno(), os.fstat(source.fileno()).st_size - len(_END))
                target.write(added.encode())
                target.flush()
                os.fsync(target.fileno())
            copy.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                copy.unlink()
            raise
        sync_folder(self._path.parent)

    def _stamp(self) -> tuple[int, ...] | None:
        """Return a stamp that changes with any other program's write."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino

    def _read(self) -> str:
        """Return the file's text, in which half characters are escaped; of an empty array if there is no file."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return "[]"
        text = content.decode(json.detect_encoding(content), "surrogatepass")
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def _set_aside(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.corrupt-{time.time_ns() // 10**6}")
        self._path.rename(aside)
        sentence = f"{self._path} was damaged and is now {aside.name}; a new file is created"
        _log.error("hopeful.damaged", extra=with_sentence(sentence, path=self._path, aside=aside))


def _copy(source: int, target: int, size: Bytes) -> None:
    """Copy a file's first bytes inside the kernel; raise OSError if it has fewer."""
    left = size
    while left > 0:
        sent = os.sendfile(target, source, None, left)
        if sent == 0:
            raise OSError("the file was cut while it was copied")
        left -= sent


def parse_rows(text: str, wanted: Collection[str]) -> tuple[list[Any], set[str]]:
    """Return the rows of a JSON array, and their expressions; raise ValueError if the text is none.

    Only rows of the wanted expressions are values. Each run of others is a slice of the text. The values of all rows
    would take many times the file's size.
    """
    rows: list[Any] = []
    expressions: set[str] = set()
    for begin, end, value in _elements(text):
        expression = str(value.get("expression")) if isinstance(value, dict) else None
        if expression is not None:
            expressions.add(expression)
        if expression in wanted:
            rows.append(value)
        elif rows and isinstance(rows[-1], slice):
            rows[-1] = slice(rows[-1].start, end)
        else:
            rows.append(slice(begin, end))
    return rows, expressions


def _elements(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield the place, the end and the value of each element of a JSON array; raise ValueError for another text."""
    decoder = json.JSONDecoder()
    mark = _BEGIN.match(text)
    while mark is not None and mark[1] != "]":
        value, end = decoder.raw_decode(text, mark.end())
        yield mark.end(), end, value
        mark = _NEXT.match(text, end)
    if mark is None or text[mark.end() :].strip():
        raise ValueError("the text is no JSON array")


def _text_of(rows: Sequence[Any], source: str) -> str:
    """Return the file's text; slices are of the present one."""
    parts = (
        "  " + source[row] if isinstance(row, slice) else json.dumps([row], indent=2)[2:-2] for row in rows
    )
    return "[\n" + ",\n".join(parts) + _END


def merge(present: Sequence[Any], rows: Sequence[Row]) -> list[Any]:
    """Return the file's rows with the new ones: the newest result of an expression and its settings.

    BRAIN's figures replace a panel's under any settings, and a panel's figures are never put beside them. A row without
    settings stands for its expression under any settings; one without a time is another program's and stays.
    """
    merged = list(present)
    places: dict[str, list[int]] = {}
    for place, row in enumerate(merged):
        if isinstance(row, dict):
            places.setdefault(str(row.get("expression")), []).append(place)
    dropped: set[int] = set()
    for row in rows:
        known = places.setdefault(str(row["expression"]), [])
        older = [place for place in known if _replaces(row, merged[place])]
        if older:
            merged[older[0]] = dict(row)
            dropped.update(older[1:])
            known[:] = [place for place in known if place not in dropped]
        elif not any(_covers(merged[place], row) for place in known):
            known.append(len(merged))
            merged.append(dict(row))
    return [row for place, row in enumerate(merged) if place not in dropped]


def _replaces(new: Row, old: Row) -> bool:
    """Return True if a new row takes the place of an old one of its expression."""
    if bool(new["alpha_id"]) != bool(old.get("alpha_id")):
        return bool(new["alpha_id"])
    then = old.get("timestamp")
    if isinstance(then, bool) or not isinstance(then, int | float):
        return False
    return _same_settings(old, new) and then <= new["timestamp"]


def _covers(old: Row, new: Row) -> bool:
    """Return True if an old row that stays leaves no place for a new one beside it."""
    return bool(old.get("alpha_id")) > bool(new["alpha_id"]) or _same_settings(old, new)


def _same_settings(old: Row, new: Row) -> bool:
    """Return True if the user's settings are the same, or those of the old row are not known."""
    return not isinstance(old.get("settings"), dict) or _chosen(old) == _chosen(new)


def _chosen(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row["settings"].items() if name not in BASIS}


def hopeful_row(evaluated: Evaluated) -> dict[str, Any]:
    """Return an alpha's row; `timestamp` is Unix seconds."""
    if evaluated.performance is None:
        raise ValueError("an evaluation without figures is not hopeful")
    figures = evaluated.performance.figures()
    return {
        "expression": evaluated.candidate.expression,
        "timestamp": int(evaluated.time),
        "alpha_id": evaluated.performance.alpha_id,
        "fitness": figures["fitness"],
        "sharpe": figures["sharpe"],
        "turnover": figures["turnover"],
        "returns": figures["returns"],
        "grade": evaluated.performance.grade,
        "checks": [dict(check) for check in evaluated.performance.checks],
        "settings": dict(evaluated.settings),
    }
