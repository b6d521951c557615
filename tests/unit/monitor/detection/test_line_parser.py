import json

import pytest

from monitor.detection.line_parser import CONSIDERED, Gin, parse_line, parse_seconds
from monitor.detection.timestamps import StampMemory, resolve


def times(*lines: str, arrivals: tuple[float | None, ...] = ()) -> list[float | None]:
    memory, out = StampMemory(), list[float | None]()
    for number, line in enumerate(lines):
        parsed = parse_line(line)
        arrival = arrivals[number] if arrivals else None
        time, memory = resolve(parsed.own, parsed.outer, memory, arrival=arrival)
        out.append(time)
    return out


SLOG = 'time={} level=INFO source=x.go:1 msg="x"'
NOON = 1795435200.0  # 2026-11-23 12:00:00 UTC


@pytest.mark.parametrize(
    ("line", "time"),
    [
        (SLOG.format("2026-11-23T12:00:00.250Z"), NOON + 0.25),
        (SLOG.format("2026-11-23T14:00:00.250+02:00"), NOON + 0.25),
        ("2026-11-23T12:00:00.250000000Z ggml", NOON + 0.25),
        ("2026-11-23T07:00:00-05:00 host ollama[12]: ggml", NOON),
        ('[GIN] 2026/11/23 - 12:00:00 | 200 | 1ms | ::1 | GET "/"', NOON),
        ("2026/11/23 12:00:00 images.go:1: x", NOON),
        ('{"log":"x\\n","time":"2026-11-23T12:00:00.25Z"}', NOON + 0.25),
        ('{"MESSAGE":"x","__REALTIME_TIMESTAMP":"1795435200250000"}', NOON + 0.25),
        ('{"timestamp":1795435200,"level":"INFO","message":"build info"}', NOON),
        ("ggml_vulkan: x", None),
        ("9999-99-99T99:99:99Z x", None),
        ("1970-01-01T00:30:00+02:00 x", None),
    ],
)
def test_a_lines_own_time(line: str, time: float | None) -> None:
    assert times(line) == [time]


def test_gin_is_in_the_zone_of_slog() -> None:
    gin = '[GIN] 2026/11/23 - 14:00:00 | 200 | 1ms | ::1 | GET "/"'
    assert times(SLOG.format("2026-11-23T14:00:00.000+02:00"), gin) == [NOON, NOON]


def test_a_viewers_zone_is_learned_from_lines_with_both() -> None:
    prefix = "2026-11-23 06:00:00 "
    both = prefix + SLOG.format("2026-11-23T12:00:00.100Z")
    assert times(both, prefix + "ggml: x") == [NOON + 0.1, NOON]


def test_a_short_journald_stamp_gets_the_year_that_is_nearest() -> None:
    assert times("Nov 23 12:00:01 host ollama[12]: x", arrivals=(NOON + 1.2,)) == [NOON + 1]
    new_year = 1798761600.0  # 2027-01-01
    assert times("Dec 31 23:59:59 host ollama[12]: x", arrivals=(new_year + 1,)) == [new_year - 1]
    assert times("11月 23 12:00:01 host ollama[12]: x", arrivals=(NOON + 1,)) == [NOON + 1]


def test_a_stamp_of_the_leap_day_is_no_error() -> None:
    """The year that is nearest may have no such day."""
    assert times("Feb 29 12:00:00 host ollama[12]: x", arrivals=(1835438400.0,)) == [
        1835438400.0
    ]  # 2028-02-29
    assert times("Feb 29 12:00:00 host ollama[12]: x", arrivals=(1803902400.0,)) == [
        1803902400.0
    ]  # 2027-03-01


def test_a_live_stamp_without_zone_or_year_takes_both_from_its_arrival() -> None:
    assert times("Nov 23 14:00:00 host ollama[12]: x", arrivals=(NOON + 0.5,)) == [NOON]


def test_a_line_without_a_stamp_has_the_last_ones_time() -> None:
    assert times(SLOG.format("2026-11-23T12:00:00Z"), "ggml: x") == [NOON, NOON]


def test_a_live_line_without_a_stamp_adds_what_has_passed_by_our_own_clock() -> None:
    slow_clock = (NOON + 100, NOON + 107, NOON + 106)
    assert times(SLOG.format("2026-11-23T12:00:00Z"), "ggml: x", "y", arrivals=slow_clock) == [
        NOON,
        NOON + 7,
        NOON + 6,
    ]
    assert times("ggml: x", arrivals=(NOON,)) == [NOON]


@pytest.mark.parametrize(
    ("line", "gin"),
    [
        (
            '[GIN] 2026/11/23 - 22:24:52 | 500 |  406.5ms |  127.0.0.1 | POST     "/api/chat"',
            (500, 0.4065, "/api/chat"),
        ),
        (
            '[GIN] 2026/11/23 - 22:24:52 |\x1b[97;42m 200 \x1b[0m| 8m44s | ::1 |\x1b[0m POST \x1b[0m "/v1/x"',
            (200, 524.0, "/v1/x"),
        ),
        ('[GIN] 500 | 10.866092318s | POST "/api/chat"', (500, 10.866092318, "/api/chat")),
        ('[GIN] 2026/11/23 - 22:24:52 | 200 | 1h2m3s | ::1 | POST "/a?b=|c"', None),
        ("[GIN] nonsense", None),
        ("[GIN-debug] POST /api/chat --> x", None),
    ],
)
def test_an_access_log_line(line: str, gin: tuple[int, float, str] | None) -> None:
    parsed = parse_line(line).gin
    assert parsed == (gin and Gin(gin[0], pytest.approx(gin[1]), "POST", gin[2]))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('a=1 b="x y"', {"a": "1", "b": "x y"}),
        ('"loaded layers"=41 c=', {"loaded layers": "41", "c": ""}),
        (r'e="say \"hi\"\nnow\\"', {"e": 'say "hi"\nnow\\'}),
        ('u="never closed', {"u": "never closed"}),
        ("bare words d=1", {"d": "1"}),
    ],
)
def test_the_fields_of_a_slog_line(text: str, fields: dict[str, str]) -> None:
    parsed = parse_line(f'level=INFO msg="m" {text}')
    assert parsed.message == "m"
    assert {key: value for key, value in parsed.fields.items() if key not in ("level", "msg")} == fields


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h2m3.5s", 3723.5),
        ("28.205µs", 28.205e-6),
        ("0s", 0.0),
        ("5.25", 5.25),
        ("", None),
        ("x", None),
        ("-3", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert parse_seconds(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "line", ["", "\x00", "{" * 9999, '{"log":', "time=", "[GIN]", "level=INFO ", '{"log":"{}"}']
)
def test_any_text_is_taken_apart(line: str) -> None:
    parse_line(line)


def test_only_the_beginning_of_an_endless_line_is_looked_at() -> None:
    assert len(parse_line("x" * (CONSIDERED * 3)).text) == CONSIDERED


@pytest.mark.parametrize("month", ["ll月", "月月月", "٣月", "99月", "Foo", "mar."])
def test_a_month_that_is_none_is_no_error(month: str) -> None:
    assert parse_line(f"{month} 14 12:47:30 host ollama[1]: x").text


@pytest.mark.parametrize("since_its_start", [0, 65_811_305, 1_265_811_305_000])
def test_a_line_of_llama_servers_json_log_is_plain_and_has_no_stamp(since_its_start: int) -> None:
    record = {"type": "log", "time": since_its_start, "level": "error", "msg": "CUDA error: out of memory\n"}
    parsed = parse_line(json.dumps(record))
    assert (parsed.message, dict(parsed.fields)) == ("CUDA error: out of memory", {})
    assert (parsed.own, parsed.outer) == (None, None)
    wrapped = parse_line(json.dumps({"log": json.dumps(record), "time": "2026-08-23T22:24:52Z"}))
    assert wrapped.message == parsed.message
    assert wrapped.outer is not None
