import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator.catalogue import load_catalogue
from generator.language import ExpressionError, build_schema, show
from generator.llm.reply import MAX_EXPRESSIONS, decode_reply
from tests.reference.expressions import amount, instance, patient

CATALOGUE = load_catalogue()


def outcomes(reply: str) -> list[str]:
    """Return each expression as text, each error as an exclamation mark with its message."""
    return [
        f"!{found.message}" if isinstance(found, ExpressionError) else show(found)
        for found in decode_reply(reply, CATALOGUE)
    ]


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ('{"expressions": [["rank", "close"], ["rank", "open"]]}', ["rank(close)", "rank(open)"]),
        ('{"expressions":[]}', []),
        ('[["rank", "close"]]', ["rank(close)"]),
        ('  {\n"expressions" :\t[\n["rank","close"]\n]\n}\n', ["rank(close)"]),
        ('```json\n{"expressions": [["rank", "close"]]}\n```', ["rank(close)"]),
        ('Sure! {"expressions": [["rank", "close"]]} Enjoy.', ["rank(close)"]),
        ('<think>rank(open) [ maybe</think>{"expressions": [["rank", "close"]]}', ["rank(close)"]),
        ('{"note": "x", "expressions": [["rank", "close"]], "more": 1}', ["rank(close)"]),
        ('{"alphas": ["rank(close)"]}', ["rank(close)"]),
        ('{"expressions": ["rank(close)", "-open * 2"]}', ["rank(close)", "multiply(reverse(open), 2)"]),
        ('["a = close; rank(a)"]', ["rank(close)"]),
        ('{"expressions": [{"expression": "rank(close)"}, {"alpha": ["rank", "open"]}]}',
         ["rank(close)", "rank(open)"]),
        ('{"expressions": [["rank", "close"], ["rank", "op', ["rank(close)"]),
        ('{"expressions": [["rank", "close"], ["ts_mean", "open", 2', ["rank(close)"]),
        ('{"expressions": [["rank", "close"],', ["rank(close)"]),
        ('{"expressions": [["rank", "clo', []),
        ('{"expressions": [["ran', []),
        ('{"expressions": [', []),
        ('{"expres', []),
        ('{"expressions": [["rank", "clos"], ["rank", "close"]]}', ["!unknown field 'clos'", "rank(close)"]),
        ('{"expressions": [["rank", "sector"]]}',
         ["!rank: 'x' must be a matrix, and 'sector' is a grouping: only group arguments take it"]),
        ('{"expressions": [5, null, true]}',
         ["!the alpha reads no data field", "!None is no expression", "!True is no expression"]),
        ('{"expressions": [["rank", NaN]]}', ["!the alpha reads no data field"]),
        ('{"expressions": [["rank" "close"]]}', ["!this is no JSON"]),
        ('{"expressions": [["rank", "clo\\u0073e"]]}', ["rank(close)"]),
        ('{"expressions": ["bucket]["]}', ["!unexpected character ']'"]),
        ('{"expressions": [\n"rank(close),\n"rank(open)",\n"rank(high)"\n]}',
         ["rank(close)", "rank(open)", "rank(high)"]),
        ("", []),
        ("no idea", []),
        ("{}", []),
        ("null", []),
        ("[", []),
        ("[]", []),
    ],
)  # fmt: skip
def test_whole_and_cut_json(reply: str, found: list[str]) -> None:
    assert outcomes(reply) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("rank(close)", ["rank(close)"]),
        ("rank(close)\nrank(open)", ["rank(close)", "rank(open)"]),
        ("1. rank(close)\n2) rank(open)\n(3) rank(high)", ["rank(close)", "rank(open)", "rank(high)"]),
        ("- rank(close)\n* rank(open)\n• rank(high)", ["rank(close)", "rank(open)", "rank(high)"]),
        ("- -rank(close)", ["reverse(rank(close))"]),
        ("-rank(close)", ["reverse(rank(close))"]),
        ("Here are some alphas for you:\n\nrank(close)\n\nHope this (really) helps a lot!", ["rank(close)"]),
        ("Alpha 1: rank(close)\n**Alpha 2:** rank(open)", ["rank(close)", "rank(open)"]),
        ("1. `rank(close)` - price levels\n2. `rank(open)`", ["rank(close)", "rank(open)"]),
        ("Use `close` as in `rank(close)` here", ["rank(close)"]),
        ("```\nrank(close)\n```", ["rank(close)"]),
        ("```python\na = close;\nrank(a)\n```", ["rank(close)"]),
        ("a = ts_delta(close, 5);\nb = rank(a);\n-b", ["reverse(rank(ts_delta(close, 5)))"]),
        ("rank(\n  ts_delta(close, 5)\n)", ["rank(ts_delta(close, 5))"]),
        ("rank(close) # price\nrank(open) // the open price comes here", ["rank(close)", "rank(open)"]),
        ('"rank(close)",\n"rank(open)"', ["rank(close)", "rank(open)"]),
        ("rank(close);", ["rank(close)"]),
        ("rank(clos)\nrank(open)", ["!unknown field or name 'clos'", "rank(open)"]),
        ("rank(close", ["!the expression ends inside a parenthesis"]),
        ("a = close", ["!the last statement assigns 'a' and gives no alpha"]),
        ("rank(sector)",
         ["!rank: 'x' must be a matrix, and 'sector' is a grouping: only group arguments take it"]),
        ("rank(close) as a measure of price", ["rank(close)"]),
        ("rank(close) minus rank(open)", ["!unexpected 'minus' after 'rank(close)'"]),
        ("It uses `rank()` and `ts_mean()`.\nrank(), ts_delta()\n- Smoothing: ts_mean()\nrank(close)", ["rank(close)"]),
        ("rank(close) and rank(open)", ["and(rank(close), rank(open))"]),
        ("- Settings: decay=4, neutralization=industry\nrank(close)", ["rank(close)"]),
        ("rank(close) \N{MULTIPLICATION SIGN} rank(open)", ["multiply(rank(close), rank(open))"]),
        ("rank(close)\N{NO-BREAK SPACE}\N{MINUS SIGN}\N{NO-BREAK SPACE}rank(open)",
         ["subtract(rank(close), rank(open))"]),
        ("The operator rank(close) is good\nwhile ts_mean (close, 5) is better", []),
        ("close > open ? rank(close) : -1", ["if_else(close > open, rank(close), -1)"]),
    ],
)  # fmt: skip
def test_plain_text(reply: str, found: list[str]) -> None:
    assert outcomes(reply) == found


@patient
def test_a_reply_cut_anywhere_keeps_what_was_complete() -> None:
    schema = build_schema(CATALOGUE, count=3, depth=3)
    random = Random(3)
    for _ in range(amount(10, 2000)):
        value = instance(schema, random)
        text = json.dumps(value)
        whole = decode_reply(text, CATALOGUE)
        lengths = [len(json.dumps(item)) for item in value["expressions"]]
        begin = len('{"expressions": [')
        ends = [begin + sum(lengths[: count + 1]) + 2 * count for count in range(len(lengths))]
        for cut in range(len('{"expressions": [') + 1, len(text)):
            kept = decode_reply(text[:cut], CATALOGUE)
            assert kept == whole[: len(kept)]
            assert len(kept) >= sum(end <= cut for end in sorted(ends))


def test_deep_and_huge_replies_are_bounded() -> None:
    deep = '{"expressions": [' + "[" * 200_000
    assert all("levels" in outcome for outcome in outcomes(deep))
    closed = '{"expressions": [' + '["rank",' * 5000 + '"close"' + "]" * 5000 + "]}"
    assert "levels" in outcomes(closed)[0]
    many = '{"expressions": [' + '["rank","close"],' * 3000 + "]}"
    assert len(decode_reply(many, CATALOGUE)) == MAX_EXPRESSIONS
    assert len(decode_reply("rank(close)\n" * 3000, CATALOGUE)) == MAX_EXPRESSIONS
    assert "no JSON" in outcomes('{"expressions": [["ts_mean", "close", ' + "9" * 5000 + "]]}")[0]


UNITS = (
    "(",
    "`",
    "a=",
    "1.",
    "- ",
    '"',
    "**",
    "a ",
    "a(",
    "# ",
    "alpha",
    "::",
    "a",
    " ",
    "a;",
    "\\",
    "/*",
    "1",
    "[",
    "{",
    '["a",',
    '{"a":',
    "['a',",
    '["a" ',
    '[1, "a": ',
    "<think>",
    "</think>",
    "a = a\n",
    "rank(close) - ",
    "rank(a): ",
    "|",
    "\n? ",
    "a *\n",
    "rank(close)\n  + ",
    "\\frac{",
    "\uff08",
    "&lt;",
    "1.1",
)


@pytest.mark.parametrize("hostile", [head + unit * 60_000 for unit in UNITS for head in ("", "alpha")])
def test_hostile_text_costs_little_and_raises_nothing(hostile: str) -> None:
    decode_reply(hostile, CATALOGUE)
    decode_reply(f"{hostile}x\n{hostile}(", CATALOGUE)


PIECES = [*':[]{},5")\\\n`; é\x00', '{"expressions"', '"rank"', '"close"', "null", "rank(", "close", "```",
          "1. ", "- ", "a = ", "<think>", "</think>"]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_reply_raises_nothing(reply: str) -> None:
    for found in decode_reply(reply, CATALOGUE):
        assert isinstance(found, ExpressionError) or show(found)


@patient
def test_random_bytes_raise_nothing() -> None:
    random = Random(9)
    for _ in range(amount(500, 200_000)):
        decode_reply(random.randbytes(random.randrange(60)).decode("latin-1"), CATALOGUE)


def test_a_megabyte_of_brackets_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    class Counting(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            tries.append(idx)
            return super().raw_decode(s, idx)

    monkeypatch.setattr("generator.llm.reply._DECODER", Counting())
    assert decode_reply(r"\text{" * 170_000, CATALOGUE) == []
    assert len(tries) < 10_000
