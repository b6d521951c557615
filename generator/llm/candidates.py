"""Candidates of a finished call's reply. Pure; raises nothing for any reply."""

from collections.abc import Sequence
from dataclasses import dataclass

from generator.catalogue import Catalogue
from generator.domain import CallRecord, Candidate, storable
from generator.language import ExpressionError, Node, alpha_of, show
from generator.language.check import with_named_options
from generator.llm.feedback import FailedExpression
from generator.llm.reply import decode_reply


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply's candidates with different digests, the number of repetitions among them, and the failures.

    Failures go into prompts: neither their expressions nor their reasons contain the model's text.
    """

    candidates: Sequence[Candidate] = ()
    repeated: int = 0
    failures: Sequence[FailedExpression] = ()


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """A finished call with its parsed reply."""

    call: CallRecord
    reply: Reply


def read_reply(call: CallRecord, catalogue: Catalogue) -> Reply:
    """Return the parsed reply of a call; of a failed call, the part that arrived."""
    found: dict[str, Candidate] = {}
    repeated = 0
    failures: list[FailedExpression] = []
    outcomes = decode_reply(call.reply, catalogue)
    for outcome in outcomes:
        try:
            candidate = _candidate(outcome, call, catalogue)
        except ExpressionError as error:
            failures.append(
                FailedExpression("", f"{error.plain} ({error.hint})" if error.hint else error.plain)
            )
            continue
        repeated += candidate.digest in found
        found.setdefault(candidate.digest, candidate)
    if call.answered and not outcomes:
        failures.append(FailedExpression("", "there was no expression in the reply"))
    return Reply(tuple(found.values()), repeated, tuple(failures))


def _candidate(outcome: Node | ExpressionError, call: CallRecord, catalogue: Catalogue) -> Candidate:
    if isinstance(outcome, ExpressionError):
        raise outcome
    tree = with_named_options(outcome, catalogue)
    alpha = alpha_of(tree, catalogue)
    expression = show(tree)
    if storable(expression) != expression:
        raise ExpressionError("it holds characters that are no text")
    return Candidate(
        digest=alpha.digest,
        expression=expression,
        canonical=alpha.expression,
        call=call.id,
        model=call.model,
        tree=tree,
    )
