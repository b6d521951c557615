import json

import pytest

from standin.forms.go_format import (
    decode_error,
    human_bytes,
    human_number,
    parse_duration,
    show_duration,
    show_latency,
    timestamp,
)

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30m", 1800),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("-1s", -1),
        ("+2us", 2e-6),
        (".5h", 1800),
        ("2µs", 2e-6),
    ],
)
def test_reads_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("soon", 'time: invalid duration "soon"'),
        ("", 'time: invalid duration ""'),
        ("10", 'time: missing unit in duration "10"'),
        ("10 parsecs", 'time: unknown unit " parsecs" in duration "10 parsecs"'),
        ("1h-1m", 'time: unknown unit "h-" in duration "1h-1m"'),
    ],
)
def test_refuses_durations_in_gos_words(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (999, "999ns"),
        (19_567, "19.567µs"),
        (406_037_554, "406.037554ms"),
        (23_578_379_793, "23.578379793s"),
        (60 * SECOND, "1m0s"),
        (3600 * SECOND + 35_308_261_982, "1h0m35.308261982s"),
    ],
)
def test_shows_durations(nanoseconds: int, text: str) -> None:
    assert show_duration(nanoseconds) == text


def test_gin_drops_fractions_beyond_a_minute() -> None:
    assert show_latency(524 * SECOND + 123_456) == "8m44s"
    assert show_latency(59 * SECOND + 5) == "59.000000005s"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1536, "1.5 KiB"), (457 * 1024**2, "457.0 MiB"), (2 * 1024**3, "2.0 GiB")],
)
def test_shows_sizes(size: int, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(504_430_000, "504.43M"), (74_304, "74K"), (3_212_749_888, "3.2B"), (12, "12")],
)
def test_shows_parameters(count: int, text: str) -> None:
    assert human_number(count) == text


def test_timestamps_have_no_trailing_zeros() -> None:
    assert timestamp(1_795_471_598_000_000_000) == "2026-11-23T22:06:38Z"
    assert timestamp(1_795_471_598_728_063_960) == "2026-11-23T22:06:38.72806396Z"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"model":', "unexpected EOF"),
        ('{"model": "a', "unexpected EOF"),
        ("nonsense", "invalid character 'n' looking for beginning of value"),
        ("{'a': 1}", "invalid character '\\'' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a": 1 "b"}', "invalid character '\"' after object key:value pair"),
    ],
)
def test_words_json_errors_as_go_does(text: str, words: str) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    assert decode_error(text, caught.value) == words
