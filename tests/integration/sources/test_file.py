"""The file source on a real file system: rotation in all its ways, seen live and after the fact."""

import bz2
import gzip
import lzma
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from monitor.sources.base import Away
from monitor.sources.file import watcher as watching
from monitor.sources.file.source import FileSource
from monitor.sources.file.watcher import Watcher
from tests.sources.following import Following


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "ollama.log"
    path.touch()
    return path


def add(path: Path, *texts: str) -> None:
    with path.open("ab", buffering=0) as stream:
        stream.write("".join(f"{text}\n" for text in texts).encode())


def rotate(path: Path, *, keep: int = 5) -> None:
    for n in range(keep, 0, -1):
        older = path.with_name(f"{path.name}.{n}")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{n + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))


@pytest.fixture(params=["inotify", "polling"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of noticing a change."""
    if request.param == "polling":

        def none_to_have() -> None:
            raise OSError("none left")

        monkeypatch.setattr(watching, "Inotify", none_to_have)
    return str(request.param)


def test_rotation_by_rename(log: Path, how: str) -> None:
    with Following(FileSource(log)) as following:
        following.until_back()
        add(log, "a", "b")
        rotate(log)
        add(log.with_name("ollama.log.1"), "c")
        add(log, "d")
        following.until_texts(["a", "b", "c", "d"])


def test_the_old_file_is_followed_until_the_new_one_holds_something(log: Path) -> None:
    with Following(FileSource(log)) as following:
        following.until_back()
        add(log, "a")
        following.until_texts(["a"])
        rotate(log)
        log.touch()
        time.sleep(0.2)
        add(log.with_name("ollama.log.1"), "still the old one")
        following.until_texts(["a", "still the old one"])
        add(log, "b")
        following.until_texts(["a", "still the old one", "b"])
        assert following.count(Away) == 0


def test_many_rotations_in_a_row(log: Path, how: str) -> None:
    expected = []
    with Following(FileSource(log)) as following:
        following.until_back()
        for n in range(30):
            texts = [f"{n}.{m}" for m in range(5)]
            add(log, *texts)
            expected += texts
            following.until_texts(expected)
            rotate(log, keep=3)
        add(log, "end")
        following.until_texts([*expected, "end"])


def test_two_rotations_between_two_looks(log: Path) -> None:
    with Following(FileSource(log)) as following:
        following.until_back()
        add(log, "a")
        following.until_texts(["a"])
    for text in ("b", "c"):
        time.sleep(0.02)  # a file system's time stamps are some milliseconds apart
        rotate(log)
        add(log, text)
    with Following(FileSource(log), following.cursor) as again:
        again.until_texts(["b", "c"])


def test_rotation_while_nobody_looked_finishes_the_old_file_first(log: Path) -> None:
    with Following(FileSource(log)) as first:
        first.until_back()
        add(log, "a")
        first.until_texts(["a"])
    add(log, "b")
    rotate(log)
    add(log, "c")
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["b", "c"])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def pack(path: Path, suffix: str = ".gz", *, at: float | None = None) -> Path:
    """Compress a rotated file in place with its time, or with another, as a compressor that keeps none gives it."""
    packed, facts = path.with_name(path.name + suffix), path.stat()
    packed.write_bytes(PACKERS[suffix](path.read_bytes()))
    os.utime(packed, (at or int(facts.st_atime), at or int(facts.st_mtime)))
    path.unlink()
    return packed


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_compressed_while_nobody_looked_is_finished_first(log: Path, suffix: str) -> None:
    with Following(FileSource(log)) as first:
        first.until_back()
        add(log, "read long ago")
        first.until_texts(["read long ago"])
        rotate(log)
        pack(log.with_name("ollama.log.1"), suffix)
        add(log, "a")
        first.until_texts(["read long ago", "a"])
    add(log, "b", "c")
    time.sleep(1.1)  # a compressed file may keep whole seconds only
    log.with_name(f"ollama.log.1{suffix}").rename(log.with_name(f"ollama.log.2{suffix}"))
    rotate(log)
    pack(log.with_name("ollama.log.1"), suffix)
    add(log, "d")
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["b", "c", "d"])
        add(log, "e")
        second.until_texts(["b", "c", "d", "e"])
    assert second.count(Away) == 0


def test_two_compressed_files_and_a_copied_and_truncated_one(log: Path) -> None:
    with Following(FileSource(log)) as first:
        first.until_back()
        add(log, "a")
        first.until_texts(["a"])
    add(log, "b")
    written = time.time()
    for number, text in enumerate(("c", "d"), 1):
        for older in (2, 1):
            path = log.with_name(f"ollama.log.{older}.gz")
            if path.exists():
                path.rename(log.with_name(f"ollama.log.{older + 1}.gz"))
        shutil.copy(log, log.with_name("ollama.log.1"))
        pack(log.with_name("ollama.log.1"), at=written + 2 * number)
        os.truncate(log, 0)
        add(log, text)
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["b", "c", "d"])


def test_an_old_file_that_is_compressed_late_is_not_read_again(log: Path) -> None:
    with Following(FileSource(log)) as first:
        first.until_back()
        add(log, "a")
        first.until_texts(["a"])
        rotate(log)
        add(log, "b")
        first.until_texts(["a", "b"])
    rotate(log)
    pack(log.with_name("ollama.log.2"), at=time.time() + 5)
    add(log, "c")
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["c"])


def test_a_damaged_compressed_file_is_passed_over(log: Path) -> None:
    with Following(FileSource(log)) as first:
        first.until_back()
        add(log, "a")
        first.until_texts(["a"])
    add(log, "b")
    rotate(log)
    packed = pack(log.with_name("ollama.log.1"))
    packed.write_bytes(packed.read_bytes()[:-9])
    add(log, "c")
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["c"])


def test_rotation_by_date_and_no_new_file_yet(log: Path) -> None:
    with Following(FileSource(log)) as first:
        first.until_back()
        add(log, "a")
        first.until_texts(["a"])
    add(log, "b")
    log.rename(log.with_name("ollama.log-20260801"))
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["b"])
        add(log, "c")
        second.until_texts(["b", "c"])


def test_copy_and_truncate(log: Path, how: str) -> None:
    expected = []
    with Following(FileSource(log)) as following:
        following.until_back()
        for n in range(10):
            add(log, f"{n} one", f"{n} two")
            expected += [f"{n} one", f"{n} two"]
            following.until_texts(expected)
            shutil.copy(log, log.with_name("ollama.log.1"))
            os.truncate(log, 0)
            add(log, f"{n} after")
            expected.append(f"{n} after")
        following.until_texts(expected)


def test_copy_and_truncate_while_nobody_looked(log: Path) -> None:
    with Following(FileSource(log)) as first:
        first.until_back()
        add(log, "a")
        first.until_texts(["a"])
    add(log, "b")
    shutil.copy(log, log.with_name("ollama.log.1"))
    os.truncate(log, 0)
    add(log, "c is much longer than what stood there before")
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["b", "c is much longer than what stood there before"])


def test_copy_and_truncate_of_a_log_that_was_empty_when_it_was_left(log: Path) -> None:
    """At offset 0 only the inode is known, and it is the truncated file's too."""
    with Following(FileSource(log)) as first:
        first.until_back()
        first.until("joined", lambda: first.cursor is not None)
    time.sleep(0.02)  # a file system's time stamps are some milliseconds apart
    add(log, "a", "b")
    shutil.copy(log, log.with_name("ollama.log.1"))
    os.truncate(log, 0)
    add(log, "c")
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["a", "b", "c"])


@pytest.mark.parametrize("after", ["after", "after, and longer than all that stood there before"])
@pytest.mark.parametrize("before", [[], ["before"]], ids=["empty", "not empty"])
def test_written_to_copied_and_truncated_between_two_looks(
    log: Path, monkeypatch: pytest.MonkeyPatch, before: list[str], after: str
) -> None:
    """All of it happens while the source sleeps; of an empty log neither size nor inode show it."""
    add(log, *before)
    rotated = threading.Event()
    log.with_name("ollama.log.2").write_text("rotated long ago\n")
    wait = Watcher.wait

    def sleep(watcher: Watcher, seconds: float, **options: float) -> bool:
        if not rotated.is_set():
            rotated.set()
            add(log, "one", "two")
            shutil.copy(log, log.with_name("ollama.log.1"))
            os.truncate(log, 0)
            add(log, after)
            return True
        return wait(watcher, seconds, **options)

    monkeypatch.setattr(Watcher, "wait", sleep)
    with Following(FileSource(log)) as following:
        following.until_texts(["one", "two", after])
    with Following(FileSource(log), following.cursor) as again:
        add(log, "more")
        again.until_texts(["more"])


def test_truncated_and_grown_past_the_old_place_at_once(log: Path) -> None:
    with Following(FileSource(log)) as following:
        following.until_back()
        add(log, "old")
        following.until_texts(["old"])
        log.write_bytes(b"new and longer\nand more\n")
        following.until_texts(["old", "new and longer", "and more"])


def test_a_writer_that_does_not_append_leaves_a_hole(log: Path) -> None:
    with log.open("r+b", buffering=0) as writer, Following(FileSource(log)) as following:
        following.until_back()
        writer.write(b"x" * 200_000 + b"\n")
        following.until("the first", lambda: len(following.texts) == 1)
        os.truncate(log, 0)
        writer.write(b"after the hole\n")
        following.until("the second", lambda: len(following.texts) == 2)
    assert following.texts[1] == "after the hole"


def test_a_replaced_file_is_read_from_its_start(log: Path, how: str) -> None:
    with Following(FileSource(log)) as following:
        following.until_back()
        add(log, "a")
        following.until_texts(["a"])
        other = log.with_name("other")
        other.write_text("b\nc\n")
        other.replace(log)
        following.until_texts(["a", "b", "c"])


def test_the_same_content_under_a_new_inode_is_no_news(log: Path) -> None:
    with Following(FileSource(log)) as first:
        first.until_back()
        add(log, "a", "b")
        first.until_texts(["a", "b"])
    copy = log.with_name("copy")
    shutil.copy(log, copy)
    copy.replace(log)
    add(log, "c")
    with Following(FileSource(log), first.cursor) as second:
        second.until_texts(["c"])


def test_a_last_line_that_can_never_end_is_given_out(log: Path) -> None:
    with Following(FileSource(log)) as following:
        following.until_back()
        with log.open("ab") as stream:
            stream.write(b"a\nCUDA error: out of mem")
        following.until_texts(["a"])
        rotate(log)
        add(log, "b")
        following.until_texts(["a", "CUDA error: out of mem", "b"])


def test_a_first_start_in_the_middle_of_a_line_gives_the_whole_line(log: Path) -> None:
    log.write_bytes(b"past\nhalf of")
    with Following(FileSource(log)) as following:
        following.until_back()
        add(log, " a line")
        following.until_texts(["half of a line"])


def test_a_file_in_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "later" / "ollama.log"
    with Following(FileSource(path)) as following:
        following.until_away()
        path.parent.mkdir()
        add(path, "first")
        following.until_texts(["first"])


def test_not_there_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ollama.log"
    with Following(FileSource(path)) as first:
        first.until("where it will begin", lambda: first.cursor is not None)
    add(path, "first")
    with Following(FileSource(path), first.cursor) as second:
        second.until_texts(["first"])


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with Following(FileSource(tmp_path)) as following:
        following.until_away()
    away = next(item for item in following.items if isinstance(item, Away))
    assert "is a directory" in away.reason
    assert "not its folder" in away.hint


def test_a_log_whose_name_becomes_a_pipe_is_away(log: Path, how: str) -> None:
    """As where somebody links it to /dev/null: it has no size, and no line ever comes."""
    with Following(FileSource(log)) as following:
        following.until_back()
        log.unlink()
        os.mkfifo(log)
        following.until_away()
        log.unlink()
        add(log, "after")
        following.until_texts(["after"])
    assert any("not supported" in item.reason for item in following.items if isinstance(item, Away))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(log: Path) -> None:
    log.chmod(0)
    with Following(FileSource(log)) as following:
        following.until_away()
        log.chmod(0o600)
        following.until_back()


def test_ten_megabytes_without_a_newline(log: Path) -> None:
    with Following(FileSource(log)) as following:
        following.until_back()
        with log.open("ab", buffering=0) as stream:
            for _ in range(10):
                stream.write(b"\0x" * 500_000)
        add(log, "", "next")
        following.until("both", lambda: len(following.lines) == 2)
    assert following.lines[0].cut == 9_999_999 - 65536
    assert following.texts[1] == "next"


def test_a_symbolic_link_that_is_turned_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    (tmp_path / "two").write_text("in two\n")
    link = tmp_path / "current"
    link.symlink_to("one")
    with Following(FileSource(link)) as following:
        following.until_back()
        add(tmp_path / "one", "in one")
        following.until_texts(["in one"])
        fresh = tmp_path / "fresh"
        fresh.symlink_to("two")
        fresh.replace(link)
        following.until_texts(["in one", "in two"])


@pytest.mark.parametrize("seed", range(4))
def test_killed_and_resumed_anywhere_amid_rotations(tmp_path: Path, seed: int) -> None:
    """The reader stops at any batch, meanwhile the file is written and rotated: each line comes once."""
    random = Random(seed)
    log = tmp_path / "ollama.log"
    log.touch()
    with Following(FileSource(log)) as start:
        start.until("where it joined", lambda: start.cursor is not None)
    cursor, written, handled = start.cursor, 0, []
    for _ in range(12):
        for _ in range(random.randint(0, 3)):
            texts = [f"{n}" for n in range(written, written + random.randint(1, 40))]
            add(log, *texts)
            written += len(texts)
            if random.random() < 0.3:
                time.sleep(0.01)
                rotate(log)
                log.touch()
        source = FileSource(log)
        stop = random.randint(1, 4)
        for item in source.items(cursor):
            if isinstance(item, Away):
                continue
            if hasattr(item, "lines"):
                handled += [line.text for line in item.lines]
                cursor, stop = item.cursor, stop - 1
            if not stop or len(handled) == written:
                source.close()
                break
    with Following(FileSource(log), cursor) as last:
        last.until("all", lambda: len(handled) + len(last.texts) >= written)
    assert handled + last.texts == [str(n) for n in range(written)]
