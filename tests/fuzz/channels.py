"""What is read beside log lines, from bytes down to the written state: each channel takes one input and keeps its state.

A channel raises at a fault: an exception that the reader does not promise, or a state that is not read as it was written.
"""

import contextlib
import io
import json
import random
import shutil
import tempfile
import weakref
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self
from unittest import mock

from cli.status import brain_of
from fleet.clients import supervisor
from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama, PullProgress
from fleet.config.schema import SEED_LADDER
from fleet.policy.decide import decide
from fleet.policy.events import EventKind
from fleet.policy.facts import Command, PullFailed, Tick, TrialEnded
from fleet.policy.rules import Rules
from fleet.policy.state import FleetState, SwitchKind
from fleet.runtime.errors import OllamaError, StateError, SupervisorError
from fleet.runtime.home import read_json
from fleet.runtime.pause_request import is_idle
from fleet.runtime.untrusted import finite
from monitor.detection.detector import Detector
from monitor.inbox import MemoryReading, Resident
from monitor.ingest import LOG, SIGNALS, Context, absorb_batch, absorb_time
from monitor.models.inventory import need_of, rungs_here
from monitor.models.pull import PullWatch, pull_failure
from monitor.scan.open_log import _in_utf8
from monitor.skipped_lines import absorb_each
from monitor.sources.base import Cursor, LogLine
from monitor.sources.docker.dedup import Ledger, StampedReader
from monitor.sources.docker.frames import BrokenStreamError
from monitor.sources.journal.entries import EntryReader, JournalPosition
from monitor.sources.lines import LineBuffer, kept_lines
from monitor.watch.generator import Seen, generator_verdict
from monitor.watch.spill import SpillRules, spill_of, spill_verdict
from state.codec import decode_state, default_state, encode_state, to_json
from state.refit import fit_to_ladder
from tests.fuzz.mutations import MUTATIONS, json_mutated, mutated, value_mutated

NOW = 1_795_000_000.0
STAMP = b"2026-11-23T22:24:52."


class Channel(Protocol):
    """One kind of input."""

    def inputs(self, chance: random.Random) -> Iterator[bytes]:
        """Yield inputs without end."""

    def feed(self, chance: random.Random, data: bytes) -> None:
        """Read one input; raise at a fault."""


def written(state: FleetState) -> FleetState:
    """Return the state as it is read back from the file that is written of it, without what would pile up."""
    text = encode_state(state, NOW)
    again = decode_state(text)
    rewritten = encode_state(again, NOW)
    assert rewritten == text or json.loads(rewritten) == json.loads(text), "the file holds another state"
    return replace(again, events=(), incidents=again.incidents[-5:])


def _context() -> Context:
    return Context(NOW, Rules(), _DETECTOR)


_DETECTOR = Detector()


@dataclass
class WrappedLog:
    """The log as each source wraps it: plain, Docker's messages, a terminal's bytes, journald's JSON, UTF-16."""

    lines: Sequence[bytes]
    state: FleetState = field(default_factory=lambda: default_state(SEED_LADDER, 0.0))

    def inputs(self, chance: random.Random) -> Iterator[bytes]:
        for line in mutated(chance, list(self.lines)):
            wrapped = chance.choice(_WRAPS)(chance, line)
            if chance.random() < 0.6:
                wrapped = chance.choice(MUTATIONS)(chance, wrapped, line)
            yield wrapped

    def feed(self, chance: random.Random, data: bytes) -> None:
        read = chance.choice((self._plain, self._docker, self._terminal, self._journal, self._utf16))
        found, cursor = read(chance, data)
        state = absorb_batch(self.state, LOG, found, _context())
        self.state = written(replace(state, cursors={LOG: dict(cursor)}))

    def _plain(self, chance: random.Random, data: bytes) -> tuple[list[LogLine], Cursor]:
        buffer, found = LineBuffer(), []
        for piece in _pieces(chance, data):
            region = buffer.feed(piece)
            found += [] if region is None else list(kept_lines(region, _DETECTOR.candidates, live=True))
        region = buffer.finish()
        return found + (
            [] if region is None else list(kept_lines(region, _DETECTOR.candidates, live=True))
        ), {}

    def _docker(self, chance: random.Random, data: bytes) -> tuple[list[LogLine], Cursor]:
        return self._stamped(list(_pieces(chance, data)), terminal=False)

    def _terminal(self, chance: random.Random, data: bytes) -> tuple[list[LogLine], Cursor]:
        return self._stamped(list(_pieces(chance, data)), terminal=True)

    def _stamped(self, items: list[bytes], *, terminal: bool) -> tuple[list[LogLine], Cursor]:
        ledger = Ledger.from_cursor(self.state.cursors.get(LOG)) or Ledger(0)
        reader = StampedReader(ledger, _DETECTOR.candidates, ledger.since, terminal=terminal)
        try:
            found = reader.feed(items, live=True) + reader.finish(live=False)
        except BrokenStreamError:
            return [], {}
        return found, ledger.to_cursor()

    def _journal(self, chance: random.Random, data: bytes) -> tuple[list[LogLine], Cursor]:
        position = JournalPosition.from_cursor(self.state.cursors.get(LOG)) or JournalPosition()
        reader = EntryReader(position, _DETECTOR.candidates, past=None)
        found = [line for piece in _pieces(chance, data) for line in reader.feed(piece)]
        return found, reader.position.to_cursor()

    def _utf16(self, chance: random.Random, data: bytes) -> tuple[list[LogLine], Cursor]:
        coded = data.decode("utf-8", "replace").encode("utf-16") if chance.random() < 0.8 else data
        stream = io.BufferedReader(io.BytesIO(coded))  # type: ignore[arg-type]
        return self._plain(chance, _in_utf8(stream, coded[:8]).read())


def _pieces(chance: random.Random, data: bytes) -> Iterator[bytes]:
    """Yield the data cut where a socket may cut it."""
    while data:
        size = chance.choice((1, 7, 100, 4096, len(data)))
        yield data[:size]
        data = data[size:]


def _as_docker(chance: random.Random, line: bytes) -> bytes:
    return STAMP + b"%09dZ " % chance.randrange(10**9) + line + b"\n"


def _as_cri(chance: random.Random, line: bytes) -> bytes:
    mark = chance.choice((b"stdout F ", b"stderr F ", b"stderr P "))
    return STAMP + b"%09dZ " % chance.randrange(10**9) + mark + line + b"\n"


def _as_json_file(_: random.Random, line: bytes) -> bytes:
    text = line.decode("utf-8", "replace") + "\n"
    return json.dumps({"log": text, "stream": "stderr", "time": "2026-11-23T22:24:52.1Z"}).encode() + b"\n"


def _as_journal(chance: random.Random, line: bytes) -> bytes:
    message: Any = line.decode("utf-8", "replace") if chance.random() < 0.7 else list(line[:300])
    row = {
        "__CURSOR": f"s=1;i={chance.randrange(99)}",
        "__REALTIME_TIMESTAMP": str(int(NOW * 1e6)),
        "MESSAGE": message,
    }
    if chance.random() < 0.2:
        row |= {"_LINE_BREAK": "line-max", "_STREAM_ID": "a"}
    return json.dumps(row).encode() + b"\n"


_WRAPS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    lambda _, line: line + b"\n",
    lambda _, line: line + b"\r\n",
    _as_docker,
    _as_cri,
    _as_json_file,
    _as_journal,
)


@dataclass
class Signals:
    """`signals.jsonl`: lines that are no call are skipped, as the monitor does."""

    state: FleetState = field(default_factory=lambda: default_state(SEED_LADDER, 0.0))
    seeds: tuple[bytes, ...] = tuple(
        json.dumps(
            {"id": "1", "started": NOW - 9, "ended": NOW - 1, "model": "m:1", "switches": 0}
            | {"status": status, "error": error}
        ).encode()
        for status, error in ((200, ""), (500, "CUDA error: out of memory"), (500, "unexpected EOF"))
    )

    def inputs(self, chance: random.Random) -> Iterator[bytes]:
        while True:
            yield json_mutated(chance, self.seeds)

    def feed(self, _: random.Random, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        context, line = _context(), LogLine(text)
        try:
            state = absorb_batch(self.state, SIGNALS, (line,), context)
        except ValueError:
            state = absorb_each(self.state, SIGNALS, (line,), context, source="signals")
        self.state = written(absorb_time(state, context))


@dataclass
class StateFile:
    """The state file: refused as a whole, or good for every further step."""

    chance: random.Random = field(default_factory=lambda: random.Random(5))

    def inputs(self, chance: random.Random) -> Iterator[bytes]:
        seeds = [encode_state(state, NOW).encode() for state in _states()]
        while True:
            yield json_mutated(chance, seeds)

    def feed(self, chance: random.Random, data: bytes) -> None:
        try:
            state = decode_state(data.decode("utf-8", "replace"))
        except StateError:
            return
        state = fit_to_ladder(state, SEED_LADDER, NOW)
        line = LogLine('time=2026-11-23T22:24:52Z level=ERROR msg="CUDA error: out of memory"', NOW)
        state = absorb_batch(state, LOG, (line,), _context())
        state = decide(absorb_time(state, _context()), Tick(), NOW, Rules()).state
        state = decide(state, Command(SwitchKind.USE, chance.randrange(4)), NOW, Rules()).state
        if state.switch is not None:
            state = decide(state, PullFailed(state.switch.number, "no such model"), NOW, Rules()).state
        written(state)


def _states() -> Iterator[FleetState]:
    """Yield states of many kinds."""
    state = default_state(SEED_LADDER, NOW)
    yield state
    line = LogLine('time=2026-11-23T22:24:52Z level=ERROR msg="CUDA error: out of memory"', NOW)
    for _ in range(3):
        state = absorb_batch(state, LOG, (line,), _context())
        yield replace(state, cursors={LOG: Ledger(5).to_cursor(), SIGNALS: {"kind": "file", "offset": 7}})
    state = decide(state, Command(SwitchKind.USE, 2, pin=True), NOW, Rules()).state
    yield state
    if state.switch is not None:
        yield decide(state, TrialEnded(state.switch.number, passed=True), NOW, Rules()).state


class _Answer:
    """An answer whose body is the input."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.body, self.status = body, status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> bytes:
        return self.body

    def lines(self, *, stall: float | None = None) -> Iterator[bytes]:
        yield from self.body.split(b"\n")

    def close(self) -> None:
        pass


@dataclass
class _Server:
    body: bytes = b""
    status: int = 200

    def request(self, *_: object, **__: object) -> _Answer:
        return _Answer(self.body, self.status)


_INFO_OF_MODEL = {
    "general.architecture": "llama",
    "llama.block_count": 28,
    "llama.embedding_length": 3072,
    "llama.attention.head_count": 24,
    "llama.attention.head_count_kv": [8, 8],
    "llama.attention.key_length": 128,
}
_ANSWERS: tuple[dict[str, Any], ...] = (
    {"models": [{"name": "phi3:mini", "size": 2_200_000_000, "digest": "sha256:ab"}, {"name": "x"}]},
    {"models": [{"name": "llama3.2:3b", "size": 3 * 10**9, "size_vram": 10**9, "context_length": 4096}]},
    {
        "modelfile": "FROM /x/sha256-abc",
        "details": {"family": "llama"},
        "capabilities": ["completion", "thinking"],
        "thinking": {"values": [True, "low"]},
        "model_info": _INFO_OF_MODEL,
    },
    {"status": "pulling ab", "digest": "sha256:ab", "total": 10**9, "completed": 10**6},
    {"response": "x", "thinking": "", "done": True, "done_reason": "stop", "eval_count": 5},
    {"error": {"message": "CUDA error: out of memory"}},
)


_SEEDS = tuple(json.dumps(one).encode() for one in _ANSWERS)


@dataclass
class OllamaApi:
    """Answers of `/api/*`: an OllamaError, or values that the fleet's state takes."""

    state: FleetState = field(default_factory=lambda: default_state(SEED_LADDER, 0.0))

    def inputs(self, chance: random.Random) -> Iterator[bytes]:
        while True:
            yield b"\n".join(json_mutated(chance, _SEEDS) for _ in range(chance.choice((1, 1, 1, 3))))

    def feed(self, chance: random.Random, data: bytes) -> None:
        ollama = Ollama("http://x", _Server(data, chance.choice((200, 200, 200, 404, 500))))
        found: list[PullProgress] = []
        watch = PullWatch(NOW)
        event: dict[str, Any] = {"reason": "", "model": "m"}
        try:
            match chance.randrange(5):
                case 0:
                    event["here"] = rungs_here(SEED_LADDER, ollama.tags())
                case 1:
                    event["vram"] = self._placed(ollama)
                case 2:
                    details = ollama.show("m")
                    event["need"] = need_of(SEED_LADDER[0], 10**9, details)
                    event["blob"] = details.blob
                case 3:
                    ollama.pull("m", progress=found.append, stall=1.0, cancel=Cancel())
                case _:
                    event["figures"] = dict(ollama.generate({}, first_token=1.0, stall=1.0).figures)
        except OllamaError as error:
            event["reason"] = pull_failure(error)
        with contextlib.suppress(OllamaError):
            for number, progress in enumerate(found):
                watch.see(progress, NOW + number)
        self.state = written(self.state.with_event(NOW, EventKind.PULL_FAILED, **event))

    def _placed(self, ollama: Ollama) -> int:
        residents = tuple(Resident(one.name, one.size, one.size_vram) for one in ollama.loaded())
        before = spill_of(self.state)
        spill, outcomes = spill_verdict(
            before, MemoryReading(NOW, residents), SpillRules("llama3.2:3b", gpu=True)
        )
        self.state = replace(self.state, watch={**self.state.watch, "spill": to_json(spill)})
        return len(outcomes)


_INFO = {
    "name": "generator", "group": "generator", "state": 20, "statename": "RUNNING", "pid": 77, "start": 1_795_000_000,
    "now": 1_795_000_300, "description": "pid 77, uptime 0:05:00", "spawnerr": "", "exitstatus": 0, "logfile": "",
}  # fmt: skip


@dataclass
class _Connection:
    """A connection to supervisord whose response has the input as its body."""

    body: bytes
    socket: str = ""
    timeout: float = 0.0

    def request(self, *_: object) -> None:
        pass

    def getresponse(self) -> _Answer:
        return _Answer(self.body)

    def close(self) -> None:
        pass


@dataclass
class XmlRpc:
    """Answers of supervisord: a SupervisorError, or a program that the verdict on the generator takes."""

    state: FleetState = field(default_factory=lambda: default_state(SEED_LADDER, 0.0))

    def inputs(self, chance: random.Random) -> Iterator[bytes]:
        fault = xmlrpc.client.dumps(xmlrpc.client.Fault(60, "ALREADY_STARTED"), methodresponse=True).encode()
        while True:
            text, value = fault, value_mutated(chance, chance.choice((_INFO, _INFO, [_INFO, _INFO], True)))
            # What XML-RPC cannot say is left out: large integers, half surrogates.
            with contextlib.suppress(OverflowError, TypeError, UnicodeError):
                text = xmlrpc.client.dumps((value,), methodresponse=True, allow_none=True).encode()
            yield chance.choice(MUTATIONS)(chance, text, fault) if chance.random() < 0.3 else text

    def feed(self, chance: random.Random, data: bytes) -> None:
        client = supervisor.Supervisor(Path("/nowhere"))
        # A Mock of each input's connection would cost more than all that is tried.
        connect = partial(_Connection, data)
        with mock.patch.object(supervisor, "UnixConnection", connect):
            try:
                if chance.random() < 0.3:
                    client.start("generator")
                    program = client.programs()[0]
                else:
                    program = client.program("generator")
            except (SupervisorError, IndexError) as error:
                self.state = written(self.state.with_event(NOW, EventKind.GENERATOR_DOWN, reason=str(error)))
                return
        verdict = generator_verdict(self.state, Seen(program, 0), longest=600.0)
        fields = asdict(program) | {"reason": verdict.reason}
        self.state = written(
            self.state.with_event(NOW, EventKind.GENERATOR_DOWN, **fields | {"program": fields.pop("name")})
        )


_HEARTBEAT = {
    "pid": 77, "rung": 1, "switches": 4, "heartbeat": NOW - 3, "request_since": NOW - 9, "paused": True,
    "alphas": ["rank(close)"],
    "brain": {"user": "x", "away": "no", "running": 2}, "unusable": {"since": NOW, "calls": 3, "reason": "x"},
}  # fmt: skip


@dataclass
class HeartbeatRow:
    """`run/generator.json`: no object at all, or one that every reader of it takes."""

    state: FleetState = field(default_factory=lambda: default_state(SEED_LADDER, 0.0))
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="fuzz-")))

    def __post_init__(self) -> None:
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def inputs(self, chance: random.Random) -> Iterator[bytes]:
        while True:
            yield json_mutated(chance, (json.dumps(_HEARTBEAT).encode(),))

    def feed(self, _: random.Random, data: bytes) -> None:
        path = self.folder / "generator.json"
        path.write_bytes(data)
        row = read_json(path) or {}
        is_idle(row, NOW)
        brain_of(row)
        program = supervisor.ProgramInfo("generator", supervisor.ProgramState.RUNNING, 77)
        seen = Seen(program, 0, finite(row.get("heartbeat")) or 0.0, finite(row.get("request_since")) or 0.0)
        verdict = generator_verdict(self.state, seen, longest=600.0)
        self.state = written(self.state.with_event(NOW, EventKind.GENERATOR_HUNG, reason=verdict.reason))


def channels(lines: Sequence[bytes]) -> Mapping[str, Channel]:
    """Return every channel but the bare lines, which `tests.fuzz.lines` feeds."""
    return {
        "wrapped": WrappedLog(lines),
        "signals": Signals(),
        "state": StateFile(),
        "api": OllamaApi(),
        "xmlrpc": XmlRpc(),
        "heartbeat": HeartbeatRow(),
    }
