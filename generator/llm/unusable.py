"""Reasons why a call gave no expression to evaluate, each with its remedy. Pure."""

from collections.abc import Sequence

from fleet.runtime.untrusted import printable
from generator.domain import CallRecord, CallVerdict, Reason
from generator.llm.feedback import FailedExpression
from generator.llm.prompt import Prompt
from generator.llm.request_form import RequestForm

_SHOWN = 160
_CALL_LOG = "log/calls.log shows the prompts and the replies."
_LARGER = "Raise num_ctx, and num_predict where it is set, in the rung's options in fleet.toml."
_OTHER_MODEL = "Update Ollama, or take a model that does not think."


def unusable_reason(
    call: CallRecord,
    verdict: CallVerdict,
    *,
    form: RequestForm,
    prompt: Prompt,
    failures: Sequence[FailedExpression],
) -> Reason | None:
    """Return the reason why a call gave no usable expression.

    Return None for a usable call, and for failures that do not depend on prompt and reply. These are a memory error, a
    missing model, and an unreachable or failing server.
    """
    if verdict is CallVerdict.CONTEXT:
        return Reason("context", "the prompt is longer than the model's context", _LARGER)
    if verdict in {CallVerdict.FORMAT, CallVerdict.THINK, CallVerdict.REFUSED}:
        text = f"Ollama refuses the request: {_line(call.error)}"
        return Reason("refused", text, f"Update Ollama, if it is one that answers there. {_CALL_LOG}")
    if verdict not in {CallVerdict.EMPTY, CallVerdict.UNUSABLE}:
        return None
    if not prompt.fits:
        text = f"the context of {prompt.window} tokens is too small for the shortest prompt"
        return Reason("context", text, _LARGER)
    cut = call.done_reason == "length"
    if verdict is CallVerdict.EMPTY:
        return _empty(call, form, cut=cut)
    if cut:
        text = f"the reply was cut {_tokens(call)}before its first expression was whole"
        return Reason("cut", text, f"{_LARGER} A smaller batch_size helps too.")
    why = failures[0].reason if failures else "there was no expression in the reply"
    return Reason(
        "invalid", f"no reply held a valid expression: {_line(why)}", f"{_CALL_LOG} Try a larger model."
    )


def _empty(call: CallRecord, form: RequestForm, *, cut: bool) -> Reason:
    thought = bool(call.thinking.strip() or call.reply.strip())
    if thought and cut:
        text = f"the model's thoughts used up the reply's tokens {_tokens(call)}before an answer"
        return Reason("thoughts", text, f"{_LARGER} {_OTHER_MODEL}")
    if thought:
        return Reason("thoughts", "the model gave thoughts and no answer", _OTHER_MODEL)
    if cut:
        text = f"the reply was cut {_tokens(call)}before its first word"
        return Reason("cut", text, _LARGER)
    asked = "with a schema" if form.schema else "in plain text"
    text = f"the replies are empty (done_reason {call.done_reason or 'none'}, asked {asked})"
    return Reason("empty", text, f"Update Ollama, or pull {call.model} again. {_CALL_LOG}")


def _tokens(call: CallRecord) -> str:
    return "" if call.reply_tokens is None else f"({call.reply_tokens} tokens) "


def _line(text: str | None) -> str:
    return printable(" ".join((text or "").split()), _SHOWN)
