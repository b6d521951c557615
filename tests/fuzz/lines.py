"""Log lines: mutated real ones, for the prefilter, the parser, the detector, the grouper and the policy."""

import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleet.config.schema import SEED_LADDER
from fleet.memory_errors.causes import LogEventKind
from fleet.memory_errors.judge import judge_error
from fleet.policy.rules import Rules as FleetRules
from fleet.policy.state import FleetState
from monitor.api_calls import parse_call
from monitor.detection.detector import Detector
from monitor.detection.prefilter import table_needles
from monitor.incidents import GroupingRules, GroupState, advance
from monitor.incidents.messages import (
    FailedCall,
    Heard,
    Line,
    LogAway,
    LogBack,
    Observation,
    TimePassed,
)
from monitor.ingest import Context, absorb_batch, absorb_presence, absorb_time
from monitor.sources.base import LogLine
from state.codec import decode_state, default_state, encode_state, from_json, to_json
from tests.fuzz.mutations import LONGEST, SHAPES, mutated, number_changed

DATA = Path(__file__).parents[1] / "data"
SHOWN = 20_000
CALL = {
    "id": "1",
    "started": 1_795_000_000.5,
    "ended": 1_795_000_003,
    "model": "m:1",
    "switches": 0,
    "status": 500,
}

_WITHIN = (b"\n", b"\\", b"\x1b")
"""What can stand within a word and is taken out before it is read; no program that is followed puts it there."""


@dataclass(slots=True)
class Fuzzer:
    """Feeds lines and keeps the grouper's state and the slowest line between them."""

    chance: random.Random
    detector: Detector = field(default_factory=Detector)
    state: GroupState = field(default_factory=GroupState)
    now: float = 1_795_000_000.0
    fleet: FleetState = field(default_factory=lambda: default_state(SEED_LADDER, 0.0))
    waiting: list[LogLine] = field(default_factory=list)
    slowest: float = 0.0
    slowest_line: bytes = b""

    def feed(self, line: bytes) -> None:
        """Give one line to everything that reads lines; raise AssertionError where one contradicts another."""
        started = time.perf_counter()
        candidates = list(self.detector.candidates(line))
        text = line.decode("utf-8", "replace")
        reading = self.detector.read(text)
        took = time.perf_counter() - started
        if took > self.slowest:
            self.slowest, self.slowest_line = took, line
        event = (
            reading.event if reading.event and reading.event.kind is not LogEventKind.REQUEST_ENDED else None
        )
        silent = reading.signal is None and event is None  # the access log is found by its very columns
        assert silent or candidates or any(mark in line for mark in _WITHIN), "turned away by the prefilter"
        judge_error(text)
        self.group(text)
        self.absorb(text)

    def group(self, text: str) -> None:
        """Let the grouper see the line, live or late, and something else now and then."""
        self.now += self.chance.choice((0.0, 0.01, 1.0, 20.0))
        roll = self.chance.random()
        self.see(
            Line(text, self.now if roll < 0.3 else None, self.now if roll < 0.7 else None, heard=self.now)
        )
        if roll > 0.9:
            self.see(self.other(text))
        if roll > 0.98:
            self.state = from_json(GroupState, json.loads(json.dumps(to_json(self.state))))

    def absorb(self, text: str) -> None:
        """Let the fleet's state follow a few lines at a time, and what else is read, down to the file."""
        stamp = self.chance.choice((None, self.now, self.now - 1, -6e10, 2.5e11))
        self.waiting.append(LogLine(text, stamp, live=self.chance.random() < 0.7))
        if self.chance.random() < 0.8:
            return
        context = Context(self.now, FleetRules(), self.detector)
        roll = self.chance.random()
        state = absorb_batch(self.fleet, "log", self.waiting, context)
        self.waiting = []
        if roll > 0.8:
            state = absorb_time(state, context).with_unload(self.now)
        if roll > 0.9:
            state = self.call(state, text, context)
            state = absorb_presence(state, context, away=roll > 0.95)
        text = encode_state(state, self.now)
        self.fleet = replace(decode_state(text) if roll > 0.8 else state, events=(), incidents=())

    def call(self, state: FleetState, text: str, context: Context) -> FleetState:
        """Absorb a call whose numbers are odd, or that is none."""
        row = json.dumps(CALL | {"error": text[:4096]})
        for _ in range(self.chance.choice((0, 1, 2, 3))):
            row = number_changed(self.chance, row.encode(), b"").decode()
        try:
            parse_call(row, self.now)
        except ValueError:
            return state
        return absorb_batch(state, "signals", [LogLine(row)], context)

    def other(self, text: str) -> Observation:
        """Return what the grouper sees beside lines."""
        return self.chance.choice((
            TimePassed(self.now),
            Heard(self.now),
            LogAway(),
            LogBack(self.now),
            FailedCall("1", self.now - 5, self.now, "llama3.2:3b", 500, text[:4096]),
        ))  # fmt: skip

    def see(self, observation: Observation) -> None:
        self.state, _ = advance(self.state, observation, GroupingRules(), self.detector)


def real_lines() -> list[bytes]:
    """Every line of the test data."""
    texts = [path.read_text("utf-8") for path in (DATA / "wordings.txt", DATA / "episodes.txt")]
    texts += [path.read_text("utf-8") for path in (DATA / "corpus").glob("log-*.txt")]
    rows = (DATA / "corpus" / "lines.jsonl").read_text("utf-8").splitlines()
    return [line.encode() for text in texts for line in text.splitlines()] + [
        json.loads(row)["line"].encode() for row in rows
    ]


def hostile() -> Iterator[bytes]:
    """Yield lines of 64 KB that repeat a literal or a shape, alone and after the head of a real line."""
    heads = (
        "",
        'time=2026-11-23T22:24:52.254Z level=ERROR source=sched.go:1 msg="',
        "CUDA error ",
        '{"msg":"',
    )
    for piece in sorted({*SHAPES, *table_needles()}):
        for head in heads:
            yield (head + piece * (LONGEST // len(piece)))[:LONGEST].encode()


def fuzz(inputs: int, seed: int) -> Fuzzer:
    """Feed so many mutated lines, then the hostile ones."""
    chance = random.Random(seed)
    fuzzer = Fuzzer(chance)
    for number, line in enumerate(mutated(chance, real_lines()), start=1):
        if number > inputs:
            break
        _fed(fuzzer, line)
        if number % SHOWN == 0:
            sys.stderr.write(f"{number} lines\n")
    return fuzzer


def _fed(fuzzer: Fuzzer, line: bytes) -> None:
    try:
        fuzzer.feed(line)
    except Exception:
        before = "".join(f"after {one.text[:2000]!r}\n" for one in fuzzer.waiting[:-1])
        sys.stderr.write(f"{before}fault on {line[:2000]!r}\n")
        raise


def slowest_hostile() -> Fuzzer:
    """Feed the hostile lines; the slowest counts by the best of three, since a busy machine delays some."""
    fuzzer = Fuzzer(random.Random(0))
    for line in hostile():
        took = min(_time_of(fuzzer.detector, line) for _ in range(3))
        if took > fuzzer.slowest:
            fuzzer.slowest, fuzzer.slowest_line = took, line
    return fuzzer


def _time_of(detector: Detector, line: bytes) -> float:
    once = Fuzzer(random.Random(0), detector)
    _fed(once, line)
    return once.slowest
