"""Mutations of what is read: of bytes, of the numbers in them, and of JSON values."""

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.reference.wrappings import WRAPPINGS

LONGEST = 64 * 1024
SHAPES = (
    '"', "\\", '\\"', "=", " ", "[", "{", "(", '{"log":"', '{"a":', "[[", "time=", 'msg="', "a=b ", "| ", "\x1b[", "\x1b[1m",
    "ollama  | ", "stdout F ", "2026-11-23T22:24:52Z ", "Nov 23 22:24:52 ", "host ollama[1]: ", "[pod/a/b] ", "[GIN] ",
    "[GIN] 2026/11/23 - 22:24:52 | 500 |", "0.00.811.305 W ", "CUDA error ", "mlx ", "out of memor", "ut of memory",
    "failed to allocate ", "unable to allocate 1 ", "allocating 1 MiB on device 0: ", "offloaded 1/1 ", "sha256-a",
    "Malloc(", "load failed; ", "Listening on ", "loaded meta data ", "load_model: loading model '", "8m44s", "1h", "9",
    "<30>1 ", "a\t", "{a} ", "[1.000000] ", "1795435200.500 ", "MESSAGE=", '{"MESSAGE":[', "[1],", "cudaHost",
    "2023/10/11 15:40:01 ",
    "error loading model: ", "\\n", "é", "\u2028", "\x00", "Memory allocation of size 1", "ggml_metal_a", "'", "e.go:1: ",
)  # fmt: skip


NUMBERS = (
    "NaN", "nan", "inf", "-Infinity", "1e999", "1e308", "-1", "0", "9" * 18, "9" * 30, "9" * 400, "9" * 5000, "1.2.3", ".",
    "٣", "²", "null", '""', "4e9", "-1e300", "9999", "0001",
)  # fmt: skip
_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
HOSTILE: tuple[Any, ...] = (
    None, True, False, [], {}, "", "x", -1, 0, 10**18, 10**400, 1.5, 1e308, -1e308, float("inf"), float("nan"), "NaN",
    "1e999", "\ud800", "\x00", "9" * 5000, ["a"] * 3, {"a": {"b": 1}}, [[[[[[[[]]]]]]]], "é\u2028", "x" * 5000,
)  # fmt: skip
"""Values that no program of ours writes, for any place of a JSON text."""
DEEP = "[" * 4000 + "]" * 4000


def _cut(chance: random.Random, line: bytes, _: bytes) -> bytes:
    start, end = sorted((chance.randint(0, len(line)), chance.randint(0, len(line))))
    return line[:start] + line[end:]


def _flip(chance: random.Random, line: bytes, _: bytes) -> bytes:
    changed = bytearray(line or b"x")
    for _number in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.choice(b'"\\=[]{}| :0aZ\x00\xff\xc3\n\t\x1b')
    return bytes(changed)


def _splice(chance: random.Random, line: bytes, other: bytes) -> bytes:
    return line[: chance.randint(0, len(line))] + other[chance.randint(0, len(other)) :]


def _repeat(chance: random.Random, line: bytes, _: bytes) -> bytes:
    start, end = sorted((chance.randint(0, len(line)), chance.randint(0, len(line))))
    piece = line[start:end] or b"a"
    times = chance.choice((2, 3, 10, 100)) if chance.random() < 0.999 else LONGEST // len(piece)
    return (line[:start] + piece * times + line[end:])[:LONGEST]


def _insert(chance: random.Random, line: bytes, _: bytes) -> bytes:
    at = chance.randint(0, len(line))
    return line[:at] + chance.choice(SHAPES).encode() + line[at:]


def number_changed(chance: random.Random, line: bytes, _: bytes) -> bytes:
    numbers = list(_NUMBER.finditer(line))
    if not numbers:
        return line
    match = chance.choice(numbers)
    return line[: match.start()] + chance.choice(NUMBERS).encode() + line[match.end() :]


def _wrap(chance: random.Random, line: bytes, _: bytes) -> bytes:
    if chance.random() < 0.5:
        wrap = chance.choice(tuple(WRAPPINGS.values()))
        return wrap(line.decode("utf-8", "replace"), 1_795_000_000.0).encode("utf-8", "replace")
    return chance.choice(SHAPES).encode() + line


MUTATIONS: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _cut, _flip, _splice, _repeat, _insert, _wrap, number_changed,
)  # fmt: skip


def mutated(chance: random.Random, lines: list[bytes]) -> Iterator[bytes]:
    """Yield real lines, each changed a few times, for ever."""
    while True:
        line = chance.choice(lines)
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            line = chance.choice(MUTATIONS)(chance, line, chance.choice(lines))
        yield line


def json_mutated(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return a JSON text in which some places hold other values; now and then bytes are changed too."""
    value = value_mutated(chance, json.loads(chance.choice(seeds)))
    text = json.dumps(value, ensure_ascii=chance.random() < 0.7).encode("utf-8", "surrogatepass")
    roll = chance.random()
    if roll < 0.01:
        return text.replace(b'"x"', DEEP.encode())
    if roll < 0.3:
        text = chance.choice(MUTATIONS)(chance, text, chance.choice(seeds))
    return text


def value_mutated(chance: random.Random, value: Any) -> Any:
    """Return a JSON value in which some places hold other values."""
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        value = _with_other_value(chance, value)
    return value


def _with_other_value(chance: random.Random, value: Any) -> Any:
    """Return the value with one place of it changed, removed or added."""
    if not isinstance(value, (dict, list)) or not value or chance.random() < 0.15:
        return chance.choice(HOSTILE)
    if isinstance(value, list):
        place = chance.randrange(len(value))
        return [*value[:place], _with_other_value(chance, value[place]), *value[place + 1 :]]
    key = chance.choice(list(value))
    changed = dict(value)
    if chance.random() < 0.15:
        del changed[key]
    else:
        changed[key] = _with_other_value(chance, value[key])
    return changed
