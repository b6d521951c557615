"""Replies in place of a model's words: instances of a schema, or plain text (pure)."""

import json
import random
import re
from dataclasses import dataclass
from enum import Enum

from standin.forms.requests import Options, runner_error, schema_error
from standin.models.specs import Thinking
from standin.sampling.grammar import SchemaError, grammar_of
from standin.sampling.sampler import sample

_TOKEN = re.compile(r"\s?[A-Za-z]{1,5}|\s?\d{1,3}|\s|[^\sA-Za-z\d]")
_TEMPLATE_TOKENS = 4
_BYTES_A_TOKEN = 4
_SENTENCES = (
    "This is the stand-in speaking, and no model has thought about it.",
    "A factor that ranks well in one year may rank badly in the next.",
    "Volume tells how many agreed on a price, and nothing of who was right.",
    "A longer window is calmer and later.",
    "What reverts over days may trend over months.",
    "Neutralise by industry before you believe a sector.",
)
_THOUGHT = "Okay, let me think. rank(volume) is crowded, and no that is bad. A longer window may be calmer. "
_LONG, _SHORT = 30, 2
_ASKED_FORM = '{"expressions":['
RUBBISH = {
    "text": "Sure! Here are some alphas you could try:\n1. Yesterday's losers - a classic.\n2. Buy low, sell high.",
    "schema": '{"alphas": {"best": "momentum", "confidence": "high"}, "expressions": "none"}',
    "nested": "[" * 20_000,
}


@dataclass(frozen=True, slots=True)
class StandinReply:
    """A reply in pieces of about a token each, and why it ended: `stop` or `length`.

    The first `thoughts` pieces are sent in the field `thinking`.
    """

    pieces: tuple[str, ...]
    reason: str
    thoughts: int = 0

    @property
    def text(self) -> str:
        """Return the reply without its thoughts."""
        return "".join(self.pieces[self.thoughts :])

    @property
    def thinking(self) -> str:
        """Return the thoughts."""
        return "".join(self.pieces[: self.thoughts])


class Mind(Enum):
    """The thinking of a model on a request, and the place of its answer under a schema.

    NONE: not at all. INLINE: within the reply (before 0.9). OPENED: the template opens the thoughts, and a schema
    keeps the answer in them. HARMONY, SHORT or LONG: a schema leaves neither thoughts nor answer, since the server
    finds no channel in them. CHAT: the server applies the schema after the thoughts.
    """

    NONE = "none"
    INLINE = "inline"
    OPENED = "opened"
    HARMONY_SHORT = "harmony, short"
    HARMONY_LONG = "harmony, long"
    CHAT = "chat"


def mind_of(thinking: Thinking, think: bool | str | None, *, knows: bool, chat: bool) -> Mind:
    """Return how a model thinks on a request with this `think`; `knows`: the server knows of thinking."""
    if thinking is Thinking.NEVER:
        return Mind.NONE
    if not knows:
        return Mind.INLINE
    if thinking is Thinking.SWITCHED and think is False:
        return Mind.NONE
    if chat:
        return Mind.CHAT
    if thinking is Thinking.SWITCHED:
        return Mind.OPENED
    return Mind.HARMONY_SHORT if think == "low" else Mind.HARMONY_LONG


def reply_to(
    schema: str,
    options: Options,
    rng: random.Random,
    rubbish: str = "",
    *,
    prompt: str = "",
    mind: Mind = Mind.NONE,
) -> StandinReply:
    """Return a reply for a format (empty, `json` or a schema's text); raise ApiError for a bad schema.

    `options.num_predict` cuts it. `rubbish` names the kind of a useless answer: `text`, `schema`, `nested` or `cut`.
    """
    text = _text(schema, prompt, rng)
    if rubbish == "cut":
        text = text[: max(1, len(text) // 2)]
    thoughts, answer = _minded(RUBBISH.get(rubbish, text), mind, schema=bool(schema))
    pieces = (*thoughts, *answer)
    limit = options.num_predict
    if 0 < limit < len(pieces):
        return StandinReply(pieces[:limit], "length", min(limit, len(thoughts)))
    return StandinReply(pieces, "stop", len(thoughts))


def _minded(text: str, mind: Mind, *, schema: bool) -> tuple[list[str], list[str]]:
    """Return the pieces of thoughts and answer."""
    answer = _TOKEN.findall(text)
    if schema and mind is Mind.OPENED:
        return answer, []
    if schema and mind in {Mind.HARMONY_SHORT, Mind.HARMONY_LONG}:
        return [], []
    if mind is Mind.NONE or (schema and mind is Mind.INLINE):
        return [], answer
    thoughts = _THOUGHT * (_SHORT if mind is Mind.HARMONY_SHORT else _LONG)
    if mind is Mind.INLINE:
        return [], _TOKEN.findall(f"<think>\n{thoughts}\n</think>\n\n{text}")
    return _TOKEN.findall(thoughts), answer


def _text(schema: str, prompt: str, rng: random.Random) -> str:
    if not schema and _ASKED_FORM in prompt:
        days = [rng.randint(2, 250) for _ in range(3)]
        reversal = ["reverse", ["rank", ["ts_delta", "close", days[0]]]]
        calm = ["subtract", ["ts_mean", "volume", days[1]], ["ts_std_dev", "close", days[2]]]
        return json.dumps({"expressions": [reversal, calm]})
    if not schema:
        return " ".join((_SENTENCES[0], *rng.sample(_SENTENCES[1:], 3)))
    if schema == "json":
        return json.dumps({"answer": rng.choice(_SENTENCES), "sure": rng.random() < 0.5})  # noqa: PLR2004
    try:
        return json.dumps(sample(grammar_of(schema), rng))
    except SchemaError as error:
        raise schema_error(str(error)) from error
    except RecursionError as error:
        raise schema_error("JSON schema error at #: nested too deep") from error


def prompt_tokens(prompt: str, num_ctx: int) -> int:
    """Return the number of a prompt's tokens that are read; raise ApiError 400 for a prompt beyond the context.

    Recorded servers silently cut a much too long prompt to about half the context. They refuse a prompt that is a
    little too long, because their two counts differ. Here the bound between the two is twice the context.
    """
    count = -(-len(prompt.encode("utf-8", "replace")) // _BYTES_A_TOKEN) + _TEMPLATE_TOKENS
    if count > 2 * num_ctx:
        return num_ctx // 2 + 2
    if count > num_ctx:
        size = f"request ({count} tokens) exceeds the available context size ({num_ctx} tokens)"
        raise runner_error(
            f"{size}, try increasing it",
            "exceed_context_size_error",
            n_prompt_tokens=count,
            n_ctx=num_ctx,
        )
    return count
