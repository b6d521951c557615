"""`/api/generate` and `/api/chat`: from a body to a loaded model to an answer, whole or as a stream."""

import hashlib
import random
import time
from dataclasses import dataclass, field
from typing import Any

from fleet.runtime.units import Seconds
from standin.active_faults import FaultBoard
from standin.dialects.base import DIED, Answered, Dialect
from standin.faults import Fault, FaultKind
from standin.forms.go_format import quoted, timestamp
from standin.forms.log_text import Log, slog
from standin.forms.requests import ApiError, Ask, Options, ask_of, check_think, decode, options_of, schema_of
from standin.httpd import Exchange
from standin.models.model_store import ModelStore
from standin.models.specs import ModelSpec, Thinking
from standin.sampling.replies import StandinReply, mind_of, prompt_tokens, reply_to
from standin.serving.scheduler import Runner, Scheduler
from standin.settings import Era, StandinSettings

_BURST: Seconds = 0.01
_READING = 0.25
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"


@dataclass(slots=True)
class _Answer:
    """An answer under way: its parts, and its figures so far."""

    ask: Ask
    chat: bool
    exchange: Exchange
    runner: Runner
    reply: StandinReply
    prompt: int
    began: int
    faults: dict[FaultKind, Fault]
    load_ns: int = 0
    read_ns: int = 0
    said: list[str] = field(default_factory=list)
    owed: Seconds = 0.0


class GenerateApi:
    """Answers requests for a model's words."""

    def __init__(
        self,
        *,
        settings: StandinSettings,
        shelf: ModelStore,
        scheduler: Scheduler,
        board: FaultBoard,
        log: Log,
        dialect: Dialect,
    ) -> None:
        self._settings = settings
        self._shelf = shelf
        self._scheduler = scheduler
        self._board = board
        self._log = log
        self._dialect = dialect
        self._dice = random.Random(settings.seed)

    def generate(self, exchange: Exchange) -> None:
        """Answer `/api/generate`."""
        self._answer(exchange, chat=False)

    def chat(self, exchange: Exchange) -> None:
        """Answer `/api/chat`."""
        self._answer(exchange, chat=True)

    def _answer(self, exchange: Exchange, *, chat: bool) -> None:
        began = time.monotonic_ns()
        ask = ask_of(decode(exchange.body), chat=chat)
        if self._knows_thinking:
            check_think(ask.think)
        found = self._shelf.find(ask.model) if ask.model else None
        if found is None:
            raise ApiError(404, f"model '{ask.model}' not found")
        if ask.empty and ask.keep_alive == 0:
            self._scheduler.unload(found[0].name)
            exchange.json(self._row(ask, chat=chat, text="", done_reason="unload"))
            return
        if ask.think and self._knows_thinking and found[0].thinking is Thinking.NEVER:
            raise ApiError(400, f"{quoted(ask.model)} does not support thinking")
        self._run(exchange, ask, found[0], began, chat=chat)

    @property
    def _knows_thinking(self) -> bool:
        """Return True if the server knows `think`; one before 0.9 ignores it as it does any other field."""
        return self._settings.era is Era.NEW

    def _run(self, exchange: Exchange, ask: Ask, spec: ModelSpec, began: int, *, chat: bool) -> None:
        options = options_of(ask.options)
        self._log.say(
            slog("WARN", "types.go:1007", "invalid option provided", option=key) for key in options.unknown
        )
        with self._scheduler.model(spec, options, ask.keep_alive, exchange.wait) as runner:
            if ask.empty:
                exchange.json(self._row(ask, chat=chat, text="", done_reason="load"))
                return
            schema, prompt = schema_of(ask.format), prompt_tokens(ask.prompt, runner.load.num_ctx)
            with self._scheduler.turn(runner, exchange.wait):
                faults = self._faults(spec.name, exchange.path)
                mind = mind_of(spec.thinking, ask.think, knows=self._knows_thinking, chat=chat)
                rng = self._rng(options, ask)
                reply = reply_to(schema, options, rng, _rubbish(faults), prompt=ask.prompt, mind=mind)
                answer = _Answer(ask, chat, exchange, runner, reply, prompt, began, faults)
                answer.load_ns = time.monotonic_ns() - began
                self._speak(answer)

    def _rng(self, options: Options, ask: Ask) -> random.Random:
        if options.seed is None:
            return random.Random(self._dice.getrandbits(64))
        return random.Random(f"{options.seed} {ask.prompt}")

    def _faults(self, model: str, path: str) -> dict[FaultKind, Fault]:
        kinds = (
            FaultKind.SLOW,
            FaultKind.STALL_STREAM,
            FaultKind.BREAK,
            FaultKind.RUBBISH,
            FaultKind.DIE,
            FaultKind.OOM,
        )
        taken = ((kind, self._board.take(kind, model=model, path=path)) for kind in kinds)
        return {kind: fault for kind, fault in taken if fault is not None}

    def _speak(self, answer: _Answer) -> None:
        """Send the reply piece by piece at a model's pace, with the faults in force."""
        rubbish = answer.faults.get(FaultKind.RUBBISH)
        if rubbish is not None and rubbish.what == "html":
            answer.exchange.send(200, "text/html", _HTML)
            return
        slow = answer.faults.get(FaultKind.SLOW)
        first, each = self._pace(answer, slow)
        self._rest(answer, first, at_once=True)
        answer.read_ns = time.monotonic_ns() - answer.began - answer.load_ns
        for place, piece in enumerate(answer.reply.pieces):
            self._mishap(answer, place, last=False)
            self._rest(answer, each, at_once=False)
            self._say(answer, piece, thought=place < answer.reply.thoughts)
        self._mishap(answer, len(answer.reply.pieces), last=True)
        self._finish(answer)

    def _pace(self, answer: _Answer, slow: Fault | None) -> tuple[Seconds, Seconds]:
        """Return the wait before the first token, and before each."""
        total = (0.2 + 0.2 * self._dice.random()) * self._settings.pace * answer.runner.slowness
        count = max(1, len(answer.reply.pieces))
        first, each = total * _READING, total * (1 - _READING) / count
        return (first, each) if slow is None else (first + slow.first, each + slow.each)

    def _rest(self, answer: _Answer, seconds: Seconds, *, at_once: bool) -> None:
        """Wait; many short waits are made one, since a wait costs more than a token."""
        answer.owed += seconds
        if answer.owed > 0 and (at_once or answer.owed >= _BURST):
            answer.exchange.wait(answer.owed)
            answer.owed = 0.0

    def _say(self, answer: _Answer, piece: str, *, thought: bool) -> None:
        answer.said.append(piece)
        if answer.ask.stream:
            text, thinking = ("", piece) if thought else (piece, "")
            answer.exchange.line(self._row(answer.ask, chat=answer.chat, text=text, thinking=thinking))

    def _mishap(self, answer: _Answer, place: int, *, last: bool) -> None:
        """Apply a fault that is due: after its number of tokens, else at the end."""

        def due(kind: FaultKind) -> bool:
            fault = answer.faults.get(kind)
            return fault is not None and (place == fault.after or (last and place < fault.after))

        if due(FaultKind.STALL_STREAM):
            before = self._board.cleared
            while self._board.cleared == before:
                answer.exchange.wait(0.05)
        if due(FaultKind.BREAK):
            answer.exchange.cut()
        if due(FaultKind.DIE):
            self._scheduler.killed(answer.runner)
            raise ApiError(500, DIED)
        if due(FaultKind.OOM):
            raise ApiError(500, self._scheduler.out_of_memory(answer.runner))

    def _finish(self, answer: _Answer) -> None:
        total = time.monotonic_ns() - answer.began
        spoken = max(1000, total - answer.load_ns - answer.read_ns)
        figures = Answered(answer.prompt, len(answer.reply.pieces), max(1000, answer.read_ns), spoken)
        self._log.say(self._dialect.answered(figures))
        row = {
            **self._row(
                answer.ask,
                chat=answer.chat,
                text="" if answer.ask.stream else answer.reply.text,
                thinking="" if answer.ask.stream else answer.reply.thinking,
                done_reason=answer.reply.reason,
            ),
            **({} if answer.chat else {"context": _context(answer)}),
            "total_duration": total,
            "load_duration": answer.load_ns,
            "prompt_eval_count": figures.prompt_tokens,
            "prompt_eval_duration": figures.prompt_ns,
            "eval_count": figures.tokens,
            "eval_duration": figures.eval_ns,
        }
        (answer.exchange.line if answer.ask.stream else answer.exchange.json)(row)

    def _row(
        self, ask: Ask, *, chat: bool, text: str, thinking: str = "", done_reason: str = ""
    ) -> dict[str, Any]:
        thought = {"thinking": thinking} if thinking else {}
        said: dict[str, Any] = {"response": text, **thought}
        if chat:
            said = {"message": {"role": "assistant", "content": text, **thought}}
        ended = {"done": True, "done_reason": done_reason} if done_reason else {"done": False}
        return {"model": ask.model, "created_at": timestamp(time.time_ns()), **said, **ended}


def _rubbish(faults: dict[FaultKind, Fault]) -> str:
    return faults[FaultKind.RUBBISH].what if FaultKind.RUBBISH in faults else ""


def _context(answer: _Answer) -> list[int]:
    """Return numbers that stand for the tokens of the talk so far, the same for the same talk."""
    seed = hashlib.sha256((answer.ask.prompt + answer.reply.text).encode("utf-8", "replace")).digest()
    return [seed[place % 32] + 3 for place in range(min(64, answer.prompt + len(answer.reply.pieces)))]
