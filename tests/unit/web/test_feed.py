"""The feed's view: read anew once it is old, whatever the clock does."""

import asyncio
import time
from typing import Any

import pytest

from web.feed import Feed, View


class _Counted(Feed):
    """Reads an empty view, and counts."""

    count = 0

    def read(self) -> View:
        self.count += 1
        return View(time.time(), {}, [], [])


@pytest.mark.parametrize(("later", "count"), [(0.1, 1), (0.5, 2), (-7200.0, 2)])
def test_a_view_is_read_anew_once_it_is_old_also_after_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch, later: float, count: int
) -> None:
    readings: Any = None
    feed = _Counted(readings)

    async def twice() -> None:
        monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
        await feed.latest()
        monkeypatch.setattr(time, "time", lambda: 1_000_000.0 + later)
        await feed.latest()

    asyncio.run(twice())
    assert feed.count == count
