"""How many tokens a text is, without the model's tokenizer: an estimate from above.

Byte-pair vocabularies of 32 000 entries (the smallest in use) keep common words whole and cut identifiers
such as `ts_decay_linear` into syllables. So a run of letters counts a token for every three letters begun, a
digit and a mark one each, a line end one, and what is not ASCII a token for each byte, which is the worst
that a vocabulary with byte fallback can do. What the server then counts (`prompt_eval_count`) corrects the
estimate upwards where it was too low for this model.
"""

import re
from dataclasses import dataclass

_PIECES = re.compile(r"[A-Za-z]+|[^\x00-\x7f]|[^A-Za-z \x80-\U0010ffff]")
_LETTERS_PER_TOKEN = 3
# What a chat template puts round the prompt.
TEMPLATE_TOKENS = 32


def estimate(text: str) -> int:
    """Return about how many tokens a text has, rather too many than too few."""
    return sum(map(_tokens, _PIECES.findall(text)))


def _tokens(piece: str) -> int:
    if not piece.isascii():
        return len(piece.encode("utf-8", "surrogatepass"))
    return -(-len(piece) // _LETTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Window:
    """A model's context: `tokens` for prompt and reply together, and how far estimates fell short so far."""

    tokens: int
    correction: float = 1.0

    def prompt_room(self, reply: int) -> int:
        """Return how many estimated tokens a prompt may have beside a reply of `reply` tokens."""
        return max(0, int((self.tokens - reply - TEMPLATE_TOKENS) / self.correction))

    def reply_room(self, estimated: int) -> int:
        """Return how many tokens a reply may have beside a prompt of so many estimated tokens."""
        return max(0, int(self.tokens - TEMPLATE_TOKENS - estimated * self.correction))

    def corrected(self, estimated: int, counted: int | None) -> "Window":
        """Return the window after the server counted a prompt; only ever more careful."""
        if not counted or estimated <= 0:
            return self
        ratio = (counted - TEMPLATE_TOKENS) / estimated
        return self if ratio <= self.correction else Window(self.tokens, ratio)
