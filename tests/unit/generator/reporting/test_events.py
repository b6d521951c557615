import io
import logging
from collections.abc import Iterator

import pytest

from fleet.runtime.errors import FleetError
from fleet.runtime.logging import configure
from generator.domain import (
    AlphaFigures,
    CallRecord,
    CallVerdict,
    Candidate,
    Evaluated,
    Reason,
    Source,
    Streak,
)
from generator.reporting.events import MiningEvents
from tests.reference.manual_clock import StillClock


@pytest.fixture
def shown() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(stdout=io.StringIO(), stderr=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def sentences(stream: io.StringIO) -> list[str]:
    return [line[10:] for line in stream.getvalue().splitlines()]


def make(*, standin: bool = False, synthetic: bool = False, clock: StillClock | None = None) -> MiningEvents:
    return MiningEvents(model="m:1b", standin=standin, synthetic=synthetic, clock=clock or StillClock())


def call(error: str | None = None, status: int = 200) -> CallRecord:
    return CallRecord("c", 1.0, 2.0, "m:1b", 0, 0, "p", status, error=error)


def alpha(*, kept: bool = False) -> Evaluated:
    figures = AlphaFigures(1.234, 0.2, 0.9, 0.1, 0.1, 0.1, 5.0, 5.0, 10)
    return Evaluated(Candidate("d", "rank(close)", "rank(close)"), Source.PANEL, {}, figures, kept=kept, id=3)


def test_an_alpha_is_reported_with_its_figures_and_where_they_come_from(shown: io.StringIO) -> None:
    make().evaluated(alpha(kept=True))
    make(standin=True, synthetic=True).evaluated(alpha())
    assert sentences(shown) == [
        "Sharpe 1.23, fitness 0.90, kept: rank(close)",
        "stand-in, synthetic panel: Sharpe 1.23, fitness 0.90: rank(close)",
    ]


def test_alphas_are_reported_at_a_bounded_rate(shown: io.StringIO) -> None:
    clock = StillClock()
    events = make(clock=clock)
    for _ in range(10):
        events.evaluated(alpha())
    clock.now += 1.0
    events.evaluated(alpha())
    assert sentences(shown) == [
        "Sharpe 1.23, fitness 0.90: rank(close)",
        "Sharpe 1.23, fitness 0.90: rank(close) (and 9 more)",
    ]


def test_each_memory_failure_is_reported_and_other_trouble_once(shown: io.StringIO) -> None:
    events = make()
    for failures in (1, 2):
        events.call_ended(call("out of memory", 500), CallVerdict.MEMORY, failures=lambda: failures, wait=5.0)  # noqa: B023
    for _ in range(3):
        events.call_ended(
            call("no answer from Ollama at x", 0), CallVerdict.AWAY, failures=lambda: 1, wait=1.0
        )
    for _ in range(3):
        events.call_ended(
            call("model 'm:1b' not found", 404), CallVerdict.MISSING, failures=lambda: 1, wait=1.0
        )
    for _ in range(3):
        events.call_ended(call(), CallVerdict.ANSWERED, failures=lambda: 0, wait=0.0)
    assert sentences(shown) == [
        "m:1b ran out of GPU memory; next try in 5s",
        "m:1b ran out of GPU memory, 2 in a row; next try in 5s",
        "no answer from Ollama at x; trying again",
        "m:1b is not in Ollama; waiting for the monitor to fetch it or to switch",
        "m:1b answers again",
    ]


@pytest.mark.parametrize(
    "ends",
    [
        # An answer that was in flight with the failed call, or whose thread reports it late.
        [("away", 1), ("answered", 1), ("away", 2), ("answered", 0)],
        # A failure whose thread reports it after the next call was answered.
        [("away", 1), ("answered", 0), ("away", 0), ("answered", 0)],
    ],
    ids=["late answer", "late failure"],
)
def test_calls_that_are_reported_out_of_order_are_no_news(
    shown: io.StringIO, ends: list[tuple[str, int]]
) -> None:
    events = make()
    for end, failures in ends:
        away = end == "away"
        ended = call("no answer from Ollama at x", 0) if away else call()
        verdict = CallVerdict.AWAY if away else CallVerdict.ANSWERED
        events.call_ended(ended, verdict, failures=lambda: failures, wait=1.0)  # noqa: B023
    assert sentences(shown) == ["no answer from Ollama at x; trying again", "m:1b answers again"]


def test_in_a_stand_in_fleet_trouble_says_so_too(shown: io.StringIO) -> None:
    events = make(standin=True)
    events.started(url="http://x")
    events.call_ended(call("out of memory", 500), CallVerdict.MEMORY, failures=lambda: 1, wait=5.0)
    events.call_ended(call(), CallVerdict.ANSWERED, failures=lambda: 0, wait=0.0)
    assert all("stand-in" in sentence for sentence in sentences(shown))


def test_pauses_and_storage_are_reported_when_they_begin_and_end(shown: io.StringIO) -> None:
    events = make()
    for why in (None, "probe", "probe", None, None):
        events.pause(why)
    error = FleetError("the database is full", hint="Make room.")
    for state in (None, error, error, None, None):
        events.storage(state)
    assert sentences(shown) == [
        "mining pauses: probe",
        "mining resumes",
        "the database is full. Finished calls wait in memory. Make room.",
        "the database can be written again",
    ]


def test_what_a_model_wrote_stays_one_line(shown: io.StringIO) -> None:
    one = Evaluated(Candidate("d", "a\nb\x1b[2J", "x"), Source.PANEL, {}, alpha().performance)
    make().evaluated(one)
    assert len(shown.getvalue().splitlines()) == 1
    assert "\x1b" not in shown.getvalue()


def test_unusable_replies_are_reported_at_the_fifth_at_a_new_reason_and_at_their_end(
    shown: io.StringIO,
) -> None:
    events, streak = make(), Streak()
    empty, cut = Reason("empty", "the replies are empty", "Update Ollama."), Reason("cut", "cut", "More.")
    for reason in (empty,) * 8 + (cut,) * 3:
        streak = streak.extended(reason, started=1.0)
        events.replies(lambda now=streak: now)
    events.replies(Streak)
    events.replies(Streak)
    end = "Calls become rarer until a reply is usable"
    assert sentences(shown) == [
        f"m:1b gave nothing usable 5 times in a row: the replies are empty. Update Ollama. {end}",
        f"m:1b gave nothing usable 9 times in a row: cut. More. {end}",
        "m:1b gives usable replies again",
    ]
