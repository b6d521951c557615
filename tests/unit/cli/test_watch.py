"""The live view: its parts are pure, and the application fits 80 by 24, asks first and ends at Ctrl-C."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from cli.subcommand import CommandResult
from cli.target import Fleet
from cli.watch import app as view
from cli.watch import panels
from cli.watch.app import Look, Question, WatchApp
from fleet.config.schema import Settings
from fleet.policy.events import Event, EventKind
from fleet.runtime.home import Home

NOW = 2_000_000_000.0
EVIL = "[red]x[/red]\x1b[2J"


def row(**values: Any) -> dict[str, Any]:
    return {
        "current_model": {"name": "b:1", "index": 1}, "fleet_size": 3, "vram_error_count": 2, "max_vram_errors": 3,
        "profile": "embedded", "faults": [], "ladder": ["a:1", "b:1", EVIL], "pinned": True,
        "switch": {"to": 2, "kind": "downgrade", "phase": "restart"}, "hold": None,
        "recovery": {"next": NOW + 90, "why": "x"}, "gpu_memory": {"used_bytes": 7 << 20, "models": []},
        "programs": {"monitor": {"state": "RUNNING"}, "generator": {"state": "FATAL"}},
        "generator": {"totals": {"calls": 5, "kept": 1}, "counters": {"generation_tokens": {"b:1": 100}}},
        "recent_alphas": [{"sharpe": 1.5, "source": "stand-in", "expression": EVIL + "y" * 300}], **values,
    }  # fmt: skip


EVENTS = [
    Event(1, NOW - 50, EventKind.SWITCH_COMMITTED, {"switch": "downgrade", "to": "b:1"}),
    Event(2, NOW - 10, EventKind.PULL_STARTED, {"model": "c:1", "why": EVIL + "z" * 300}),
]


@pytest.mark.parametrize(
    "text",
    [
        panels.title(row()), panels.ladder_lines(row(), NOW), panels.memory(row(), [(NOW, 1)], EVENTS, 20),
        panels.work(row(), 3.0, ["pull"], 78), panels.event_lines(EVENTS, 5, 78),
    ],
)  # fmt: skip
def test_no_text_steers_the_terminal_or_the_styles(text: Any) -> None:
    assert "\x1b" not in text.plain
    assert all(len(line) <= 100 for line in text.plain.splitlines())


def test_the_ladder_shows_here_the_pin_and_the_switch() -> None:
    lines = panels.ladder_lines(row(), NOW).plain.splitlines()
    assert lines[1].startswith("▶ b:1 pinned")
    assert "downgrade, restart" in lines[2]
    assert lines[-1] == "next try up in 1m 30s"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hold": {"until": NOW + 60, "why": "no memory"}}, "held for 1m: no memory"),
        ({"pause": {"until": None}}, "paused until resumed"),
        ({"pause": {"until": NOW + 120}}, "paused for 2m"),
        ({"recovery": {"next": None, "why": "this is the largest model"}}, "this is the largest model"),
    ],
)
def test_what_the_fleet_waits_for(values: dict[str, Any], said: str) -> None:
    assert panels.next_up(row(**values), NOW) == said


@pytest.mark.parametrize(
    ("samples", "switched", "line", "marks"),
    [
        ([(1.0, 8), (2.0, 4), (3.0, None), (4.0, 0)], [2.5], "█▄ ▁", "  ▲"),
        ([(1.0, None)], [], " ", ""),
        ([], [1.0], "", ""),
        ([(float(n), n) for n in range(1, 30)], [], "▇▇▇▇██", ""),
    ],
)
def test_the_line_of_memory(samples: Any, switched: list[float], line: str, marks: str) -> None:
    assert panels.history_line(samples, switched, 6) == (line, marks)


def test_a_pull_has_a_bar_where_its_progress_is_known() -> None:
    assert panels.pull_lines(row(), EVENTS) == ["pull of c:1 under way"]
    known = row(pull={"model": "c:1", "completed_bytes": 50 << 20, "total_bytes": 100 << 20})
    [line] = panels.pull_lines(known, EVENTS)
    assert "██████████░░░░░░░░░░  50% of 100 MB" in line
    assert (
        "under way"
        in panels.pull_lines(row(pull={"model": "c:1", "completed_bytes": 1, "total_bytes": 0}), [])[0]
    )


def run_app(
    tmp_path: Path, course: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[WatchApp, list[tuple[str, ...]]]:
    done: list[tuple[str, ...]] = []

    async def command(_home: Home, *arguments: str) -> Any:
        done.append(arguments)
        return CommandResult(done=True, sentence="done")

    monkeypatch.setattr(view, "run_command", command)
    fleet = Fleet(Home(tmp_path), Settings(), None)
    looks = iter(range(10_000))

    def see(_fleet: Fleet) -> Look:
        return Look(time.time() + next(looks), row(), EVENTS)

    app = WatchApp(fleet, interval=0.05, actions=["downgrade", "reset", "pause", "resume"], see=see)

    async def whole() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause(0.2)
            await course(app, pilot)

    asyncio.run(whole())
    return app, done


def test_an_action_asks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def course(app: WatchApp, pilot: Any) -> None:
        await pilot.press("d")
        assert isinstance(app.screen, Question)
        await pilot.press("n")
        assert not isinstance(app.screen, Question)
        await pilot.press("p", "y")
        await pilot.pause(0.1)

    _, done = run_app(tmp_path, course, monkeypatch)
    assert done == [("pause",)]


def test_all_parts_fit_on_80_by_24(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def course(app: WatchApp, _pilot: Any) -> None:
        for name in ("#title", "#ladder", "#memory", "#work", "#events"):
            region = app.query_one(name).region
            assert region.height > 0, name
            assert region.bottom <= 24, name
            assert region.right <= 80, name
        assert app.query_one("#events").region.height >= 5

    run_app(tmp_path, course, monkeypatch)


def test_a_look_that_comes_as_the_view_ends_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Look(time.time(), row(), EVENTS)

    async def course(app: WatchApp, _pilot: Any) -> None:
        await app.screen.remove_children()
        app.show(late)

    app, _ = run_app(tmp_path, course, monkeypatch)
    app.show(late)  # after the end


def test_ctrl_c_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def course(app: WatchApp, pilot: Any) -> None:
        await pilot.press("ctrl+c")
        await pilot.pause(0.1)
        assert not app.is_running

    app, _ = run_app(tmp_path, course, monkeypatch)
    assert app.return_code == 0
