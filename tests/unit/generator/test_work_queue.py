import threading

from generator.work_queue import WorkQueue


def test_items_come_out_in_order_and_are_outstanding_until_done() -> None:
    queue: WorkQueue[int] = WorkQueue()
    queue.put(1)
    queue.put(2)
    assert queue.get(0.0) == 1
    assert queue.outstanding == 2
    queue.done()
    assert queue.outstanding == 1
    assert queue.get(0.0) == 2
    assert not queue.wait_idle(0.0)
    queue.done()
    assert queue.wait_idle(0.0)


def test_an_empty_queue_gives_none_when_patience_ends() -> None:
    assert WorkQueue[int]().get(0.0) is None


def test_a_closed_queue_is_emptied_before_it_has_ended() -> None:
    queue: WorkQueue[int] = WorkQueue()
    queue.put(1)
    queue.close()
    ended = [queue.ended]
    assert queue.get(60.0) == 1
    ended.append(queue.ended)
    assert ended == [False, True]
    assert queue.get(60.0) is None


def test_closing_wakes_all_waiting_threads() -> None:
    queue: WorkQueue[int] = WorkQueue()
    got: list[int | None] = []
    taker = threading.Thread(target=lambda: got.append(queue.get(60.0)))
    taker.start()
    queue.close()
    taker.join(10.0)
    assert got == [None]
