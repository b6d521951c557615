from pathlib import Path
from typing import Any

import pytest

from monitor.sources.file.reader import (
    FilePosition,
    LogFileCandidate,
    before_creation,
    fingerprint,
    is_rotated_name,
    unread,
)

LOG, ONE, TWO, THREE = (Path(name) for name in ("/l/a.log", "/l/a.log.1", "/l/a.log.2", "/l/a.log.3"))
POSITION = FilePosition(device=1, inode=10, offset=100, mtime_ns=1000, head=100, print="p")


def file(path: Path, inode: int, mtime_ns: int, *, matches: bool = False) -> LogFileCandidate:
    return LogFileCandidate(path, inode, mtime_ns, matches)


@pytest.mark.parametrize(
    ("current", "siblings", "plan"),
    [
        (file(LOG, 10, 1500, matches=True), [file(ONE, 9, 500)], [(LOG, 100)]),
        (file(LOG, 77, 1500, matches=True), [], [(LOG, 100)]),
        (file(LOG, 11, 1500), [file(ONE, 10, 1100, matches=True)], [(ONE, 100), (LOG, 0)]),
        (
            file(LOG, 12, 1500),
            [file(ONE, 11, 1300), file(THREE, 8, 900), file(TWO, 10, 1000, matches=True)],
            [(TWO, 100), (ONE, 0), (LOG, 0)],
        ),
        (file(LOG, 10, 1500), [file(ONE, 20, 1400, matches=True)], [(ONE, 100), (LOG, 0)]),
        (file(LOG, 10, 1500), [file(ONE, 9, 900)], [(LOG, 0)]),
        (file(LOG, 13, 1500), [file(ONE, 12, 1400), file(TWO, 11, 1300)], [(TWO, 0), (ONE, 0), (LOG, 0)]),
        (None, [file(ONE, 10, 1100, matches=True)], [(ONE, 100)]),
        (None, [], []),
    ],
    ids=[
        "the same file",
        "moved to another disk",
        "rotated by rename",
        "rotated twice, an older one read long ago",
        "copied and truncated",
        "truncated",
        "the marked file is deleted, two came since",
        "rotated away and nothing new yet",
        "nothing there",
    ],
)
def test_what_is_unread(
    current: LogFileCandidate | None, siblings: list[LogFileCandidate], plan: list[tuple[Path, int]]
) -> None:
    assert unread(POSITION, current, siblings) == plan


def test_at_offset_0_what_was_rotated_since_is_read_before_the_file_of_the_same_inode() -> None:
    empty = FilePosition(device=1, inode=10, offset=0, mtime_ns=1000, head=0, print="p")
    siblings = [file(TWO, 8, 900), file(ONE, 9, 1100)]
    assert unread(empty, file(LOG, 10, 1500, matches=True), siblings) == [(ONE, 0), (LOG, 0)]


def test_of_two_files_that_hold_the_place_the_marked_inode_wins() -> None:
    siblings = [file(TWO, 30, 900, matches=True), file(ONE, 10, 1100, matches=True)]
    assert unread(POSITION, file(LOG, 11, 1500), siblings)[0] == (ONE, 100)


@pytest.mark.parametrize(
    ("sibling", "expected"),
    [
        ("a.log.1", True),
        ("a.log.12", True),
        ("a.log-20260801", True),
        ("a.log.2026-08-01_12-00-00", True),
        ("a.log.old", True),
        ("a.log", False),
        ("a.log.1.gz", False),
        ("a.log.bak", False),
        ("a.log.err", False),
        ("b.log.1", False),
        ("a.log1", False),
    ],
)
def test_rotated_names(sibling: str, expected: bool) -> None:
    assert is_rotated_name("a.log", sibling) is expected


@pytest.mark.parametrize(
    ("sibling", "expected"),
    [
        ("a.log.1.gz", True),
        ("a.log-20260801.gz", True),
        ("a.log.1", False),
        ("a.log.gz", False),
        ("a.log.1.xz", False),
        ("b.log.1.gz", False),
    ],
)
def test_rotated_names_of_compressed_files(sibling: str, expected: bool) -> None:
    assert is_rotated_name("a.log", sibling, ".gz") is expected


def test_a_mark_survives_being_stored() -> None:
    assert FilePosition.from_cursor(POSITION.to_cursor()) == POSITION
    assert FilePosition.from_cursor(before_creation(5.0).to_cursor()) == before_creation(5.0)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "docker"},
        {"offset": -1},
        {"offset": "100"},
        {"offset": None},
        {"inode": 1.5},
        {"device": True},
        {"head": 5},
        {"print": 3},
    ],
)
def test_what_no_mark_can_be_counts_as_none(change: dict[str, Any]) -> None:
    assert FilePosition.from_cursor({**POSITION.to_cursor(), **change}) is None


def test_the_print_tells_the_head_from_the_tail() -> None:
    assert fingerprint(b"ab", b"c") != fingerprint(b"a", b"bc")
