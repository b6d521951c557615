"""Wrong lines for the policy, each of which the search has to find."""

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType


@dataclass(frozen=True, slots=True)
class SeededFault:
    """A piece of a module's text and the wrong one; `rungs` and `flags` are the rules under which it shows."""

    module: str
    right: str
    wrong: str
    rungs: int = 1
    flags: tuple[str, ...] = ()


_CPU = ("on_exhausted=cpu", "threshold=1")

SEEDED_FAULTS = (
    SeededFault("decide", "if call.switches != state.switches:", "if call.switches > state.switches:", 2),
    SeededFault("decide", "if switch is None or switch.number != fact.switch:", "if switch is None:", 2),
    SeededFault(
        "decide",
        "return state.switch is None and not state.pinned and",
        "return state.switch is None and",
    ),
    SeededFault("decide", "    top = state.top\n", "    top = 0\n", 2, ("on_exhausted=reset", "threshold=1")),
    SeededFault("decide", "    if fact.passed:\n", "    if not fact.passed:\n", 2),
    SeededFault("decide", "last_finished=finished, hold=None)", "last_finished=finished, hold=state.hold)"),
    SeededFault(
        "decide",
        'rules.policy.on_spill == "downgrade" and _may_move',
        "_may_move",
        2,
        ("on_spill=report",),
    ),
    SeededFault(
        "decide",
        "    if ended or isinstance(fact, (IncidentSeen, Tick)):",
        "    if ended or isinstance(fact, Tick):",
    ),
    SeededFault("decide", "if ended or isinstance", "if isinstance", 2, ("threshold=1",)),
    SeededFault(
        "decide",
        "        return _verify_failed(state, now, rules)\n    #",
        "        return state\n    #",
        1,
        _CPU,
    ),
    SeededFault(
        "operator_commands",
        "replace(state, pinned=False, ceiling=None)\n",
        "replace(state, pinned=False)\n",
        2,
    ),
    SeededFault(
        "operator_commands", "pinned=False, ceiling=None, switch=switch)", "pinned=False, switch=switch)", 2
    ),
    SeededFault(
        "operator_commands",
        "vram_error_count=0, ceiling=ceiling, hold=None, displaced=None",
        "vram_error_count=0, ceiling=ceiling, displaced=None",
    ),
    SeededFault(
        "incident_count", "if incident.id and incident.id in", "if not incident.id and incident.id in"
    ),
    SeededFault("incident_count", "incident.time < last.time - _STAMP_ERROR", "incident.time < 0.0"),
    SeededFault("incident_count", "return max(in_window, in_row)", "return min(in_window, in_row)"),
    SeededFault(
        "incident_count",
        "vram_error_count < rules.threshold(rung)",
        "vram_error_count <= rules.threshold(rung)",
    ),
    SeededFault(
        "recovery",
        "(recovery.wait or policy.recover_after) * 2)",
        "recovery.wait or policy.recover_after)",
        1,
        _CPU,
    ),
    SeededFault("caps", "replace(moving, displaced=home)", "moving", 2, ("hours",)),
    SeededFault("switch_phases", "displaced=None if stayed else home", "displaced=home", 2, ("hours",)),
    SeededFault(
        "caps", "if state.current_model_index >= cap:", "if cap < len(rules.ladder):", 2, ("reserve",)
    ),
    SeededFault("operator_commands", "if target.index >= cap or", "if target.index >= 0 or", 2, ("hours",)),
    SeededFault("switch_phases", "switches=state.switches + 1,", "switches=state.switches,", 2),
    SeededFault(
        "switch_phases",
        "        finished=0,\n        failed=0,\n",
        "        finished=0,\n        failed=state.failed,\n",
        2,
        ("min_fail_share=0.5",),
    ),
    SeededFault("switch_phases", "restarting=not switch.was_stopped,", "restarting=False,", 2),
    SeededFault(
        "switch_phases",
        "pinned=switch.pin or (state.pinned and not switch.by_hand),",
        "pinned=switch.pin or state.pinned,",
        2,
    ),
    SeededFault(
        "switch_phases",
        "    if not switch.by_hand:\n        return state.ceiling",
        "    if not switch.by_hand:\n        return None",
        2,
        _CPU,
    ),
    SeededFault("switch_phases", "sum(time > now - HOUR for", "sum(time > now for", 1, _CPU),
    SeededFault(
        "switch_phases",
        "if now - switch.failed_at < VERIFY_RETRY:",
        "if now - switch.failed_at > VERIFY_RETRY:",
        1,
        _CPU,
    ),
    SeededFault(
        "switch_phases",
        "switch.by_hand and switch.kind is not SwitchKind.RESET\n",
        "switch.by_hand and switch.kind is SwitchKind.RESET\n",
        2,
    ),
)


@contextlib.contextmanager
def planted(fault: SeededFault) -> Iterator[None]:
    """Give the policy's functions the code of the wrong text; the modules that imported them have it too."""
    module = importlib.import_module(f"fleet.policy.{fault.module}")
    text = inspect.getsource(module)
    if text.count(fault.right) != 1:
        raise ValueError(f"{fault.module} does not hold this text once: {fault.right}")
    wrong: dict[str, object] = {"__name__": module.__name__}
    exec(compile(text.replace(fault.right, fault.wrong), f"<{fault.module}>", "exec"), wrong)
    right = {}
    for name, function in vars(module).items():
        other = wrong.get(name)
        own = isinstance(function, FunctionType) and function.__module__ == module.__name__
        if own and isinstance(function, FunctionType) and isinstance(other, FunctionType):
            right[function] = function.__code__
            function.__code__ = other.__code__
    try:
        yield
    finally:
        for function, code in right.items():
            function.__code__ = code
