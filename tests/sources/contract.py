"""What every log source promises: a class that a test module takes for its own, with a fixture `world`."""

import time
from collections.abc import Iterator
from random import Random

from monitor.sources.base import Away, Back, Batch, Cursor, Span, keep_all
from tests.sources.following import Following, lines_of
from tests.sources.worlds import World


def keep_errors(chunk: bytes) -> Iterator[Span]:
    return ((start, end) for start, end in keep_all(chunk) if b"error" in chunk[start:end])


def numbered(first: int, last: int) -> list[str]:
    return [f"line {n}" for n in range(first, last)]


def encoded(texts: list[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def gather(world: World, cursor: Cursor, lines: int) -> list[str]:
    with Following(world.source(), cursor) as following:
        following.until_back()
        following.until(f"{lines} lines", lambda: len(following.texts) >= lines)
    return following.texts


class SourceContract:
    def test_a_first_start_skips_the_past_and_follows_what_comes(self, world: World) -> None:
        world.write(encoded(numbered(0, 5)))
        with Following(world.source()) as following:
            following.until_back()
            world.write(encoded(numbered(5, 8)))
            following.until_texts(numbered(5, 8))
        assert all(line.live for line in following.lines)

    def test_a_first_start_may_take_the_past_along(self, world: World) -> None:
        world.write(encoded(numbered(0, 5)))
        with Following(world.source(since="start")) as following:
            following.until_texts(numbered(0, 5))
            world.write(encoded(numbered(5, 6)))
            following.until_texts(numbered(0, 6))

    def test_a_line_comes_when_its_newline_does(self, world: World) -> None:
        with Following(world.source()) as following:
            following.until_back()
            world.write(b"first\nsec")
            following.until_texts(["first"])
            world.write(b"ond\n")
            following.until_texts(["first", "second"])

    def test_any_split_of_the_bytes_gives_the_same_lines(self, world: World) -> None:
        data = encoded(["a", "", "caf\u00e9 \u4e16", "ggml out of memory", "", "z" * 300])
        data += b"bad \xff\xfe bytes\nwindows\r\n"
        expected = [
            "a",
            "",
            "caf\u00e9 \u4e16",
            "ggml out of memory",
            "",
            "z" * 300,
            "bad \ufffd\ufffd bytes",
            "windows",
        ]
        random = Random(5)
        with Following(world.source()) as following:
            following.until_back()
            for _ in range(10):
                cuts = sorted(random.sample(range(1, len(data)), 6))
                for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                    world.write(data[start:end])
            following.until_texts(expected * 10)

    def test_a_long_line_is_bounded_and_the_next_one_is_whole(self, world: World) -> None:
        with Following(world.source()) as following:
            following.until_back()
            world.write(b"x" * 1_000_000 + b"\nnext\n")
            following.until("both lines", lambda: len(following.lines) == 2)
        long, after = following.lines
        assert long.text == "x" * 65536
        assert long.cut - (1_000_000 - 65536) in {0, 1}  # a terminal's carriage return
        assert after.text == "next"

    def test_only_lines_that_pass_the_prefilter_come(self, world: World) -> None:
        with Following(world.source(keep=keep_errors)) as following:
            following.until_back()
            world.write(b"info a\nerror b\ninfo c\n" * 50)
            following.until("the errors", lambda: len(following.texts) == 50)
        assert set(following.texts) == {"error b"}

    def test_what_nobody_waits_for_moves_the_cursor_on_at_most_once_in_a_second(self, world: World) -> None:
        with Following(world.source(keep=keep_errors)) as following:
            following.until_back()
            for _ in range(30):
                world.write(b"info a\n")
                time.sleep(0.01)
            joined_first_and_rest = 3
            following.until("the rest", lambda: following.count(Batch) >= joined_first_and_rest)
        assert following.count(Batch) <= joined_first_and_rest + 1
        with Following(world.source(keep=keep_errors), following.cursor) as again:
            world.write(b"error b\n")
            again.until_texts(["error b"])

    def test_silence_gives_nothing(self, world: World) -> None:
        with Following(world.source()) as following:
            following.until_back()
            world.write(b"one\n")
            following.until_texts(["one"])
            before = len(following.items)
            time.sleep(1.5)
            assert len(following.items) == before

    def test_a_restart_goes_on_where_the_last_one_stopped(self, world: World) -> None:
        with Following(world.source()) as first:
            first.until_back()
            world.write(encoded(numbered(0, 20)))
            first.until_texts(numbered(0, 20))
        world.write(encoded(numbered(20, 40)))
        with Following(world.source(), first.cursor) as second:
            second.until_texts(numbered(20, 40))
            world.write(encoded(numbered(40, 50)))
            second.until_texts(numbered(20, 50))

    def test_a_restart_before_any_line_loses_nothing(self, world: World) -> None:
        world.write(encoded(numbered(0, 3)))
        with Following(world.source()) as first:
            first.until("where it joined", lambda: first.cursor is not None)
        world.write(encoded(numbered(3, 6)))
        with Following(world.source(), first.cursor) as second:
            second.until_texts(numbered(3, 6))

    def test_a_restart_from_any_cursor_neither_loses_nor_repeats(self, world: World) -> None:
        random = Random(11)
        texts = [random.choice(["same", "same", f"other {n}"]) for n in range(120)]
        with Following(world.source()) as following:
            following.until_back()
            following.until("where it joined", lambda: following.cursor is not None)
            for start in range(0, 120, 6):
                world.write(encoded(texts[start : start + 6]))
                if random.random() < 0.5:
                    time.sleep(0.005)
            following.until_texts(texts)
        batches = [(at, item) for at, item in enumerate(following.items) if isinstance(item, Batch)]
        for at, batch in random.sample(batches, min(8, len(batches))):
            rest = texts[len(lines_of(following.items[: at + 1])) :]
            assert gather(world, batch.cursor, len(rest)) == rest

    def test_a_log_that_goes_away_is_missed_and_found_again(self, world: World) -> None:
        with Following(world.source()) as following:
            following.until_back()
            world.write(b"before\n")
            following.until_texts(["before"])
            world.vanish()
            following.until_away()
            world.come_back()
            following.until_back(2)
            world.write(b"after\n")
            following.until_texts(["before", "after"])
        assert following.count(Away) == 1
        assert all(item.reason and item.hint for item in following.items if isinstance(item, Away))

    def test_a_log_that_is_away_at_the_start_gives_all_that_comes(self, world: World) -> None:
        world.vanish()
        with Following(world.source()) as following:
            following.until_away()
            assert following.count(Back) == 0
            world.come_back()
            following.until_back()
            world.write(b"first\n")
            following.until_texts(["first"])

    def test_a_cursor_that_is_not_understood_counts_as_none(self, world: World) -> None:
        world.write(b"past\n")
        with Following(world.source(), {"kind": "papyrus", "offset": "VII"}) as following:
            following.until_back()
            world.write(b"new\n")
            following.until_texts(["new"])

    def test_closing_ends_a_silent_source_at_once(self, world: World) -> None:
        source = world.source()
        with Following(source) as following:
            following.until_back()
            source.close()
            following._thread.join(5.0)
            assert not following._thread.is_alive()
            source.close()

    def test_closing_before_the_start_is_heeded(self, world: World) -> None:
        source = world.source()
        source.close()
        assert not any(isinstance(item, Batch) and item.lines for item in source.items())
