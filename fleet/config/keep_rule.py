"""The rule of `[generator] keep`: comparisons of an alpha's metrics with numbers, joined by `and` and `or`.

    rule        = conjunction { "or" conjunction }
    conjunction = operand { "and" operand }
    operand     = "(" rule ")" | comparison
    comparison  = NAME ("<" | "<=" | ">" | ">=" | "==" | "!=") NUMBER

A comparison with a metric without a value is false. The caller may pass another result for it (`unknown`).
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

METRICS = ("sharpe", "turnover", "fitness", "returns", "drawdown", "margin")
COUNTS = ("long_count", "short_count", "days")
JUDGED = ("validation_fitness", "validation_sharpe", "dsr", "self_correlation", "failed_checks")
NAMES = (*METRICS, *COUNTS, *JUDGED)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign><=|>=|==|!=|<|>)"
    r"|(?P<bracket>[()]))"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_MAX_LENGTH = 500
_MAX_DEPTH = 20

Figures = Mapping[str, float | int | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of a metric with a number."""

    name: str
    sign: str
    number: float

    def holds(self, figures: Figures, *, unknown: bool = False) -> bool:
        """Return True if the figures satisfy the comparison; `unknown` for a metric without a value."""
        value = figures.get(self.name)
        return unknown if value is None else _SIGNS[self.sign](value, self.number)


@dataclass(frozen=True, slots=True)
class BooleanRule:
    """Several rules joined by `and` (`all`) or `or`."""

    parts: Sequence["Comparison | BooleanRule"]
    all: bool

    def holds(self, figures: Figures, *, unknown: bool = False) -> bool:
        """Return True if the figures satisfy the rule; `unknown` for a comparison of a metric without a value."""
        return (all if self.all else any)(part.holds(figures, unknown=unknown) for part in self.parts)


KeepRule = Comparison | BooleanRule


def parse_keep(text: str) -> KeepRule:
    """Return the parsed rule; raise ValueError with the fault and its place."""
    reader = _Reader(list(_tokens(text)))
    rule = reader.rule(0)
    reader.end()
    return rule


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"it is longer than {_MAX_LENGTH} characters")
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise ValueError(f'"{text[place:].strip()[:10]}" (at {place}) belongs to no comparison')
        yield match.lastgroup, match[match.lastgroup]
        place = match.end()


class _Reader:
    """Reads a rule from its tokens, by recursive descent."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._place = 0

    def rule(self, depth: int) -> KeepRule:
        if depth > _MAX_DEPTH:
            raise ValueError("its brackets are nested too deeply")
        parts = [self._conjunction(depth)]
        while self._accept("name", "or"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else BooleanRule(tuple(parts), all=False)

    def _conjunction(self, depth: int) -> KeepRule:
        parts = [self._operand(depth)]
        while self._accept("name", "and"):
            parts.append(self._operand(depth))
        return parts[0] if len(parts) == 1 else BooleanRule(tuple(parts), all=True)

    def _operand(self, depth: int) -> KeepRule:
        if not self._accept("bracket", "("):
            return self._comparison()
        rule = self.rule(depth + 1)
        if not self._accept("bracket", ")"):
            raise ValueError("a bracket is not closed")
        return rule

    def _comparison(self) -> Comparison:
        name = self._expect("name", "a metric's name")
        if name not in NAMES:
            raise ValueError(f'"{name}" is no metric')
        sign = self._expect("sign", f"a comparison after {name}")
        return Comparison(name, sign, float(self._expect("number", f"a number after {name} {sign}")))

    def end(self) -> None:
        if self._place < len(self._tokens):
            raise ValueError(f'"{self._tokens[self._place][1]}" comes after its end')

    def _accept(self, kind: str, word: str) -> bool:
        if self._place < len(self._tokens) and self._tokens[self._place] == (kind, word):
            self._place += 1
            return True
        return False

    def _expect(self, kind: str, wanted: str) -> str:
        found = self._tokens[self._place] if self._place < len(self._tokens) else ("end", "its end")
        if found[0] != kind:
            raise ValueError(f'{wanted} is expected, not "{found[1]}"')
        self._place += 1
        return found[1]
