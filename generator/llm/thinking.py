"""Separates a reply's answer from its thinking, whose drafts are no alphas. Pure.

Ollama from 0.9 on sends thinking in a field of its own. Older servers and templates unknown to Ollama leave it in the
reply. There it is before a marker such as `</think>`, or in Harmony's analysis channel.
"""

import re
from typing import Final

_ENDS: Final = re.compile(
    r"</(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|analysis|reflection|scratchpad)>"
    r"|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|end_thinking)\|>"
    r"|<\|channel\|>final(?: [^<]*)?(?:<\|constrain\|>\w*)?<\|message\|>|<channel\|>|\bassistantfinal(?:json)?",
    re.IGNORECASE,
)
_BEGINS: Final = re.compile(
    r"<(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|analysis|reflection|scratchpad)>"
    r"|\[THINK\]|◁think▷|<\|(?:begin_of_thought|start_thinking)\|>"
    r"|<\|channel\|>(?:analysis|commentary)|<\|channel>thought|\A\s*analysis(?=[A-Z])",
    re.IGNORECASE,
)
# Special tokens left at the end of an answer.
_LAST_TOKEN: Final = re.compile(
    r"(?<=\S)\s*(?:<\|(?:return|end|im_end|eot_id|endoftext|end_of_text)\|>|<end_of_turn>"
    r"|<\uff5cend\u2581of\u2581sentence\uff5c>)"
)
# The start of an answer as the prompt asks for. With an ellipsis it is a quotation of the prompt.
_FORM: Final = re.compile(r'"(?:expressions|alphas)"\s*:\s*\[(?=\s*["\[{])')


def answer_of(text: str) -> str:
    """Return the answer after the thinking; for thinking alone, the answer at its end."""
    ends = [marker.end() for marker in _ENDS.finditer(text)]
    thinking, answer = (text[: ends[-1]], text[ends[-1] :]) if ends else ("", text)
    begin = _BEGINS.search(answer)
    if begin is not None:
        thinking, answer = thinking + answer[begin.start() :], answer[: begin.start()]
    answer = _LAST_TOKEN.split(answer, maxsplit=1)[0]
    return answer if answer.strip() or not thinking else answer_in(thinking)


def answer_in(thinking: str) -> str:
    """Return the last answer inside the thinking, empty if there is none.

    A grammar can force the answer into the thinking: the template opens it, and the grammar forbids its end marker.
    """
    forms = list(_FORM.finditer(thinking))
    return "{" + thinking[forms[-1].start() :] if forms else ""
