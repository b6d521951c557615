"""Which events and looks begin and end a condition, and what a notice says."""

from dataclasses import replace
from typing import Any

import pytest

from fleet.config.schema import NOTICES, SEED_LADDER
from fleet.policy.events import Event, EventKind
from fleet.policy.state import FleetState, Hold, Unanswered
from notifier.notices import (
    BEGUN,
    OVER,
    Condition,
    Notice,
    NoticeLedger,
    after_event,
    after_look,
    conditions,
    wanted,
)
from state.codec import default_state

NOW = 1_000_000.0
STATE = default_state(SEED_LADDER, NOW)
CALM: dict[str, Any] = {"programs": {}, "hold": None, "faults": []}


def event(kind: EventKind, number: int = 7, **values: Any) -> Event:
    return Event(number, NOW, kind, values)


@pytest.mark.parametrize(
    ("kind", "values", "notice"),
    [
        (EventKind.HELD, {"seconds": 60.0, "why": "no smaller model"}, "held"),
        (EventKind.GPU_LOST, {"reason": "restart Ollama", "models": ["a"]}, "gpu_lost"),
        (EventKind.OLLAMA_HANGS, {"reason": "no answer"}, "ollama_hangs"),
        (EventKind.UNANSWERED, {"seconds": 5.0, "calls": 3, "reason": "EOF"}, "unanswered"),
        (EventKind.SOURCE_AWAY, {"source": "file:x", "reason": "no such file"}, "log_away"),
        (
            EventKind.LINE_SKIPPED,
            {"source": "log", "lines": 1, "error": "ValueError", "line": "x"},
            "lines_skipped",
        ),
        (EventKind.SPILL, {"model": "a", "share": 0.4, "outcome": "reported"}, "spill"),
        (
            EventKind.SLOW,
            {"model": "a", "rate": 9.0, "usual": 40.0, "version": "", "version_before": ""},
            "slow",
        ),
    ],
)
def test_an_event_begins_its_condition(kind: EventKind, values: dict[str, Any], notice: str) -> None:
    ledger, (first,) = after_event(NoticeLedger(), event(kind, 7, **values))
    assert (first.kind, first.state, first.number, first.id) == (notice, BEGUN, 7, "event-7")
    ledger, again = after_event(ledger, event(kind, 8, **values))
    repeated = notice in {"held", "lines_skipped"}
    assert [one.id for one in again] == ([] if repeated else ["event-7-over", "event-8"])
    assert ledger.cursor == 8
    assert len(ledger.open) == 1


@pytest.mark.parametrize("kind", [EventKind.SWITCH_DONE, EventKind.PULL_STARTED, EventKind.ANSWERED])
def test_other_events_give_no_notice(kind: EventKind) -> None:
    ledger, notices = after_event(NoticeLedger(), event(kind))
    assert notices == []
    assert ledger == NoticeLedger(cursor=7)


def test_a_hold_carries_the_last_incidents_log_line_made_printable_and_short() -> None:
    ledger, _ = after_event(
        NoticeLedger(), event(EventKind.INCIDENT, 1, lines=["first", "cudaMalloc \x1b[31m" + "x" * 900])
    )
    _, (notice,) = after_event(ledger, event(EventKind.HELD, 2, seconds=60.0, why="no smaller model"))
    assert notice.line.startswith("cudaMalloc \\x1b[31mxxx")
    assert len(notice.line) == 300
    assert "Log: cudaMalloc" in notice.body()
    assert "Mend: " in notice.body()


def test_a_condition_is_over_when_a_look_no_longer_finds_it() -> None:
    ledger, (_,) = after_event(
        NoticeLedger(), event(EventKind.UNANSWERED, 7, seconds=5.0, calls=3, reason="EOF")
    )
    standing = conditions(replace(STATE, unanswered=Unanswered(NOW, 3, "EOF", reported=True)), CALM, "")
    ledger, none = after_look(ledger, standing, NOW + 1)
    assert none == []
    ledger, over = after_look(ledger, conditions(STATE, CALM, ""), NOW + 90)
    assert [(one.id, one.state, one.number) for one in over] == [("event-7-over", OVER, 7)]
    assert "after 90s" in over[0].text or "1m" in over[0].text
    assert after_look(ledger, {}, NOW + 100) == (ledger, [])


def test_a_look_alone_begins_only_what_no_event_reports() -> None:
    row = {
        **CALM,
        "programs": {"monitor": {}},
        "faults": [
            {"part": "monitor", "detail": "it is FATAL", "hint": "see the log"},
            {"part": "brain", "detail": "the password is wrong", "hint": ""},
            {"part": "replies", "detail": "nothing usable", "hint": ""},
            {"part": "calls", "detail": "no answer", "hint": ""},
        ],
    }
    held = replace(STATE, hold=Hold(NOW + 60, 0, "no smaller model"))
    ledger, notices = after_look(NoticeLedger(), conditions(held, row, "1 MB are free in /x"), NOW)
    kinds = sorted(one.kind for one in notices)
    assert kinds == ["brain_login", "disk_full", "program_failed", "unusable"]
    assert [one.text for one in notices if one.kind == "program_failed"] == ["monitor: it is FATAL"]
    assert after_look(ledger, conditions(held, row, "1 MB are free in /x"), NOW + 10)[1] == []
    assert {one.state for one in after_look(ledger, {}, NOW + 20)[1]} == {OVER}


def test_two_programs_fail_apart() -> None:
    both = {name: Condition("program_failed", name, "x") for name in ("monitor", "generator")}
    ledger, notices = after_look(NoticeLedger(), {one.key: one for one in both.values()}, NOW)
    assert len({one.id for one in notices}) == 2
    _, over = after_look(ledger, {both["monitor"].key: both["monitor"]}, NOW + 5)
    assert [one.id for one in over] == [f"program_failed:generator-{round(NOW)}-over"]


@pytest.mark.parametrize(
    ("state", "key"),
    [
        (replace(STATE, hold=Hold(NOW - 5, 1, "expired, and no call answered since")), "held"),
        (replace(STATE, watch={"spill": {"lost_told": True}}), "gpu_lost"),
        (replace(STATE, watch={"spill": {"told": True}}), "spill"),
        (replace(STATE, watch={"speed": {"a": {"reported": True}}}), "slow"),
        (replace(STATE, watch={"spill": None, "source_away": {"since": 1.0}}), "log_away"),
        (replace(STATE, unanswered=Unanswered(NOW, 1, "x", hangs=True)), "ollama_hangs"),
    ],
)
def test_the_state_says_what_holds(state: FleetState, key: str) -> None:
    assert set(conditions(state, CALM, "")) == {key}


@pytest.mark.parametrize("kind", NOTICES)
def test_each_kind_of_the_setting_is_wanted_and_can_be_left_out(kind: str) -> None:
    notice = Notice("x", kind, BEGUN, NOW, "text")
    assert wanted(notice, list(NOTICES))
    assert not wanted(notice, [one for one in NOTICES if one != kind])


def test_unusable_replies_go_by_the_setting_unanswered() -> None:
    assert wanted(Notice("x", "unusable", BEGUN, NOW, "text"), ["unanswered"])
    assert not wanted(Notice("x", "unusable", BEGUN, NOW, "text"), ["held"])


def test_a_title_names_host_kind_and_id() -> None:
    notice = Notice("event-3", "gpu_lost", OVER, NOW, "text", number=3)
    assert notice.title("box") == "Model Fleet on box: gpu lost is over [event-3]"
    assert notice.row("box")["number"] == 3


def test_a_notice_of_a_lane_names_it_and_its_id_is_of_this_lane_alone() -> None:
    notice = Notice("event-3", "held", BEGUN, NOW, "text", number=3)
    assert notice.of_lane("") == notice
    assert "lane" not in notice.row("box")
    own = notice.of_lane("gpu1")
    assert own.title("box") == "Model Fleet on box, lane gpu1: held [gpu1-event-3]"
    assert (own.row("box")["lane"], own.row("box")["id"]) == ("gpu1", "gpu1-event-3")
