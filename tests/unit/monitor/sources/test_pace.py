"""When a batch without lines comes: at once after a pause, else an interval after the last batch."""

from monitor.sources.base import INTERVAL, Batch, LogLine, ProgressInterval


def test_nothing_is_due_while_nothing_is_read() -> None:
    pace = ProgressInterval(0.0)
    assert list(pace.batch((), {}, 1e6, moved=False)) == []
    assert pace.left(1e6) is None


def test_the_first_progress_is_reported_at_once_and_the_next_an_interval_later() -> None:
    pace = ProgressInterval(100.0)
    assert list(pace.batch((), {"at": 1}, 100.0)) == [Batch((), {"at": 1})]
    assert list(pace.batch((), {"at": 2}, 100.0 + INTERVAL / 2)) == []
    assert pace.left(100.0 + INTERVAL / 2) == INTERVAL / 2
    assert list(pace.batch((), {"at": 2}, 100.0 + INTERVAL, moved=False)) == [Batch((), {"at": 2})]
    assert pace.left(100.0 + INTERVAL) is None


def test_lines_wait_for_nothing_and_take_the_progress_before_them_along() -> None:
    pace = ProgressInterval(0.0)
    assert len(list(pace.batch((), {"at": 1}, 0.0))) == 1
    assert list(pace.batch((), {"at": 2}, 0.1)) == []
    assert list(pace.batch([LogLine("x")], {"at": 3}, 0.2)) == [Batch((LogLine("x"),), {"at": 3})]
    assert pace.left(0.2) is None
