"""The model's context window, and an upper estimate of a text's tokens without the model's tokenizer.

Byte-pair vocabularies of 32 000 entries, the smallest in use, keep common words whole. They cut identifiers such as
`ts_decay_linear` into syllables. The estimate counts one token for every three letters of a word begun. Each digit,
punctuation mark and line end counts as one. Other text counts one token a byte, the worst case of a vocabulary with
byte fallback. The server's own count (`prompt_eval_count`) raises the estimate where it was too low.
"""

import re
from dataclasses import dataclass

_PIECES = re.compile(r"[A-Za-z]+|[^\x00-\x7f]|[^A-Za-z \x80-\U0010ffff]")
_LETTERS_PER_TOKEN = 3
# Added around the prompt by a chat template.
TEMPLATE_TOKENS = 32


def estimate(text: str) -> int:
    """Return an upper estimate of a text's tokens."""
    return sum(map(_tokens, _PIECES.findall(text)))


def _tokens(piece: str) -> int:
    if not piece.isascii():
        return len(piece.encode("utf-8", "surrogatepass"))
    return -(-len(piece) // _LETTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Window:
    """A model's context: `tokens` for prompt and reply together. `correction` multiplies every estimate."""

    tokens: int
    correction: float = 1.0

    def prompt_budget(self, reply: int) -> int:
        """Return how many estimated tokens a prompt may have if the reply has `reply` tokens."""
        return max(0, int((self.tokens - reply - TEMPLATE_TOKENS) / self.correction))

    def reply_budget(self, estimated: int) -> int:
        """Return how many tokens a reply may have if the prompt has `estimated` tokens."""
        return max(0, int(self.tokens - TEMPLATE_TOKENS - estimated * self.correction))

    def corrected(self, estimated: int, counted: int | None) -> "Window":
        """Return the window corrected by the server's count of a prompt; the correction never shrinks."""
        if not counted or estimated <= 0:
            return self
        ratio = (counted - TEMPLATE_TOKENS) / estimated
        return self if ratio <= self.correction else Window(self.tokens, ratio)
