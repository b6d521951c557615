from monitor.sources.base import INTERVAL, LogLine, ProgressInterval


def test_nothing_is_due_while_nothing_is_read() -> None:
    pace = ProgressInterval(0.0)
    assert not pace.due(1e6)
    assert pace.left(1e6) is None


def test_the_first_lines_are_told_at_once_and_the_next_an_interval_later() -> None:
    pace = ProgressInterval(100.0)
    pace.add(3)
    assert pace.due(100.0)
    assert pace.batch((), {"at": 1}, 100.0).read == 3
    pace.add(2)
    assert not pace.due(100.0 + INTERVAL / 2)
    assert pace.left(100.0 + INTERVAL / 2) == INTERVAL / 2
    assert pace.due(100.0 + INTERVAL)


def test_a_batch_with_lines_counts_all_that_was_read_before() -> None:
    pace = ProgressInterval(0.0)
    pace.add(5)
    pace.add(1)
    batch = pace.batch((LogLine("x"),), {}, 0.0)
    assert (batch.read, batch.lines) == (6, (LogLine("x"),))
    assert pace.left(0.0) is None
