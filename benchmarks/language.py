"""Reading of expressions beside a bare Lark parse, and the size of the typed grammar."""

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any

from lark import Lark

from benchmarks.report import Report
from generator.catalogue import load_catalogue
from generator.language import Node, build_schema, canonical, check, decode, digest, parse, read, show

EXPRESSIONS = {
    "short": "rank(-ts_delta(close, 5))",
    "typical": "group_neutralize(ts_corr(rank(close), rank(volume), 20) * -1, subindustry)",
    "infix": "-(close - ts_mean(close, 20)) / ts_std_dev(close, 20) * (volume / adv20 > 1.5 ? 2 : 1)",
    "statements": "a = ts_zscore(returns, 60); b = rank(volume / adv20); trade_when(b > 0.7, -a * b, -1)",
}

BARE = r"""
?start: (NAME "=" ternary ";")* ternary
?ternary: logic | logic "?" ternary ":" ternary
?logic: comparison | logic ("&&" | "||") comparison
?comparison: sum | comparison ("<" | ">" | "<=" | ">=" | "==" | "!=") sum
?sum: product | sum ("+" | "-") product
?product: unary | product ("*" | "/") unary
?unary: "-" unary | atom
?atom: NUMBER | STRING | NAME | call | "(" ternary ")"
call: NAME "(" [argument ("," argument)*] ")"
?argument: ternary | NAME "=" ternary
NAME: /[A-Za-z_][A-Za-z0-9_]*/
NUMBER: /[0-9]+(\.[0-9]*)?/
STRING: /"[^"]*"/
COMMENT: /\/\*([^*]|\*(?!\/))*\*\//
%ignore /\s+/
%ignore COMMENT
"""


def fastest_ms(work: Callable[[], object], rounds: int = 15, calls: int = 100) -> float:
    work()
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        best = min(best, time.perf_counter() - begin)
    return best / calls * 1000


def cells(values: Iterable[object]) -> list[str]:
    return [f"{value:.3f}" if isinstance(value, float) else str(value) for value in values]


def reading() -> Report:
    catalogue = load_catalogue()
    bare = Lark(BARE, parser="lalr", maybe_placeholders=False)
    head = [
        "expression",
        "bare Lark, ms",
        "parse",
        "check",
        "canonical",
        "digest",
        "all (read)",
        "all / bare",
    ]
    lines = []
    for name, text in EXPRESSIONS.items():
        tree = parse(text, catalogue)
        form = canonical(tree, catalogue)
        floor = fastest_ms(partial(bare.parse, text))
        whole = fastest_ms(partial(read, text, catalogue))
        steps: list[Callable[[], object]] = [
            partial(parse, text, catalogue),
            partial(check, tree, catalogue),
            partial(canonical, tree, catalogue),
            partial(digest, form),
        ]
        lines.append(cells([name, floor, *map(fastest_ms, steps), whole, f"{whole / floor:.2f}"]))
    return Report(
        "Reading an expression",
        head,
        lines,
        "Milliseconds; the fastest of 15 rounds of 100 calls. The baseline is a bare Lark LALR parse.",
    )


def draw(schema: dict[str, Any], definitions: dict[str, Any], random: Random) -> Any:
    if "$ref" in schema:
        return draw(definitions[schema["$ref"].rpartition("/")[2]], definitions, random)
    if "anyOf" in schema:
        return draw(random.choice(schema["anyOf"]), definitions, random)
    if "prefixItems" in schema:
        return [draw(item, definitions, random) for item in schema["prefixItems"]]
    return schema["const"] if "const" in schema else random.choice(schema["enum"])


def decode_all(values: list[Any]) -> list[Node]:
    catalogue = load_catalogue()
    return [decode(value, catalogue) for value in values]


def grammar() -> Report:
    catalogue = load_catalogue()
    head = [
        "depth",
        "schema, bytes",
        "build, ms",
        "decode, ms",
        "array, characters",
        "as text",
        "array / text",
    ]
    lines = []
    for depth in (1, 2, 4, 8):
        schema = build_schema(catalogue, count=2, depth=depth)
        random = Random(depth)
        values = [draw(schema["$defs"]["a"], schema["$defs"], random) for _ in range(200)]
        trees = decode_all(values)
        arrays = sum(len(json.dumps(value, separators=(",", ":"))) for value in values) / len(values)
        texts = sum(len(show(tree).replace(" ", "")) for tree in trees) / len(trees)
        size = len(json.dumps(schema, separators=(",", ":")))
        build = fastest_ms(partial(build_schema, catalogue, count=2, depth=depth), 3, 3)
        decoding = fastest_ms(partial(decode_all, values), 3, 3) / len(values)
        lines.append(
            cells([depth, size, build, decoding, round(arrays), round(texts), f"{arrays / texts:.2f}"])
        )
    return Report("The typed grammar", head, lines, "Arrays, and the same expressions as text.")


def measure() -> list[Report]:
    """Measure the reading of expressions, and of random arrays of the grammar."""
    return [reading(), grammar()]
