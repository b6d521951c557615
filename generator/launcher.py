"""Launcher of the generator: puts the state's model into the environment and execs the generator.

supervisord runs this as `python -S -I generator/launcher.py` at each start of the generator, also after a crash. The
first request waits for the launcher, which therefore imports only light parts of the standard library. With -S and -I,
`generator` and `fleet` cannot be imported. Damaged files are skipped with a line on standard error: a failing launcher
would be restarted without end.

    FLEET_MODEL          the model's tag
    FLEET_MODEL_OPTIONS  its rung's Ollama options, as JSON
    FLEET_RUNG           the rung's index
    FLEET_SWITCHES       the number of the switch that led here
    FLEET_LANE           the lane's name, `default` without lanes

supervisord has no back-off for a generator that dies repeatedly after it counts as started. The launcher has one.
`run/starts.json` counts starts in quick succession, and each further start waits longer. A switch resets the count.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # pathlib costs 5 ms
SEED = "llama3.2:3b"
_MODEL_LIMIT = 512
_PR_SET_PDEATHSIG = 1
_QUICK_LIFETIME = 3.0
_FREE_STARTS = 4
_LONGEST_WAIT = 5.0


def assignment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables above, from the state, else for the ladder's first rung."""
    home = _home(environ)
    state = _state(os.path.join(home, "model_fleet_state.json"))  # noqa: PTH118
    model = _model(state.get("current_model"))
    index = _count(state.get("current_model_index"))
    options = state.get("current_options")
    if model is None or not isinstance(options, dict):
        ladder = _ladder(home, environ)
        rung = _rung(ladder, model, index)
        if model is None:
            model, index = _model(rung.get("model")) or SEED, ladder.index(rung) if rung in ladder else 0
        options = rung.get("options")
    return {
        "FLEET_MODEL": model,
        "FLEET_MODEL_OPTIONS": _options(options),
        "FLEET_RUNG": str(index),
        "FLEET_SWITCHES": str(_count(state.get("switches"))),
        "FLEET_LANE": _lane(environ) or "default",
    }


def _lane(environ: Mapping[str, str]) -> str:
    """Return the lane's name, empty for `default`."""
    lane = environ.get("FLEET_LANE", "")
    return "" if lane == "default" else lane


def _home(environ: Mapping[str, str]) -> str:
    home = os.path.expanduser(environ.get("FLEET_HOME") or os.path.join(ROOT, "var"))  # noqa: PTH111, PTH118
    return os.path.join(home, "lanes", _lane(environ)) if _lane(environ) else home  # noqa: PTH118


def _state(path: str) -> "dict[str, object]":
    """Return the state, its backup if it is damaged, an empty one without either."""
    for candidate in (path, path + ".bak"):
        try:
            with open(candidate, "rb") as stream:  # noqa: PTH123
                state = json.load(stream)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            _warn(f"{candidate} cannot be used: {error}")
            continue
        if isinstance(state, dict) and _model(state.get("current_model")) is not None:
            return state
        if isinstance(state, dict) and "current_model_index" in state:
            return state
        _warn(f"{candidate} cannot be used: it names no model")
    return {}


def _model(value: object) -> "str | None":
    good = isinstance(value, str) and 0 < len(value) <= _MODEL_LIMIT and value.isprintable()
    return value if good and isinstance(value, str) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _options(value: object) -> str:
    try:
        return json.dumps(value if isinstance(value, dict) else {})
    except (TypeError, ValueError):  # TOML has dates, Ollama's options have none
        return "{}"


def _ladder(home: str, environ: Mapping[str, str]) -> "list[dict[str, object]]":
    """Return the configuration's rungs; none if it has none or cannot be read."""
    import tomllib  # noqa: PLC0415  # 10 ms that a state with its options does not need

    path = environ.get("FLEET_CONFIG") or _started_with(home) or os.path.join(ROOT, "fleet.toml")  # noqa: PTH118
    try:
        with open(os.path.expanduser(path), "rb") as stream:  # noqa: PTH111, PTH123
            settings = tomllib.load(stream)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        _warn(f"{path} cannot be used: {error}")
        return []
    return _rungs(settings, _lane(environ))


def _rungs(settings: "dict[str, object]", lane: str) -> "list[dict[str, object]]":
    """Return the rungs of a lane: those of its own ladder, where a text names the fleet's of that model."""
    fleet, lanes = _tables(settings.get("ladder")), _tables(settings.get("lane"))
    own = next((one.get("ladder") for one in lanes if lane and one.get("name") == lane), None)
    if not isinstance(own, list):
        return fleet
    found: list[dict[str, object]] = []
    for row in own:
        named = [rung for rung in fleet if rung.get("model") == row] if isinstance(row, str) else []
        found += named or _tables([{"model": row} if isinstance(row, str) else row])
    return found


def _tables(value: object) -> "list[dict[str, object]]":
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _started_with(home: str) -> str:
    try:
        with open(os.path.join(home, "run", "fleet.json"), "rb") as stream:  # noqa: PTH118, PTH123
            path = json.load(stream).get("config")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return path if isinstance(path, str) else ""


def _rung(ladder: "list[dict[str, object]]", model: "str | None", index: int) -> "dict[str, object]":
    """Return this model's rung nearest to the index, without a model the rung at the index; else {}."""
    if model is None:
        return ladder[index] if index < len(ladder) else (ladder[0] if ladder else {})
    same = [position for position, rung in enumerate(ladder) if rung.get("model") == model]
    return ladder[min(same, key=lambda position: abs(position - index))] if same else {}


def start_backoff(quick: int) -> float:
    """Return the seconds that a start waits after this many quick starts in a row.

    Four are free; then the wait doubles from half a second up to five seconds.
    """
    return 0.0 if quick < _FREE_STARTS else min(0.5 * 2.0 ** min(quick - _FREE_STARTS, 10), _LONGEST_WAIT)


def quick_starts(last: object, switches: str, now: float) -> int:
    """Return the number of quick starts in a row, this one included; `last` is the last start's row."""
    if not isinstance(last, dict) or last.get("switches") != switches:
        return 0
    began, quick = last.get("began"), _count(last.get("quick"))
    lifetime = now - began if isinstance(began, float) else float("inf")
    return quick + 1 if -_LONGEST_WAIT <= lifetime <= _QUICK_LIFETIME else 0


def _back_off(home: str, switches: str) -> None:
    path = os.path.join(home, "run", "starts.json")  # noqa: PTH118
    last = None
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            last = json.load(stream)
    except (OSError, ValueError, RecursionError):
        pass
    now = time.time()
    quick = quick_starts(last, switches, now)
    wait = start_backoff(quick)
    try:
        with open(path + ".new", "w", encoding="utf-8") as stream:  # noqa: PTH123
            json.dump({"switches": switches, "began": now + wait, "quick": quick}, stream)
        os.replace(path + ".new", path)  # noqa: PTH105
    except OSError:
        pass  # no back-off without a writable home, which the generator reports
    if wait:
        _warn(f"the generator ended soon after each of its last {quick} starts; waiting {wait:g}s")
        time.sleep(wait)


def _warn(text: str) -> None:
    line = "".join(part if part.isprintable() else " " for part in text)
    sys.stderr.write(f"launcher: {line}\n")


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when supervisord dies; the setting survives exec."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  # not there on every platform's Python

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def main() -> None:
    """Set the environment, wait for the back-off and exec the generator."""
    try:
        chosen = assignment(os.environ)
    except Exception as error:  # noqa: BLE001  # the generator starts whatever the files hold
        _warn(f"the state could not be used ({type(error).__name__}: {error}); starting on {SEED}")
        chosen = {
            "FLEET_MODEL": SEED,
            "FLEET_MODEL_OPTIONS": "{}",
            "FLEET_RUNG": "0",
            "FLEET_SWITCHES": "0",
            "FLEET_LANE": _lane(os.environ) or "default",
        }
    _end_with_parent()
    _back_off(_home(os.environ), chosen["FLEET_SWITCHES"])
    python = os.environ.get("FLEET_PYTHON") or sys.executable
    os.chdir(ROOT)
    try:
        os.execve(python, [python, "-m", "generator"], {**os.environ, **chosen})  # noqa: S606  # exec, no shell
    except OSError as error:
        _warn(f"{python} cannot be started: {error.strerror}; FLEET_PYTHON names the interpreter")
        sys.exit(1)


if __name__ == "__main__":
    main()
