"""The generator's calls to Ollama, as it reports them in `signals.jsonl`."""

from dataclasses import dataclass

from fleet.runtime.units import Seconds
from fleet.runtime.untrusted import finite, parse_json, printable, whole_number

_CALL = {"id", "started", "ended", "model", "switches", "status", "error"}
_NO_SWITCH = -1
_VERSION_LIMIT = 40


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A line of `signals.jsonl`: one call of the generator to Ollama. `seconds` is its monotonic duration."""

    id: str
    started: float
    ended: float
    model: str
    switches: int
    status: int
    error: str
    seconds: Seconds
    rate: float | None = None
    version: str = ""

    @property
    def answered(self) -> bool:
        """Return True if Ollama answered."""
        return not self.error


def parse_call(text: str, now: float) -> ApiCall:
    """Return the call in a line; raise ValueError if the line is truncated or holds no call.

    An unreadable value counts as missing: the call has ended now, belongs to no switch, and names no model.
    """
    row = parse_json(text)
    if not isinstance(row, dict) or not row.keys() >= _CALL:
        raise ValueError("the line holds no call of the generator")
    ended = _moment(row["ended"], now)
    switches, started = whole_number(row["switches"]), _moment(row["started"], ended)
    seconds = finite(row.get("seconds"))
    return ApiCall(
        id=str(row["id"]),
        started=started,
        ended=ended,
        model=row["model"] if isinstance(row["model"], str) else "",
        switches=_NO_SWITCH if switches is None else switches,
        status=whole_number(row["status"]) or 0,
        error=str(row["error"] or ""),
        seconds=ended - started if seconds is None or seconds < 0 else seconds,
        rate=finite(row.get("rate")),
        version=printable(str(row.get("version") or ""), _VERSION_LIMIT),
    )


def _moment(value: object, latest: float) -> float:
    """Return a time from outside; `latest` if it is later or unreadable."""
    time = finite(value)
    return latest if time is None else min(max(time, 0.0), latest)
