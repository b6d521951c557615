import json
from pathlib import Path

import pytest

from fleet.config.schema import GeneratorSettings, PanelSettings, Settings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import Home
from generator.domain import Source
from generator.evaluators.brain import BrainPlan
from generator.evaluators.local import LocalPlan
from generator.evaluators.screen import ScreenPlan
from generator.evaluators.select import Plan, evaluator_kind, plan_evaluator


@pytest.mark.parametrize(
    ("wanted", "account", "panel", "kind"),
    [
        ("auto", False, False, "local"),
        ("auto", False, True, "local"),
        ("auto", True, False, "brain"),
        ("auto", True, True, "screen"),
        ("local", True, True, "local"),
        ("brain", True, True, "brain"),
        ("screen", False, False, "screen"),
    ],
)
def test_kinds(wanted: str, account: bool, panel: bool, kind: str) -> None:
    assert evaluator_kind(wanted, account=account, panel=panel) == kind


def plan(folder: Path, wanted: str, *, account: bool = True, panel: str = "", standin: bool = False) -> Plan:
    if account:
        (folder / "credential.txt").write_text(json.dumps(["me@x.org", "hunter2"]))
    settings = Settings(generator=GeneratorSettings(evaluator=wanted), panel=PanelSettings(path=panel))
    return plan_evaluator(settings, Home(folder), {}, config=folder / "fleet.toml", standin=standin)


def test_plans(tmp_path: Path) -> None:
    assert isinstance(plan(tmp_path, "auto"), BrainPlan)
    screen = plan(tmp_path, "auto", panel="mine.csv")
    assert isinstance(screen, ScreenPlan)
    assert (screen.rules.source, screen.brain.rules.source) == (Source.PANEL, Source.BRAIN)
    assert isinstance(plan(tmp_path, "local"), LocalPlan)


@pytest.mark.parametrize("wanted", ["auto", "local", "brain", "screen"])
def test_a_stand_in_fleet_has_no_plan_that_knows_brain(tmp_path: Path, wanted: str) -> None:
    found = plan(tmp_path, wanted, panel="mine.csv", standin=True)
    assert isinstance(found, LocalPlan)
    assert found.source is Source.STANDIN


@pytest.mark.parametrize("wanted", ["brain", "screen"])
def test_without_credentials_there_is_no_brain(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(ConfigError, match="BRAIN needs credentials") as caught:
        plan(tmp_path, wanted, account=False, panel="mine.csv")
    assert "FLEET_BRAIN_EMAIL" in caught.value.hint


def test_a_screen_needs_a_panel_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a panel of your own"):
        plan(tmp_path, "screen")


def test_a_plan_shows_no_secret(tmp_path: Path) -> None:
    assert "hunter2" not in repr(plan(tmp_path, "brain"))
