"""What is answered in place of a model's words: instances of a schema, or plain text. Pure."""

import json
import random
import re
from dataclasses import dataclass

from standin.grammar import SchemaError, grammar_of
from standin.requests import Options, runner_error, schema_error
from standin.sampler import sample

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
RUBBISH = {
    "text": "Sure! Here are some alphas you could try:\n1. rank(close) - a classic.\n2. Buy low, sell high.",
    "schema": '{"alphas": {"best": "rank(close)", "confidence": "high"}, "expressions": "none"}',
    "nested": "[" * 20_000,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply in pieces of about a token each, and why it ended: `stop` or `length`."""

    pieces: tuple[str, ...]
    reason: str

    @property
    def text(self) -> str:
        """Return the whole reply."""
        return "".join(self.pieces)


def reply_to(schema: str, options: Options, rng: random.Random, rubbish: str = "") -> Reply:
    """Return a reply for a format (empty, `json` or a schema's text); raise ApiError for a bad schema.

    `options.num_predict` cuts it. `rubbish` names what is answered instead:
    `text`, `schema`, `nested` or `cut`.
    """
    text = _text(schema, rng)
    if rubbish == "cut":
        text = text[: max(1, len(text) // 2)]
    text = RUBBISH.get(rubbish, text)
    pieces = tuple(_TOKEN.findall(text))
    limit = options.num_predict
    if 0 < limit < len(pieces):
        return Reply(pieces[:limit], "length")
    return Reply(pieces, "stop")


def _text(schema: str, rng: random.Random) -> str:
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
    """Return how many tokens of a prompt are read; raise ApiError 400 for one that exceeds the context.

    Recorded servers cut a much too long prompt silently to about half the context and refuse one that is a
    little too long, because the two counts they make differ; here the bound between the two is twice the
    context.
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
