"""Builds the prompt of a call. Building is pure: the same inputs and seed give the same prompt.

There are two kinds (`themes`). *Explore* offers a sample of the operators and fields. *Refine* shows parents from the
pool in the form of the answer, with their figures on the train days. It offers all their operators and fields, and its
grammar contains the parents. A prompt begins with the part that the calls of its theme share. Failures and repetitions,
which change from call to call, are at its end. Sections are shortened, least needed first, until the estimate fits the
window.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from generator.catalogue import Catalogue, DataField, Kind, Operator
from generator.language import Call, ExpressionError, Field, Node, build_schema, canonical, parse
from generator.language.breed import MOST_NESTED, nested
from generator.language.check import calls_in, reads_data
from generator.language.nested_json import to_array
from generator.llm.context_window import Window, estimate
from generator.llm.feedback import FailedExpression, Feedback
from generator.llm.themes import Arm, ThemeKind, theme_of
from generator.pool.model import Member
from generator.pool.parents import choose_parents

# Measured on replies of the typed grammar to depth 4: an expression rarely has more than 100 tokens.
_REPLY_PER_EXPRESSION = 192
_REPLY_FRAME = 64
_ALWAYS = ("add", "subtract", "multiply", "divide", "rank", "ts_mean", "ts_delta", "group_neutralize")
_PARENTS, _KEPT_PARENTS = 3, 2
_SHOWN_FAILED, _SHOWN_REPEATED = 4, 3
_REASON_LIMIT, _EXPRESSION_LIMIT, _PARENT_LIMIT = 160, 200, 400
_TAIL_SHARE = 0.2
"""Share of the room for the part that changes from call to call."""
DEPTH = 4


@dataclass(frozen=True, slots=True)
class _Amounts:
    """Most operators, matrix fields and vector fields that a kind of prompt offers."""

    operators: int
    matrices: int
    vectors: int


# Refining prompts leave room for their parents.
_AMOUNTS = {ThemeKind.EXPLORE: _Amounts(18, 12, 2), ThemeKind.REFINE: _Amounts(14, 8, 1)}

_TASK = (
    "You search for alphas: expressions that score every stock every day, whose high scores are bought and"
    " low ones sold."
)
_FORM = (
    "each a nested JSON array of an operator and its arguments, such as"
    ' ["rank",["ts_delta","close",5]], in {"expressions":[...]}.'
)
_END = "Answer with the JSON only.\n"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt with the parameters of its call.

    `reply_tokens` suffices for an answer. `most_tokens` is the window's rest, for thinking and answer. `fits`
    is True if the window holds prompt and answer by the estimate. `parents` are the digests of the alphas shown.
    """

    text: str
    schema: dict[str, Any]
    seed: int
    reply_tokens: int
    estimated: int
    most_tokens: int
    window: int
    fits: bool
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parent:
    """A member of the pool with its canonical tree, and the names of its operators and fields."""

    member: Member
    tree: Node
    operators: frozenset[str]
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The part of a prompt that the calls of a theme share."""

    arm: Arm
    count: int
    operators: Sequence[Operator]
    fields: Sequence[DataField]
    parents: Sequence[_Parent]


def build_prompt(
    catalogue: Catalogue, feedback: Feedback, *, count: int, window: Window, seed: int
) -> Prompt:
    """Return a prompt for `count` expressions that fits the window; `seed` holds its theme.

    Equal catalogues, members of the pool, counts, windows and themes give equal beginnings and schemas. If the shortest
    prompt does not fit, it is returned with `fits` False; the server truncates it.
    """
    reply = min(_REPLY_FRAME + _REPLY_PER_EXPRESSION * count, max(64, window.tokens // 3))
    room = window.prompt_budget(reply)
    beginning = _shortened(
        _sample(catalogue, feedback, count, seed), int(room * (1 - _TAIL_SHARE)), catalogue
    )
    text = _beginning_text(beginning, catalogue)
    text += _tail(feedback, catalogue, room - estimate(text))
    offered = catalogue.restricted_to(
        operators=[operator.name for operator in beginning.operators],
        fields=[field.id for field in beginning.fields],
    )
    trees = [parent.tree for parent in beginning.parents]
    estimated = estimate(text)
    return Prompt(
        text=text,
        schema=build_schema(
            offered, count=count, depth=max(DEPTH, *map(nested, trees)) if trees else DEPTH, parents=trees
        ),
        seed=seed,
        reply_tokens=reply,
        estimated=estimated,
        most_tokens=max(reply, window.reply_budget(estimated)),
        window=window.tokens,
        fits=estimated <= room,
        parents=tuple(parent.member.digest for parent in beginning.parents),
    )


# --- the beginning ---------------------------------------------------------------------------------------------------


def _sample(catalogue: Catalogue, feedback: Feedback, count: int, seed: int) -> _Beginning:
    theme, arm = theme_of(seed)
    rng = Random(theme)
    parents: list[_Parent] = []
    if arm.kind is ThemeKind.REFINE:
        for member in choose_parents(feedback.members, rng, _PARENTS):
            parent = _parent(member, catalogue)
            if parent is not None:
                parents.append(parent)
    most = _AMOUNTS[arm.kind]
    operators = _operators(catalogue, rng, most, {name for parent in parents for name in parent.operators})
    fields = _fields(catalogue, rng, most, {name for parent in parents for name in parent.fields})
    return _Beginning(arm, count, operators, fields, parents)


def _parent(member: Member, catalogue: Catalogue) -> _Parent | None:
    """Return a member as a parent; None if the grammar cannot contain it, or the prompt not show it."""
    try:
        tree = canonical(member.candidate.tree or parse(member.expression, catalogue), catalogue)
    except (ExpressionError, KeyError):
        return None
    calls = list(calls_in(tree))
    operators = frozenset(call.name for call in calls)
    fields = frozenset(name for call in calls for name in _fields_of(call))
    too_long = len(_array(tree, catalogue)) > _PARENT_LIMIT or nested(tree) > MOST_NESTED
    is_offered = calls and all(map(reads_data, calls)) and fields <= catalogue.fields.keys()
    return _Parent(member, tree, operators, fields) if is_offered and not too_long else None


def _fields_of(call: Call) -> list[str]:
    return [
        part.name for part in (*call.args, *(value for _, value in call.named)) if isinstance(part, Field)
    ]


def _operators(catalogue: Catalogue, rng: Random, most: _Amounts, needed: set[str]) -> list[Operator]:
    offered = [one for one in catalogue.operators.values() if one.search or one.name in needed]
    kept = [one for one in offered if one.name in needed or one.name in _ALWAYS]
    others = [one for one in offered if one.name not in needed and one.name not in _ALWAYS]
    picked = [*kept, *rng.sample(others, max(0, min(most.operators - len(kept), len(others))))]
    rng.shuffle(picked)
    return picked


def _fields(catalogue: Catalogue, rng: Random, most: _Amounts, needed: set[str]) -> list[DataField]:
    names = [name for name in catalogue.fields if name in needed]
    for kind, count in ((Kind.MATRIX, most.matrices), (Kind.VECTOR, most.vectors)):
        known = [name for name in names if catalogue.fields[name].kind is kind]
        others = [name for name in catalogue.fields_of(kind) if name not in needed]
        names += rng.sample(others, max(0, min(count - len(known), len(others))))
    names += [name for name in catalogue.fields_of(Kind.GROUP) if name not in needed]
    return [catalogue.fields[name] for name in names]


def _shortened(beginning: _Beginning, room: int, catalogue: Catalogue) -> _Beginning:
    """Return the beginning with as few items less as fit the room."""
    while estimate(_beginning_text(beginning, catalogue)) > room:
        shorter = _shorter(beginning)
        if shorter is None:
            return beginning
        beginning = shorter
    return beginning


def _shorter(beginning: _Beginning) -> _Beginning | None:
    """Return the beginning with one item less, None if it is the shortest. A parent's operators and fields stay."""
    operators, fields, parents = beginning.operators, beginning.fields, beginning.parents
    if len(parents) > _KEPT_PARENTS:
        return replace(beginning, parents=parents[:-1])
    needed = frozenset(_ALWAYS).union(*(parent.operators for parent in parents))
    cut = next((one for one in reversed(operators) if one.name not in needed), None)
    if cut is not None:
        return replace(beginning, operators=[one for one in operators if one is not cut])
    made_of = frozenset[str]().union(*(parent.fields for parent in parents))
    others = [one for one in fields if one.id not in made_of]
    spare = [one for one in others if one.kind is not Kind.GROUP][4:] or [
        one for one in others if one.kind is Kind.GROUP
    ][1:]
    if spare:
        return replace(beginning, fields=[one for one in fields if one is not spare[-1]])
    return replace(beginning, parents=parents[:-1]) if parents else None


def _beginning_text(beginning: _Beginning, catalogue: Catalogue) -> str:
    parts = [
        _TASK,
        f"Write {beginning.count} new expressions, {_FORM}",
        "Operators:\n" + "\n".join(map(_operator_line, beginning.operators)),
        "Data:\n" + "\n".join(map(_field_line, beginning.fields)),
    ]
    if beginning.parents:
        lines = "\n".join(_parent_line(one, catalogue) for one in beginning.parents)
        parts.append(f"Improve these alphas; keep what works, and mend their weakest check:\n{lines}")
    parts.append(
        f"Wanted now: {beginning.arm.style}. Each expression has one economic idea, two to six operators and few"
        " constants, and differs from the others and from those shown."
    )
    return "\n\n".join(parts) + "\n\n"


def _operator_line(operator: Operator) -> str:
    """Return name, signature and meaning: BRAIN's signature of a comparison lacks its name."""
    call = f"{operator.name}({', '.join(one.name for one in operator.required)})"
    named = operator.signature.startswith(f"{operator.name}(")
    return f"{operator.signature if named else f'{call}, {operator.signature}'}: {operator.meaning}"


def _field_line(field: DataField) -> str:
    kind = "" if field.kind is Kind.MATRIX else f" ({field.kind.value})"
    return f"{field.id}{kind}: {field.meaning}"


def _parent_line(parent: _Parent, catalogue: Catalogue) -> str:
    train = parent.member.train
    figures = f"Sharpe {train.sharpe:.2f}, fitness {train.fitness:.2f}, turnover {train.turnover:.2f}"
    return f"{_array(parent.tree, catalogue)}: {figures}{_weakest(parent.member.weakest)}"


def _weakest(check: Mapping[str, Any] | None) -> str:
    """Return the words on a check's name, value and limit; empty without numbers."""
    if check is None:
        return ""
    name, value, limit = (check.get(key) for key in ("name", "value", "limit"))
    if not isinstance(value, int | float) or not isinstance(limit, int | float):
        return ""
    return f"; weakest check {name}: {value:.2f}, limit {limit:.2f}"


def _array(tree: Node, catalogue: Catalogue) -> str:
    return json.dumps(to_array(tree, catalogue), separators=(",", ":"))


# --- the end ---------------------------------------------------------------------------------------------------------


def _tail(feedback: Feedback, catalogue: Catalogue, room: int) -> str:
    """Return the failures and repetitions that fit the room, and the last sentence."""
    failed = [_failure_line(one, catalogue) for one in feedback.failed[:_SHOWN_FAILED]]
    repeated = [array for one in feedback.repeated[:_SHOWN_REPEATED] if (array := _shown(one, catalogue))]
    while True:
        text = _section("These failed; avoid their faults:", failed)
        text += _section("You wrote these more than once; write others:", repeated) + _END
        if estimate(text) <= room or not (failed or repeated):
            return text
        failed, repeated = (failed, repeated[:-1]) if repeated else (failed[:-1], [])


def _section(title: str, lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return f"{title}\n{text}\n\n" if text else ""


def _failure_line(failure: FailedExpression, catalogue: Catalogue) -> str:
    reason = " ".join(failure.reason.split())
    return f"{_shown(failure.expression, catalogue) or 'an expression'}: {reason[:_REASON_LIMIT]}"


def _shown(expression: str, catalogue: Catalogue) -> str:
    """Return an expression in the form of the answer; empty if it is none of this catalogue, or too long."""
    try:
        array = _array(canonical(parse(expression, catalogue), catalogue), catalogue)
    except (ExpressionError, KeyError):
        return ""
    return array if len(array) <= _EXPRESSION_LIMIT else ""
