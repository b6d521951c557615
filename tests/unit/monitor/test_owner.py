"""What the loop decides under the lock, where another process wrote the state while it was reading lines."""

from dataclasses import replace

import pytest

from fleet.config.schema import SEED_LADDER, PolicySettings
from fleet.policy.decide import decide
from fleet.policy.facts import Command
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchKind
from monitor import ingest
from monitor.inbox import GeneratorRuns
from monitor.ingest import LOG, Context, absorb_fact, deciding
from monitor.sources.base import LogLine
from tests.reference.histories import running
from tests.reference.ollama_log import DETECTOR, T0

RULES = Rules(SEED_LADDER, replace(PolicySettings(), threshold=1))
CONTEXT = Context(T0, RULES, DETECTOR)
FAILURE = [LogLine("CUDA error: out of memory", T0)]


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[FleetState]:
    """Return the states on which lines were grouped."""
    found, real = list[FleetState](), ingest.read_batch

    def reading(state: FleetState, *given: object) -> ingest.Findings:
        found.append(state)
        return real(state, *given)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(ingest, "read_batch", reading)
    return found


def test_a_command_that_came_meanwhile_stands_and_the_lines_count(readings: list[FleetState]) -> None:
    before = running(RULES)
    change = deciding(before, LOG, FAILURE, CONTEXT)
    asked = decide(before, Command(SwitchKind.USE, 3), T0, RULES).state
    after = change(asked)
    assert after.switch == asked.switch, "the threshold begins no other switch"
    assert after.vram_error_count == 1
    assert change(before).switch is not None, "without the command it begins one"
    assert readings == [before], "the lines are grouped once, without the lock"


def test_lines_are_grouped_again_if_another_model_was_committed_meanwhile(readings: list[FleetState]) -> None:
    before = running(RULES)
    change = deciding(before, LOG, FAILURE, CONTEXT)
    moved = replace(running(RULES, 1), switches=1)
    change(moved)
    assert readings == [before, moved]


def test_a_generator_that_runs_ends_a_restart_that_was_cut_short_and_no_later_one() -> None:
    state = replace(running(RULES), switches=7, restarting=True)
    assert not absorb_fact(state, GeneratorRuns(7), CONTEXT).restarting
    assert absorb_fact(state, GeneratorRuns(6), CONTEXT).restarting
