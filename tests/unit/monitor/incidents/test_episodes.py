"""Every course of `tests/data/episodes.txt`, bare and as log drivers wrap it, against what its heading says."""

import pytest

from tests.reference.log_courses import Episode, episodes, follow, found, times
from tests.reference.wrappings import WRAPPINGS


@pytest.mark.parametrize("episode", list(episodes()), ids=lambda episode: episode.name)
def test_a_course_holds_what_its_heading_says(episode: Episode) -> None:
    assert found(list(episode.lines)) == episode.incidents


@pytest.mark.slow
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_course_says_the_same_however_it_is_wrapped(wrapping: str) -> None:
    wrap = WRAPPINGS[wrapping]
    wrong = {}
    for episode in episodes():
        pairs = zip(episode.lines, times(episode.lines), strict=True)
        got = found([wrap(line, at) for line, at in pairs])
        if got != episode.incidents:
            wrong[episode.name] = got
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_wrapped_course_followed_live_counts_as_one_read_later(wrapping: str) -> None:
    wrap, wrong = WRAPPINGS[wrapping], {}
    for episode in episodes():
        printed = times(episode.lines)
        wrapped = [wrap(line, at) for line, at in zip(episode.lines, printed, strict=True)]
        live = follow(wrapped, stamped=False, restarted=False, printed=printed)
        if live.closed_causes != episode.incidents:
            wrong[episode.name] = live.closed_causes
    assert not wrong


@pytest.mark.parametrize("stamped", [False, True], ids=["bare", "stamped"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_a_course_followed_live_counts_as_one_read_later(*, stamped: bool, restarted: bool) -> None:
    wrong = {}
    for episode in episodes():
        live = follow(episode.lines, stamped=stamped, restarted=restarted)
        if live.closed_causes != episode.incidents or live.count != sum(
            "+" in one for one in episode.incidents
        ):
            wrong[episode.name] = live.closed_causes
    assert not wrong
