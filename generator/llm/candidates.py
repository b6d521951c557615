"""A finished call's reply to candidates: pure, whatever the reply holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from generator.catalogue import Catalogue
from generator.domain import CallRecord, Candidate, storable
from generator.language import ExpressionError, Node, alpha_of, decode_reply, show
from generator.llm.feedback import Failure
from generator.llm.thinking import answer_of

_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply holds: candidates of different meaning, repetitions, and what is wrong."""

    candidates: Sequence[Candidate] = ()
    repeated: int = 0
    failures: Sequence[Failure] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished call with what its reply holds."""

    call: CallRecord
    reply: Reply


def read_reply(call: CallRecord, catalogue: Catalogue) -> Reply:
    """Return what a call's reply holds; a failed call's reply is read as far as it came."""
    found: dict[str, Candidate] = {}
    repeated = 0
    failures: list[Failure] = []
    answer = answer_of(call.reply)
    outcomes = decode_reply(answer, catalogue) if answer else []
    for outcome in outcomes:
        try:
            candidate = _candidate(outcome, call, catalogue)
        except ExpressionError as error:
            failures.append(Failure(_shown(error.written) or "an expression", storable(str(error))))
            continue
        repeated += candidate.digest in found
        found.setdefault(candidate.digest, candidate)
    if call.answered and not outcomes:
        failures.append(Failure(_shown(answer), "there was no expression in the reply"))
    return Reply(tuple(found.values()), repeated, tuple(failures))


def _shown(text: str) -> str:
    """Return the beginning of what a model wrote, on one line and fit to be stored."""
    return storable(" ".join(text[: 2 * _SHOWN].split()).strip('"'))[:_SHOWN]


def _candidate(outcome: Node | ExpressionError, call: CallRecord, catalogue: Catalogue) -> Candidate:
    if isinstance(outcome, ExpressionError):
        raise outcome
    alpha = alpha_of(outcome, catalogue)
    expression = show(outcome)
    if storable(expression) != expression:
        raise ExpressionError("it holds characters that are no text")
    return Candidate(
        digest=alpha.digest,
        expression=expression,
        canonical=alpha.expression,
        call=call.id,
        model=call.model,
        tree=outcome,
    )
