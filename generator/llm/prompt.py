"""Builds the prompt of a call. Building is pure: the same inputs and seed give the same prompt.

A prompt offers a sample of the operators and fields, so that different calls explore different parts of the search
space. The schema is made from the same sample. The prompt shows the best alphas so far and failures, and names a
style. Sections are shortened, least needed first, until the estimate fits the window.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from fleet.clients.ollama import Ollama
from fleet.config.ladder import same_model
from fleet.runtime.errors import OllamaError
from generator.catalogue import Catalogue, DataField, Kind, Operator
from generator.catalogue.available import Scope
from generator.domain import Assignment, CallRecord, CallVerdict
from generator.language import build_schema
from generator.llm.context_window import Window, estimate
from generator.llm.feedback import BestAlpha, FailedExpression, Feedback, Notebook

# Measured on replies of the typed grammar to depth 4: an expression rarely has more than 100 tokens.
_REPLY_PER_EXPRESSION = 192
_REPLY_FRAME = 64
_ALWAYS = ("add", "subtract", "multiply", "divide", "rank", "ts_mean", "ts_delta", "group_neutralize")
_OPERATORS, _FIELDS, _VECTORS = 18, 12, 2
_SHOWN_BEST, _SHOWN_FAILED, _SHOWN_REPEATED = 6, 6, 4
_REASON_LIMIT, _EXPRESSION_LIMIT = 160, 200
DEPTH = 4

_TASK = (
    "You search for alphas: expressions that score every stock every day, whose high scores are bought and"
    " low ones sold."
)
_FORM = (
    "each a nested JSON array of an operator and its arguments, such as"
    ' ["rank",["ts_delta","close",5]], in {"expressions":[...]}.'
)
_STYLES = (
    "reversal: what moved too far too fast comes back",
    "momentum: what persists over weeks or months",
    "volume that confirms or contradicts a move",
    "volatility: calm against restless stocks",
    "value: a company's figures against its price",
    "relative strength within a group",
    "correlation of two series, and its change",
    "something smooth and slow, with low turnover",
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt with the parameters of its call.

    `reply_tokens` suffices for an answer. `most_tokens` is the window's rest, for thinking and answer. `fits`
    is True if the window holds prompt and answer by the estimate.
    """

    text: str
    schema: dict[str, Any]
    seed: int
    reply_tokens: int
    estimated: int
    most_tokens: int
    window: int
    fits: bool


@dataclass(frozen=True, slots=True)
class _Sections:
    """The parts of a prompt that can be shortened."""

    operators: Sequence[Operator]
    fields: Sequence[DataField]
    best: Sequence[BestAlpha]
    failed: Sequence[FailedExpression]
    repeated: Sequence[str]


def build_prompt(
    catalogue: Catalogue, feedback: Feedback, *, count: int, window: Window, seed: int
) -> Prompt:
    """Return a prompt for `count` expressions that fits the window.

    If the shortest prompt does not fit, it is returned with `fits` False; the server truncates it.
    """
    rng = Random(seed)
    reply = min(_REPLY_FRAME + _REPLY_PER_EXPRESSION * count, max(64, window.tokens // 3))
    room = window.prompt_budget(reply)
    style = rng.choice(_STYLES)
    sections = _sample(catalogue, feedback, rng)
    text = _text(sections, count, style)
    while estimate(text) > room and (shorter := _shorter(sections)) is not None:
        sections = shorter
        text = _text(sections, count, style)
    offered = catalogue.restricted_to(
        operators=[operator.name for operator in sections.operators],
        fields=[field.id for field in sections.fields],
    )
    estimated = estimate(text)
    return Prompt(
        text=text,
        schema=build_schema(offered, count=count, depth=DEPTH),
        seed=seed,
        reply_tokens=reply,
        estimated=estimated,
        most_tokens=max(reply, window.reply_budget(estimated)),
        window=window.tokens,
        fits=estimated <= room,
    )


def _sample(catalogue: Catalogue, feedback: Feedback, rng: Random) -> _Sections:
    offered = [operator for operator in catalogue.operators.values() if operator.search]
    always = [operator for operator in offered if operator.name in _ALWAYS]
    others = [operator for operator in offered if operator.name not in _ALWAYS]
    picked = [*always, *rng.sample(others, min(_OPERATORS - len(always), len(others)))]
    rng.shuffle(picked)
    best = list(feedback.best[:_SHOWN_BEST])
    if len(feedback.best) > _SHOWN_BEST:  # the top three, and a random sample of the others
        best = [*feedback.best[:3], *rng.sample(list(feedback.best[3:]), _SHOWN_BEST - 3)]
    return _Sections(
        operators=picked,
        fields=_fields(catalogue, rng),
        best=best,
        failed=feedback.failed[:_SHOWN_FAILED],
        repeated=feedback.repeated[:_SHOWN_REPEATED],
    )


def _fields(catalogue: Catalogue, rng: Random) -> list[DataField]:
    rows = catalogue.fields
    matrices = list(catalogue.fields_of(Kind.MATRIX))
    vectors = list(catalogue.fields_of(Kind.VECTOR))
    names = [
        *rng.sample(matrices, min(_FIELDS, len(matrices))),
        *rng.sample(vectors, min(_VECTORS, len(vectors))),
        *catalogue.fields_of(Kind.GROUP),
    ]
    return [rows[name] for name in names]


def _shorter(sections: _Sections) -> _Sections | None:
    """Return the sections with one item less, None if they are the shortest."""
    operators, fields, best, failed = sections.operators, sections.fields, sections.best, sections.failed
    if sections.repeated:
        return replace(sections, repeated=sections.repeated[:-1])
    if len(failed) > 1:
        return replace(sections, failed=failed[:-1])
    if len(best) > 1 or (best and not failed):
        return replace(sections, best=best[:-1])
    if failed:
        return replace(sections, failed=())
    cut = next((one for one in reversed(operators) if one.name not in _ALWAYS), None)
    if cut is not None:
        return replace(sections, operators=[one for one in operators if one is not cut])
    spare = [one for one in fields if one.kind is not Kind.GROUP][4:] or [
        one for one in fields if one.kind is Kind.GROUP
    ][1:]
    if spare:
        return replace(sections, fields=[one for one in fields if one is not spare[-1]])
    return None


def _text(sections: _Sections, count: int, style: str) -> str:
    parts = [
        _TASK,
        f"Write {count} new expressions, {_FORM}",
        "Operators:\n" + "\n".join(f"{one.signature}: {one.meaning}" for one in sections.operators),
        "Data:\n" + "\n".join(_field_line(one) for one in sections.fields),
    ]
    if sections.best:
        parts.append(
            "The best so far, to be surpassed and not repeated:\n" + "\n".join(map(_best_line, sections.best))
        )
    if sections.failed:
        parts.append("These failed; avoid their faults:\n" + "\n".join(map(_failure_line, sections.failed)))
    if sections.repeated:
        tried = "\n".join(expression[:_EXPRESSION_LIMIT] for expression in sections.repeated)
        parts.append("You wrote these more than once; write others:\n" + tried)
    parts.append(
        f"Wanted now: {style}. Each expression has one economic idea, two to six operators and few constants,"
        " and differs from the others and from those above. Answer with the JSON only."
    )
    return "\n\n".join(parts) + "\n"


def _field_line(field: DataField) -> str:
    kind = "" if field.kind is Kind.MATRIX else f" ({field.kind.value})"
    return f"{field.id}{kind}: {field.meaning}"


def _best_line(alpha: BestAlpha) -> str:
    expression = alpha.expression[:_EXPRESSION_LIMIT]
    figures = f"Sharpe {alpha.sharpe:.2f}, fitness {alpha.fitness:.2f}, turnover {alpha.turnover:.2f}"
    return f"{expression} ({figures})"


def _failure_line(failure: FailedExpression) -> str:
    expression, reason = (" ".join(part.split()) for part in (failure.expression, failure.reason))
    return f"{expression[:_EXPRESSION_LIMIT] or 'an expression'}: {reason[:_REASON_LIMIT]}"


# Contexts assumed before the server reports one. Ollama's default on small cards is 4096. The smallest models in
# use were trained on 2048.
_CAUTIOUS = 2048
_DEFAULT = 4096
_CONTEXT_TOO_SMALL = 1.25


class PromptSource:
    """Makes prompts, and corrects the window by the results of their calls. Thread-safe."""

    def __init__(
        self,
        *,
        scope: Scope,
        notebook: Notebook,
        assignment: Assignment,
        ollama: Ollama,
        count: int,
        rng: Random,
    ) -> None:
        self._scope = scope
        self._notebook = notebook
        self._model = assignment.model
        self._ollama = ollama
        self._count = count
        self._rng = rng
        asked = assignment.options.get("num_ctx")
        self._asked = asked if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0 else None
        self._window = Window(min(self._asked or _CAUTIOUS, _CAUTIOUS))
        self._known = False
        self._lock = threading.Lock()

    @property
    def window(self) -> Window:
        """Return the context window of the next prompt."""
        with self._lock:
            return self._window

    def next(self) -> Prompt:
        """Return the next prompt."""
        with self._lock:
            seed, window = self._rng.getrandbits(31), self._window
        feedback = self._notebook.snapshot()
        return build_prompt(self._scope.catalogue, feedback, count=self._count, window=window, seed=seed)

    def learn(self, prompt: Prompt, call: CallRecord, verdict: CallVerdict) -> None:
        """Correct the window by the server's token count or refusal; after the first answer, read its size."""
        with self._lock:
            self._window = self._window.corrected(prompt.estimated, call.prompt_tokens)
            if verdict is CallVerdict.CONTEXT:
                self._window = Window(self._window.tokens, self._window.correction * _CONTEXT_TOO_SMALL)
            ask = call.answered and not self._known
            self._known = self._known or ask
        if ask:
            tokens = self._context()
            with self._lock:
                self._window = Window(tokens, self._window.correction)

    def _context(self) -> int:
        """Return the loaded model's context in tokens; a default if the server does not report it."""
        try:
            loaded = [row for row in self._ollama.loaded() if same_model(row.name, self._model)]
            if loaded and loaded[0].context_length:
                return loaded[0].context_length
            info = self._ollama.show(self._model).info
        except OllamaError:
            return self._asked or _DEFAULT
        trained = [value for key, value in info.items() if key.endswith(".context_length")]
        most = trained[0] if trained and isinstance(trained[0], int) else _DEFAULT
        return min(self._asked or _DEFAULT, most)
