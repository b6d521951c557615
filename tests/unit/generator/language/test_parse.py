# ruff: noqa: RUF001 - signs of other keyboards

import re
import threading
from contextlib import suppress
from random import Random

import pytest

from generator.catalogue import load_catalogue
from generator.language import Call, ExpressionError, Field, Node, Number, Text, errors, parse, show
from generator.language.ast import MAX_CHARACTERS, MAX_DEPTH
from tests.reference.expressions import amount, patient

CATALOGUE = load_catalogue()
CLOSE, OPEN, HIGH = Field("close"), Field("open"), Field("high")


def call(name: str, *args: Node, **named: Node) -> Call:
    return Call(name, args, tuple(named.items()))


def refused(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse(text, CATALOGUE)
    return caught.value


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("close", CLOSE),
        ("((close))", CLOSE),
        ("rank(close)", call("rank", CLOSE)),
        ("close + open", call("add", CLOSE, OPEN)),
        ("close - open - high", call("subtract", call("subtract", CLOSE, OPEN), HIGH)),
        ("close + open * high", call("add", CLOSE, call("multiply", OPEN, HIGH))),
        ("close / open * high", call("multiply", call("divide", CLOSE, OPEN), HIGH)),
        ("(close + open) * high", call("multiply", call("add", CLOSE, OPEN), HIGH)),
        ("-close", call("reverse", CLOSE)),
        ("+close", CLOSE),
        ("- -close", call("reverse", call("reverse", CLOSE))),
        ("-5", Number(-5)),
        ("-(5)", Number(-5)),
        ("close - -5", call("subtract", CLOSE, Number(-5))),
        ("-close * open", call("multiply", call("reverse", CLOSE), OPEN)),
        ("-close ^ 2", call("reverse", call("power", CLOSE, Number(2)))),
        ("close ^ open ^ high", call("power", CLOSE, call("power", OPEN, HIGH))),
        ("2 ^ -close", call("power", Number(2), call("reverse", CLOSE))),
        ("close < open", call("less", CLOSE, OPEN)),
        ("close <= open == high", call("equal", call("less_equal", CLOSE, OPEN), HIGH)),
        ("close == open != high", call("not_equal", call("equal", CLOSE, OPEN), HIGH)),
        ("close > open - 1", call("greater", CLOSE, call("subtract", OPEN, Number(1)))),
        ("close >= 1 && open", call("and", call("greater_equal", CLOSE, Number(1)), OPEN)),
        ("close && open || high", call("or", call("and", CLOSE, OPEN), HIGH)),
        ("close || open && high", call("or", CLOSE, call("and", OPEN, HIGH))),
        ("close and open or high", call("or", call("and", CLOSE, OPEN), HIGH)),
        ("and(close, open)", call("and", CLOSE, OPEN)),
        ("or(close, open) and high", call("and", call("or", CLOSE, OPEN), HIGH)),
        ("close and (open)", call("and", CLOSE, OPEN)),
        ("!close == open", call("equal", call("not", CLOSE), OPEN)),
        ("not close == open", call("not", call("equal", CLOSE, OPEN))),
        ("not(close) == open", call("equal", call("not", CLOSE), OPEN)),
        ("not (close) && open", call("and", call("not", CLOSE), OPEN)),
        ("!!close", call("not", call("not", CLOSE))),
        ("close ? open : high", call("if_else", CLOSE, OPEN, HIGH)),
        ("close ? open : high ? 1 : 2",
         call("if_else", CLOSE, OPEN, call("if_else", HIGH, Number(1), Number(2)))),
        ("close ? open ? 1 : 2 : high",
         call("if_else", CLOSE, call("if_else", OPEN, Number(1), Number(2)), HIGH)),
        ("close > 1 ? open + 1 : high", call(
            "if_else", call("greater", CLOSE, Number(1)), call("add", OPEN, Number(1)), HIGH)),
        ("hump(close, hump = 0.1)", call("hump", CLOSE, hump=Number(0.1))),
        ("hump(close,hump=-open)", call("hump", CLOSE, hump=call("reverse", OPEN))),
        ("rank(close == open)", call("rank", call("equal", CLOSE, OPEN))),
        ("ts_quantile(close, 5, driver = gaussian)", call(
            "ts_quantile", CLOSE, Number(5), driver=Text("gaussian"))),
        ("add(close, open, filter=true)", call("add", CLOSE, OPEN, filter=Text("true"))),
        ('kth_element(close, 5, k="1")', call("kth_element", CLOSE, Number(5), k=Text("1"))),
        ("add(close, open, filter=True)", call("add", CLOSE, OPEN, filter=Text("true"))),
        ("rank()", call("rank")),
        ("rank(close = open)", call("rank", close=OPEN)),
    ],
)  # fmt: skip
def test_text_becomes_a_tree(text: str, tree: Node) -> None:
    assert parse(text, CATALOGUE) == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("5.", 5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("1E+3", 1000),
        ("0.10", 0.1),
        ("007", 7),
        ("1.5e2", 150),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert parse(text, CATALOGUE) == Number(value)


@pytest.mark.parametrize("quoted", ['"0,1,0.1"', "'0,1,0.1'", "“0,1,0.1”", "‘0,1,0.1’", "”0,1,0.1”"])
def test_strings_in_all_their_quotes(quoted: str) -> None:
    assert parse(f"bucket(close, range={quoted})", CATALOGUE) == call("bucket", CLOSE, range=Text("0,1,0.1"))


@pytest.mark.parametrize(
    "text",
    [
        "a = close; rank(a)",
        "a=close;rank(a);",
        "a = open; a = close; rank(a)",
        "b = close;\nc = rank(b);\nc",
        "/* why */ rank(/* what */ close)",
        "rank(close) // the rest is silence",
        "# first\nrank(close) # last",
        "rank(\n\tclose\n)",
        ";;rank(close);;",
        "/* a * b / c ** */ rank(close)",
        "rank /* x */ (close)",
        "rank(close)",
    ],
)
def test_statements_comments_and_spaces(text: str) -> None:
    assert parse(text, CATALOGUE) == call("rank", CLOSE)


def test_a_variable_may_hide_a_field_and_is_not_an_operator() -> None:
    assert parse("close = open; rank = high; close + rank", CATALOGUE) == call("add", OPEN, HIGH)


def test_names_that_only_begin_like_words() -> None:
    assert parse("android = close; nothing = open; order = 1; android * nothing + order", CATALOGUE) == call(
        "add", call("multiply", CLOSE, OPEN), Number(1)
    )


def test_positions_are_offsets_of_the_first_character() -> None:
    tree = parse("open + rank(close)", CATALOGUE)
    assert isinstance(tree, Call)
    right = tree.args[1]
    assert isinstance(right, Call)
    assert (tree.position, right.position, right.args[0].position) == (0, 7, 12)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "no expression", ""),
        (" ; ; ", "no expression", ""),
        ("rank(close", "ends inside a parenthesis", "close it"),
        ("rank(close))", r"unexpected '\)'", "too many"),
        ("rank(close +", "ends too early", "operand"),
        ("close open", "unexpected 'open'", ""),
        ("rank(close,)", r"unexpected '\)'", "argument is missing"),
        ("close = = open", "unexpected '='", "=="),
        ("close ** 2", r"unexpected '\*'", "power"),
        ("close {", r"unexpected character '{'", "braces"),
        ("close % 2", "unexpected character '%'", "operators by name"),
        ("close & open", "unexpected character '&'", "&&"),
        ("rank('close)", "unexpected character", "quote"),
        ("close > open ? high", "ends inside a choice", "c ? x : y"),
        ("== close", "unexpected '=='$", ""),
        ("/* never closed", "unexpected '/'", "ends with"),
        ("close\0", r"unexpected character '\\u0000'", ""),
        ("close /* never closed", r"unexpected '\*'", "ends with"),
        ("close \N{EM DASH} open", "unexpected character", "plain minus"),
        ("close \N{LESS-THAN OR EQUAL TO} open", "unexpected character", "write <="),
        ("rank(|close|)", r"unexpected character '\|'", "abs(x)"),
        ("rank(close, IndClass.sector)", r"unexpected character '\.'", "no dots"),
        ("ts\\_mean(close, 5)", "unexpected character", "backslashes"),
        ("`rank(close)`", "unexpected character", "backticks"),
        ("clos", "unknown field or name 'clos'", "did you mean close"),
        ("Close", "unknown field or name 'Close'", "did you mean close?"),
        ("adv60", "unknown field or name 'adv60'", "ts_mean(volume, 60)"),
        ("ADV20", "unknown field or name 'ADV20'", "did you mean adv20?"),
        ("market_cap", "unknown field or name 'market_cap'", "did you mean cap?"),
        ("ts_men(close, 5)", "unknown operator 'ts_men'", "ts_mean"),
        ("Rank(close)", "unknown operator 'Rank'", "did you mean rank"),
        ("Ts_Rank(close, 5)", "unknown operator 'Ts_Rank'", "did you mean ts_rank?"),
        ("ts_shift(close, 5)", "unknown operator 'ts_shift'", "did you mean ts_delay?"),
        ("TS_CHANGE(close, 5)", "unknown operator 'TS_CHANGE'", "did you mean ts_delta?"),
        ("clip(close, 0, 1)", "unknown operator 'clip'", "min(max(x, -1), 1)"),
        ("ts_max(close, 5)", "unknown operator 'ts_max'", "rolling extremes"),
        ("indneutralize(close, sector)", "unknown operator", "group_neutralize"),
        ("close(5)", "'close' is a data field, not an operator", ""),
        ("rank", "'rank' needs its arguments", "rank"),
        ("Event = close; event", "unknown field or name 'event'", "Event"),
        ("rank(x=close, close)", "positional argument stands after", "last"),
        ("rank(close); rank(open)", "unused", "only the last"),
        ("rank(close); a = open; a", "unused", "only the last"),
        ("a = rank(close)", "assigns 'a'", "leave out the assignment"),
        ("true = close; rank(close)", "cannot be assigned", ""),
        ("1e999", "too large", ""),
        ("5abc", "unexpected 'abc'", ""),
        ("f(close) = close", "unexpected '='", "assignment"),
    ],
)
def test_errors_have_message_and_hint(text: str, message: str, hint: str) -> None:
    error = refused(text)
    with pytest.raises(ExpressionError, match=message):
        raise error
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ts_corr(close，open，10)", "ts_corr(close,open,10)"),
        ("rank（close）＊２", "rank(close)*2"),
        ("close \N{MINUS SIGN} open", "close - open"),
        ("high\N{EN DASH}low", "high-low"),
        ("close × open ÷ high", "close * open / high"),
        ("close ＞ open ？ high ： low；", "close > open ? high : low;"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}rank(close)", "rank(close)"),
    ],
)  # fmt: skip
def test_signs_of_other_keyboards_are_read_as_the_plain_ones(text: str, plain: str) -> None:
    assert parse(text, CATALOGUE) == parse(plain, CATALOGUE)
    error = refused(text + " clos")
    assert error.position == len(text) + 1


def test_what_stands_before_an_error_is_code_on_one_line() -> None:
    error = refused("rank(close) # of a\n# day\nrank(open)")
    assert error.message == "unexpected 'rank' after 'rank(close)'"
    assert refused("rank(\n close open)").message == "unexpected 'open' after 'rank( close'"


@pytest.mark.parametrize(
    "name", [*errors._OPERATOR_OF, "TS_MEAN", "Group_Neutralize", "ts_meen", "winsorise"]
)
def test_a_hint_names_operators_that_there_are(name: str) -> None:
    meant = refused(f"{name}(close)").hint.removeprefix("did you mean ").removesuffix("?").split(" or ")
    assert set(meant) <= CATALOGUE.operators.keys()


def test_a_hint_names_no_operator_that_the_account_lacks() -> None:
    few = CATALOGUE.restricted_to(operators=["ts_mean", "rank"])
    with pytest.raises(ExpressionError) as caught:
        parse("delay(close, 5)", few)
    assert caught.value.hint == ""


@pytest.mark.parametrize("name", errors._WITHOUT_OPERATOR)
def test_a_hint_without_an_operator_of_that_name_is_read_itself(name: str) -> None:
    hint = refused(f"{name}(close, 5)").hint
    for written in re.findall(r"[a-z_]+\([^()]*(?:\([^()]*\)[^()]*)*\)", hint):
        assert parse(f"x = close; y = open; {written}", CATALOGUE)
    assert "(" in hint


def test_line_and_column_count_from_one() -> None:
    error = refused("a = close;\nrank(a) +\n  clos")
    assert (error.position, error.line, error.column) == (23, 3, 3)
    assert str(error).startswith("line 3, column 3: unknown field")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "close" + ")" * 5000,
        "rank(" * 65 + "close" + ")" * 65,
        "-(" * 65 + "close" + ")" * 65,
        "!" * 5000 + "close",
        "+".join(["close"] * 5000),
        "close ? " * 3000 + "1" + ": 2" * 3000,
        "^".join(["close"] * 100),
        "a = close;" + "a = a + a;" * 40 + "a",
        "add(" + ",".join(["close"] * 5000) + ")",
    ],
)
def test_depth_and_size_are_bounded(text: str) -> None:
    if text.startswith("(("):
        assert parse(text, CATALOGUE) == CLOSE
    else:
        assert "levels" in refused(text).message or "parts" in refused(text).message


def test_the_deepest_that_is_allowed() -> None:
    nested = "rank(" * (MAX_DEPTH - 1) + "close" + ")" * (MAX_DEPTH - 1)
    assert show(parse(nested, CATALOGUE)) == nested


@pytest.mark.parametrize(
    "text", ["(" * MAX_CHARACTERS, "close+" * 20000, "\x00" * 70000, '"' * MAX_CHARACTERS]
)
def test_huge_inputs_are_refused(text: str) -> None:
    refused(text)


@patient
def test_random_text_raises_nothing_else() -> None:
    random = Random(5)
    pieces = [*'()=;?:-+*/^!"\'“#<é,\x00\ud800', "rank", "close", "==", "&&", "||", "not", "and", "or", " ",
              "\n", "1", ".5", "1e9", "/*", "*/", "//", "a", "ts_mean", "true",
              "\N{ARABIC-INDIC DIGIT FIVE}"]  # fmt: skip
    for _ in range(amount(1500, 200_000)):
        text = "".join(random.choices(pieces, k=random.randrange(1, 25)))
        try:
            tree = parse(text, CATALOGUE)
        except ExpressionError:
            continue
        assert parse(show(tree), CATALOGUE) == tree


@patient
def test_random_bytes_raise_nothing_else() -> None:
    random = Random(6)
    for _ in range(amount(1500, 200_000)):
        text = random.randbytes(random.randrange(1, 40)).decode("latin-1")
        with suppress(ExpressionError):
            parse(text, CATALOGUE)


def test_each_thread_has_its_own_parser() -> None:
    texts = [f"a = ts_mean(close, {n}); a * {n}" for n in range(1, 40)]
    expected = [parse(text, CATALOGUE) for text in texts]
    failures: list[str] = []

    def work() -> None:
        failures.extend(t for t, e in zip(texts, expected, strict=True) if parse(t, CATALOGUE) != e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_error_does_not_affect_the_next_parse() -> None:
    refused("a = close; b = open; b +")
    assert "unknown" in refused("a").message
