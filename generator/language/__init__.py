"""FASTEXPR, BRAIN's expression language: one tree, one parser, one checker, one printer.

    parse(text, catalogue) -> Node            text to tree, names resolved
    check(node, catalogue) -> Kind            types; `check_alpha` also requires a matrix that reads data
    show(node) -> str                         tree to text; `parse(show(x), catalogue) == x`
    canonical(node, catalogue) -> Node        one form for all spellings; `digest(node)` is its key
    read(text, catalogue) -> Alpha            all of these in one pass
    operator_count(node) -> int               BRAIN accepts at most BRAIN_OPERATORS

    build_schema(catalogue, …) -> dict        the JSON schema of a reply: expressions as typed nested arrays
    decode(value, catalogue) -> Node          one nested array to a tree

Every fault of an expression is an ExpressionError. No module of this package evaluates expressions.
"""

from generator.language.ast import BRAIN_OPERATORS, Call, Field, Node, Number, Text, operator_count
from generator.language.canonical import Alpha, alpha_of, canonical, digest, read
from generator.language.check import check, check_alpha
from generator.language.errors import ExpressionError
from generator.language.nested_json import decode
from generator.language.parse import parse
from generator.language.print import show
from generator.language.schema import build_schema

__all__ = [
    "BRAIN_OPERATORS",
    "Alpha",
    "Call",
    "ExpressionError",
    "Field",
    "Node",
    "Number",
    "Text",
    "alpha_of",
    "build_schema",
    "canonical",
    "check",
    "check_alpha",
    "decode",
    "digest",
    "operator_count",
    "parse",
    "read",
    "show",
]
