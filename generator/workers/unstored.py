"""File of the finished calls that a program could not store before its end; the next start stores them."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from fleet.runtime.atomic_write import replace_text
from fleet.runtime.logging import fields
from fleet.runtime.untrusted import parse_json
from generator.domain import CallRecord

_log = logging.getLogger(__name__)


class UnstoredCalls:
    """The file; it exists only while calls wait."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, calls: Iterable[CallRecord]) -> bool:
        """Add calls to the file; return False if they cannot be written."""
        kept = {call.id: call for call in (*self.read(), *calls)}
        if not kept:
            return True
        try:
            replace_text(self._path, json.dumps([asdict(call) for call in kept.values()]) + "\n")
        except OSError as error:
            _log.error("intake.unkept", extra=fields(calls=len(kept), error=error.strerror))
            return False
        _log.info("intake.kept", extra=fields(calls=len(kept), path=self._path))
        return True

    def read(self) -> Sequence[CallRecord]:
        """Return the calls of the file, without those that cannot be read."""
        from state.codec import from_json  # noqa: PLC0415  # after the first request

        try:
            rows = parse_json(self._path.read_bytes())
        except (OSError, ValueError):
            return ()
        calls = (from_json(CallRecord, row) for row in (rows if isinstance(rows, list) else ()))
        return [call for call in calls if call is not None]

    def clear(self) -> None:
        """Remove the file: all of its calls are stored."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.error("intake.uncleared", extra=fields(path=self._path, error=error.strerror))
