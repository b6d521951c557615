"""The reason why a call gave nothing to evaluate, and the mend. Pure."""

from collections.abc import Sequence

from generator.domain import CallRecord
from generator.llm.feedback import Failure
from generator.llm.prompt import Prompt
from generator.llm.request_form import Way
from generator.llm.throttle import CallVerdict, Reason

_SHOWN = 160
_LOOK = "log/calls.log has the prompts and the replies."
_LARGER = "Raise num_ctx, and num_predict where it is set, in the rung's options in fleet.toml."
_OTHER_MODEL = "Update Ollama, or take a model that does not think."


def reason_of(
    call: CallRecord, verdict: CallVerdict, *, way: Way, prompt: Prompt, failures: Sequence[Failure]
) -> Reason | None:
    """Return the reason why a call gave nothing usable.

    None where it gave something, and for a failure that says nothing of prompt and reply: memory that ran out, a
    missing model, a server that is away or failed by itself.
    """
    if verdict is CallVerdict.CONTEXT:
        return Reason("context", "the prompt is longer than the model's context", _LARGER)
    if verdict in {CallVerdict.FORMAT, CallVerdict.THINK, CallVerdict.REFUSED}:
        return Reason(
            "refused", f"Ollama refuses the request: {_line(call.error)}", "Update Ollama; " + _LOOK
        )
    if verdict not in {CallVerdict.EMPTY, CallVerdict.UNUSABLE}:
        return None
    if not prompt.fits:
        text = f"the context of {prompt.window} tokens is too small for the shortest prompt"
        return Reason("context", text, _LARGER)
    cut = call.done_reason == "length"
    if verdict is CallVerdict.EMPTY:
        return _empty(call, way, cut=cut)
    if cut:
        text = f"the reply was cut {_tokens(call)}before its first expression was whole"
        return Reason("cut", text, f"{_LARGER} A smaller batch_size helps too.")
    why = failures[0].reason if failures else "there was no expression in the reply"
    return Reason(
        "invalid", f"no reply held a valid expression: {_line(why)}", f"{_LOOK} Try a larger model."
    )


def _empty(call: CallRecord, way: Way, *, cut: bool) -> Reason:
    thought = bool(call.thinking.strip() or call.reply.strip())
    if thought and cut:
        text = f"the model's thoughts used up the reply's tokens {_tokens(call)}before an answer"
        return Reason("thoughts", text, f"{_LARGER} {_OTHER_MODEL}")
    if thought:
        return Reason("thoughts", "the model gave thoughts and no answer", _OTHER_MODEL)
    if cut:
        text = f"the reply was cut {_tokens(call)}before its first word"
        return Reason("cut", text, _LARGER)
    asked = "with a schema" if way.schema else "in plain text"
    text = f"the replies are empty (done_reason {call.done_reason or 'none'}, asked {asked})"
    return Reason("empty", text, f"Update Ollama, or pull {call.model} again. {_LOOK}")


def _tokens(call: CallRecord) -> str:
    return "" if call.reply_tokens is None else f"({call.reply_tokens} tokens) "


def _line(text: str | None) -> str:
    return " ".join((text or "").split())[:_SHOWN]
