"""FASTEXPR, BRAIN's expression language: one tree, one parser, one checker, one printer.

    parse(text, catalogue) -> Node            text to tree, names resolved
    check(node, catalogue) -> Kind            types; `check_alpha` also asks for a matrix that reads data
    show(node) -> str                         tree to text; `parse(show(x), catalogue) == x`
    canonical(node, catalogue) -> Node        one form for all spellings; `digest(node)` names it
    read(text, catalogue) -> Alpha            all of these at once, the quick way
    operator_count(node) -> int               BRAIN takes at most BRAIN_OPERATORS

    build_schema(catalogue, …) -> dict        the JSON schema of a reply: expressions as nested arrays, typed
    decode(value, catalogue) -> Node          one nested array to a tree
    decode_reply(text, catalogue) -> list     a whole reply, as the schema says, cut off, or in plain text

Whatever is wrong with an expression is an ExpressionError. Nothing here evaluates anything.
"""

from generator.language.alpha import Alpha, alpha_of, read
from generator.language.ast import Call, Field, Node, Number, Text
from generator.language.canonical import canonical, digest
from generator.language.check import check, check_alpha
from generator.language.errors import ExpressionError
from generator.language.limits import BRAIN_OPERATORS, operator_count
from generator.language.nested_json import decode
from generator.language.parse import parse
from generator.language.print import show
from generator.language.schema import build_schema
from generator.llm.reply import decode_reply

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
    "decode_reply",
    "digest",
    "operator_count",
    "parse",
    "read",
    "show",
]
