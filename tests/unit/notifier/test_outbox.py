"""The outbox: order, retries, places that come and go, and what a file gives back."""

from pathlib import Path

import pytest

from notifier.notices import BEGUN, Notice, NoticeLedger, OpenCondition
from notifier.outbox import RETRIED_FOR, NoticeBox, NoticeDelivery, read_outbox, write_outbox

NOW = 1_000_000.0
PLACES = [("a", "urls[0] (json)"), ("b", "command")]


def notice(number: int) -> Notice:
    return Notice(f"event-{number}", "held", BEGUN, NOW, "text", number=number)


def test_each_place_gets_its_notices_in_order_and_waits_for_no_other() -> None:
    box = NoticeBox().with_notices([notice(1), notice(2)], PLACES)
    first = box.due(NOW, [])
    assert [(one.place, one.notice.number) for one in first] == [("a", 1), ("b", 1)]
    assert [one.place for one in box.due(NOW, ["a"])] == ["b"]
    box = box.after(first[1], "", NOW)
    assert [(one.place, one.notice.number) for one in box.due(NOW, [])] == [("a", 1), ("b", 2)]


def test_a_failed_delivery_waits_ever_longer_and_keeps_its_reason() -> None:
    box = NoticeBox().with_notices([notice(1)], PLACES[:1])
    waits, now = [], NOW
    for _ in range(10):
        (one,) = box.due(now, [])
        box = box.after(one, "no route", now)
        waits.append(box.waiting[0].due - now)
        now = box.waiting[0].due
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert box.waiting[0].reason == "no route"
    assert box.due(now - 1, []) == []


def test_a_notice_is_given_up_after_a_day_and_remembered() -> None:
    box = NoticeBox().with_notices([notice(1)], PLACES[:1])
    (one,) = box.due(NOW, [])
    box = box.after(one, "no route", NOW + RETRIED_FOR)
    assert box.waiting == ()
    assert [(lost.notice.id, lost.reason) for lost in box.lost] == [("event-1", "no route")]


def test_the_outbox_is_bounded_and_drops_the_oldest() -> None:
    box = NoticeBox().with_notices([notice(number) for number in range(1500)], PLACES[:1])
    assert len(box.waiting) == 1000
    assert box.waiting[0].notice.number == 500
    assert box.lost[-1].notice.number == 499
    assert len(box.lost) == 20


def test_a_place_that_is_no_longer_configured_gets_nothing() -> None:
    box = NoticeBox().with_notices([notice(1)], PLACES).for_places(["b"])
    assert [one.place for one in box.waiting] == ["b"]


def test_a_file_gives_back_what_was_stored(tmp_path: Path) -> None:
    ledger = NoticeLedger(
        9, (OpenCondition("held", "held", NOW, 9), OpenCondition("disk_full", "disk_full", NOW)), "x"
    )
    box = NoticeBox(
        ledger,
        (NoticeDelivery("a", "command", notice(9), NOW, 2, "why"),),
        (NoticeDelivery("a", "x", notice(1)),),
    )
    write_outbox(tmp_path / "notices.json", box)
    assert read_outbox(tmp_path / "notices.json") == box


@pytest.mark.parametrize("content", ["", "{", "[]", '{"waiting": 7, "ledger": {"cursor": "x"}}'])
def test_a_damaged_file_gives_an_empty_outbox_or_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notices.json"
    path.write_text(content)
    assert read_outbox(path) in (None, NoticeBox())


def test_a_clock_that_was_set_back_holds_up_no_notice() -> None:
    box = NoticeBox().with_notices([notice(1)], PLACES[:1])
    (one,) = box.due(NOW, [])
    box = box.after(one, "no route", NOW)
    assert box.due(NOW - 1.0, []) == []
    assert [one.notice.number for one in box.due(NOW - 7200.0, [])] == [1]
