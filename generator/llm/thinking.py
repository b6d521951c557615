"""Thoughts apart from answers: a thinking model's drafts are no alphas. Pure.

Ollama from 0.9 on sends thoughts in a field of their own. Older servers, and templates that Ollama does not
know, leave them in the reply, before a mark such as `</think>` or in Harmony's analysis channel.
"""

import re
from typing import Final

_ENDS: Final = re.compile(
    r"</(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|analysis)>"
    r"|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|end_thinking)\|>"
    r"|<\|channel\|>final(?: [^<]*)?(?:<\|constrain\|>\w*)?<\|message\|>|<channel\|>|\bassistantfinal(?:json)?",
    re.IGNORECASE,
)
_BEGINS: Final = re.compile(
    r"<(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|analysis)>"
    r"|\[THINK\]|◁think▷|<\|(?:begin_of_thought|start_thinking)\|>"
    r"|<\|channel\|>(?:analysis|commentary)|<\|channel>thought|\A\s*analysis(?=[A-Z])",
    re.IGNORECASE,
)
# Special tokens that a server left at an answer's end.
_LAST_TOKEN: Final = re.compile(r"<\|(?:return|end|im_end|eot_id)\|>")
# The form that the prompt asks for. An ellipsis in its place is a quotation of the prompt.
_FORM: Final = re.compile(r'"(?:expressions|alphas)"\s*:\s*\[(?=\s*["\[{])')


def answer_of(text: str) -> str:
    """Return what a reply says after its thoughts; of thoughts alone, the answer that they end with."""
    ends = [mark.end() for mark in _ENDS.finditer(text)]
    thoughts, answer = (text[: ends[-1]], text[ends[-1] :]) if ends else ("", text)
    begin = _BEGINS.search(answer)
    if begin is not None:
        thoughts, answer = thoughts + answer[begin.start() :], answer[: begin.start()]
    if thoughts:
        answer = _LAST_TOKEN.split(answer)[0]
    return answer if answer.strip() or not thoughts else answer_in(thoughts)


def answer_in(thoughts: str) -> str:
    """Return the last answer in the asked form that thoughts hold, empty where there is none.

    A grammar can force the answer into the thoughts: the template has opened them, and no mark may end them.
    """
    forms = list(_FORM.finditer(thoughts))
    return "{" + thoughts[forms[-1].start() :] if forms else ""
