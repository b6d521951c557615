import io
import logging
from collections.abc import Iterator

import pytest

from fleet.runtime.errors import FleetError
from fleet.runtime.logging import configure
from generator.domain import AlphaFigures, CallRecord, Candidate, Evaluated, Source
from generator.llm.throttle import CallVerdict, Pace, Reason, Streak
from generator.reporting.events import Narrator
from tests.reference.manual_clock import StillClock


@pytest.fixture
def told() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(stdout=io.StringIO(), stderr=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def sentences(stream: io.StringIO) -> list[str]:
    return [line[10:] for line in stream.getvalue().splitlines()]


def make(*, standin: bool = False, synthetic: bool = False, clock: StillClock | None = None) -> Narrator:
    return Narrator(model="m:1b", standin=standin, synthetic=synthetic, clock=clock or StillClock())


def call(error: str | None = None, status: int = 200) -> CallRecord:
    return CallRecord("c", 1.0, 2.0, "m:1b", 0, 0, "p", status, error=error)


def alpha(*, kept: bool = False) -> Evaluated:
    figures = AlphaFigures(1.234, 0.2, 0.9, 0.1, 0.1, 0.1, 5.0, 5.0, 10)
    return Evaluated(Candidate("d", "rank(close)", "rank(close)"), Source.PANEL, {}, figures, kept=kept, id=3)


def test_an_alpha_is_told_with_its_figures_and_where_they_come_from(told: io.StringIO) -> None:
    make().evaluated(alpha(kept=True))
    make(standin=True, synthetic=True).evaluated(alpha())
    assert sentences(told) == [
        "Sharpe 1.23, fitness 0.90, kept: rank(close)",
        "stand-in, synthetic panel: Sharpe 1.23, fitness 0.90: rank(close)",
    ]


def test_alphas_are_told_at_a_bounded_rate(told: io.StringIO) -> None:
    clock = StillClock()
    narrator = make(clock=clock)
    for _ in range(10):
        narrator.evaluated(alpha())
    clock.now += 1.0
    narrator.evaluated(alpha())
    assert sentences(told) == [
        "Sharpe 1.23, fitness 0.90: rank(close)",
        "Sharpe 1.23, fitness 0.90: rank(close) (and 9 more)",
    ]


def test_each_memory_failure_is_told_and_other_trouble_once(told: io.StringIO) -> None:
    narrator = make()
    for failures in (1, 2):
        narrator.call_ended(call("out of memory", 500), CallVerdict.MEMORY, Pace(failures=failures), 5.0)
    for _ in range(3):
        narrator.call_ended(call("Ollama at x is away", 0), CallVerdict.AWAY, Pace(), 1.0)
    for _ in range(3):
        narrator.call_ended(call("model 'm:1b' not found", 404), CallVerdict.MISSING, Pace(), 1.0)
    for _ in range(3):
        narrator.call_ended(call(), CallVerdict.ANSWERED, Pace(), 0.0)
    assert sentences(told) == [
        "m:1b ran out of GPU memory; next try in 5s",
        "m:1b ran out of GPU memory, 2 in a row; next try in 5s",
        "Ollama at x is away; trying again",
        "m:1b is not in Ollama; waiting for the monitor to fetch it or to switch",
        "m:1b answers again",
    ]


def test_in_a_stand_in_fleet_trouble_says_so_too(told: io.StringIO) -> None:
    narrator = make(standin=True)
    narrator.started(url="http://x")
    narrator.call_ended(call("out of memory", 500), CallVerdict.MEMORY, Pace(failures=1), 5.0)
    narrator.call_ended(call(), CallVerdict.ANSWERED, Pace(), 0.0)
    assert all("stand-in" in sentence for sentence in sentences(told))


def test_pauses_and_storage_are_told_when_they_begin_and_end(told: io.StringIO) -> None:
    narrator = make()
    for why in (None, "probe", "probe", None, None):
        narrator.pause(why)
    error = FleetError("the database is full", hint="Make room.")
    for state in (None, error, error, None, None):
        narrator.storage(state)
    assert sentences(told) == [
        "mining pauses: probe",
        "mining goes on",
        "the database is full. What is finished is kept in memory. Make room.",
        "the database can be written again",
    ]


def test_what_a_model_wrote_stays_one_line(told: io.StringIO) -> None:
    one = Evaluated(Candidate("d", "a\nb\x1b[2J", "x"), Source.PANEL, {}, alpha().performance)
    make().evaluated(one)
    assert len(told.getvalue().splitlines()) == 1
    assert "\x1b" not in told.getvalue()


def test_unusable_replies_are_reported_at_the_fifth_at_a_new_reason_and_at_their_end(
    told: io.StringIO,
) -> None:
    narrator, streak = make(), Streak()
    empty, cut = Reason("empty", "the replies are empty", "Update Ollama."), Reason("cut", "cut", "More.")
    for reason in (empty,) * 8 + (cut,) * 3:
        streak = streak.longer(reason, started=1.0)
        narrator.replies(lambda now=streak: now)
    narrator.replies(Streak)
    narrator.replies(Streak)
    end = "It is asked ever less often until a reply is usable"
    assert sentences(told) == [
        f"m:1b gave nothing usable 5 times in a row: the replies are empty. Update Ollama. {end}",
        f"m:1b gave nothing usable 9 times in a row: cut. More. {end}",
        "m:1b gives usable replies again",
    ]
