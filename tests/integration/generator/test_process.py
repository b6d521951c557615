"""The real generator, through its launcher, against the stand-in Ollama."""

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.ollama import Ollama
from fleet.runtime.clock import SystemClock
from fleet.runtime.home import Home
from fleet.runtime.pause_request import pause, resume
from generator.catalogue import load_catalogue
from generator.domain import Assignment
from generator.llm.client import Caller
from generator.llm.context_window import Window
from generator.llm.feedback import Feedback
from generator.llm.prompt import build_prompt
from generator.llm.throttle import CallInFlight
from standin.faults import Fault, FaultKind, RemoveModel
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.processes.generator import MODEL, GeneratorProcess, embed, generating

QUICK = StandinSettings(pace=0.0)


def ids(generator: GeneratorProcess, state: str) -> list[int]:
    return [row[0] for row in generator.query("SELECT id FROM evaluations WHERE state = ?", state)]


def failures(generator: GeneratorProcess) -> list[dict[str, Any]]:
    return [row for row in generator.signals() if row["error"] is not None]


def wait_for_alphas(generator: GeneratorProcess, count: int) -> None:
    # Long, because the kernels may have to be compiled first; with their cache it takes a second.
    generator.until(lambda: len(ids(generator, "done")) >= count, what="alphas", seconds=90.0)


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=QUICK) as server:
        yield server


@pytest.mark.slow
def test_the_launchers_environment_names_the_model_and_what_belongs_to_it(
    tmp_path: Path, ollama: StandinOllama
) -> None:
    state = {
        "current_model": MODEL,
        "current_model_index": 3,
        "switches": 7,
        "current_options": {"num_ctx": 2048},
    }
    (tmp_path / "model_fleet_state.json").write_text(json.dumps(state))
    with generating(tmp_path, ollama.url) as generator:
        beat = generator.until(generator.heartbeat, what="the heartbeat")
        environ = Path(f"/proc/{generator.process.pid}/environ").read_text().split("\0")
    assert {
        f"FLEET_MODEL={MODEL}",
        'FLEET_MODEL_OPTIONS={"num_ctx": 2048}',
        "FLEET_RUNG=3",
        "FLEET_SWITCHES=7",
        "FLEET_LANE=default",
    } <= set(environ)
    assert beat["pid"] == generator.process.pid
    assert (beat["model"], beat["rung"], beat["switches"]) == (MODEL, 3, 7)


@pytest.mark.slow
def test_it_mines_and_ends_well(tmp_path: Path, ollama: StandinOllama) -> None:
    with generating(tmp_path, ollama.url) as generator:
        wait_for_alphas(generator, 6)
        code, seconds = generator.end()
        done = generator.query("SELECT id, source, sharpe, state FROM evaluations WHERE state != 'pending'")
    assert code == 0
    assert seconds < 2.0
    assert "Traceback" not in generator.log + generator.told
    reports = {
        int(line.split("id=")[1].split()[0]) for line in generator.log.splitlines() if " evaluation." in line
    }
    assert reports <= {row[0] for row in done}
    assert {row[1] for row in done} == {"synthetic"}
    assert "synthetic panel: Sharpe" in generator.told
    signals = {row["id"]: row for row in generator.signals()}
    calls = {row[0] for row in generator.query("SELECT id FROM calls")}
    assert calls == set(signals)
    assert all(row["status"] == 200 and row["error"] is None for row in signals.values())
    assert generator.query("SELECT sum(invalid) FROM calls") == [(0,)]
    kept = [json.loads(line) for line in (tmp_path / "log/calls.log").read_text().splitlines()]
    assert {row["id"]: (row["prompt"], row["reply"]) for row in kept} == {
        name: (prompt, reply)
        for name, prompt, reply in generator.query("SELECT id, prompt, reply FROM calls")
    }


@pytest.mark.slow
def test_a_call_that_a_locked_database_does_not_take_before_the_end_is_stored_by_the_next_start(
    tmp_path: Path, ollama: StandinOllama
) -> None:
    with closing(sqlite3.connect(tmp_path / "alphas.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with generating(tmp_path, ollama.url) as generator:
            generator.until(generator.signals, what="an answer")
            code, seconds = generator.end()
        assert generator.count("calls") == 0
        other.execute("ROLLBACK")
    assert (code, seconds < 2.0) == (0, True)
    answers = {row["id"] for row in generator.signals()}
    assert (tmp_path / "run/unstored.json").exists()
    with generating(tmp_path, ollama.url) as generator:
        generator.until(
            lambda: answers <= {row[0] for row in generator.query("SELECT id FROM calls")},
            what="the calls left",
        )
        generator.until(lambda: not (tmp_path / "run/unstored.json").exists(), what="the file's removal")


@pytest.mark.slow
def test_in_a_stand_in_fleet_everything_says_so(tmp_path: Path, ollama: StandinOllama) -> None:
    embed(tmp_path, ollama.url)
    with generating(tmp_path, "http://127.0.0.1:9") as generator:
        wait_for_alphas(generator, 2)
        generator.end()
    assert {row[0] for row in generator.query("SELECT DISTINCT source FROM evaluations")} == {"stand-in"}
    assert {row[0] for row in generator.query("SELECT DISTINCT source FROM calls")} == {"stand-in"}
    assert all("stand-in" in line for line in generator.told.splitlines())
    assert generator.heartbeat()["standin"] is True
    assert not (tmp_path / "hopeful_alphas.json").exists()


@pytest.mark.slow
def test_killed_and_started_again_it_tries_nothing_twice_and_loses_nothing(
    tmp_path: Path, ollama: StandinOllama
) -> None:
    waiting: set[int] = set()
    for number in (1, 2):
        with generating(tmp_path, ollama.url) as killed:
            wait_for_alphas(killed, 4 * number)
            killed.end(signal.SIGKILL)
            waiting = set(ids(killed, "pending"))
    with generating(tmp_path, ollama.url) as generator:
        generator.until(lambda: not waiting & set(ids(generator, "pending")), what="the backlog")
        generator.end()
    lines = [line for line in generator.log.splitlines() if " evaluation." in line]
    reported = [int(line.split(" id=")[1].split()[0]) for line in lines]
    assert len(reported) == len(set(reported))
    assert set(reported) <= {*ids(generator, "done"), *ids(generator, "failed")}
    assert generator.query("SELECT digest FROM evaluations GROUP BY digest HAVING count(*) > 1") == []
    assert {row["id"] for row in generator.signals()} >= {
        row[0] for row in generator.query("SELECT id FROM calls")
    }


@pytest.mark.slow
def test_what_was_left_waiting_is_evaluated_at_the_next_start(tmp_path: Path, ollama: StandinOllama) -> None:
    with generating(tmp_path, ollama.url) as generator:
        generator.until(lambda: generator.count("evaluations") >= 4, what="candidates")
        generator.end(signal.SIGKILL)
    left = ids(generator, "pending")
    ollama.apply(Fault(FaultKind.STALL))
    with generating(tmp_path, ollama.url) as generator:
        generator.until(lambda: not ids(generator, "pending"), what="the backlog", seconds=90.0)
        generator.end()
    assert {*left} <= {*ids(generator, "done"), *ids(generator, "failed")}


@pytest.mark.slow
def test_a_pause_lets_calls_finish_and_none_begin(tmp_path: Path, ollama: StandinOllama) -> None:
    with generating(tmp_path, ollama.url) as generator:
        generator.until(lambda: len(generator.signals()) >= 3, what="calls")
        pause = {"since": time.time(), "until": time.time() + 600, "why": "a trial"}
        (tmp_path / "run/pause.json").write_text(json.dumps(pause))
        generator.until(
            lambda: generator.heartbeat().get("paused") and generator.heartbeat()["request_since"] is None,
            what="the pause",
        )
        before = len(generator.signals())
        time.sleep(0.5)
        assert len(generator.signals()) == before
        assert "mining pauses: a trial" in generator.told
        (tmp_path / "run/pause.json").unlink()
        generator.until(lambda: len(generator.signals()) > before, what="calls after the pause")
        generator.until(lambda: generator.heartbeat()["paused"] is False, what="the heartbeat")


@pytest.mark.slow
def test_there_is_never_a_second_one(tmp_path: Path, ollama: StandinOllama) -> None:
    with generating(tmp_path, ollama.url) as first:
        first.until(first.heartbeat, what="the heartbeat")
        with generating(tmp_path, ollama.url) as second:
            assert second.process.wait(20) == 1
        assert "another generator holds" in second.told
        assert first.process.poll() is None


def test_a_configuration_error_is_reported_and_ends_it(tmp_path: Path, ollama: StandinOllama) -> None:
    with generating(tmp_path, ollama.url, FLEET_GENERATOR_KEEP="fitnes > 1") as generator:
        assert generator.process.wait(20) == 2
    assert '"fitnes" is no metric' in generator.told
    assert "Traceback" not in generator.told


class TestTrouble:
    """What a server can do to a call, and what the generator makes of it."""

    def test_gpu_memory_failures_come_one_at_a_time_with_pauses(self, tmp_path: Path) -> None:
        with (
            standin(settings=StandinSettings(pace=0.0, vram=1)) as server,
            generating(tmp_path, server.url) as generator,
        ):
            generator.until(lambda: len(generator.signals()) >= 2, what="two failures")
            first, second = generator.signals()[:2]
            failed = "error IS NOT NULL AND status = 500"
            generator.until(lambda: generator.count("calls", failed) >= 1, what="the failed call's row")
        assert first["status"] == 500
        assert "unable to allocate" in first["error"]
        assert second["started"] - first["ended"] > 4.9
        assert f"{MODEL} ran out of GPU memory; next try in 5s" in generator.told

    def test_memory_that_runs_out_in_mid_answer_is_the_same_failure(
        self, tmp_path: Path, ollama: StandinOllama
    ) -> None:
        with generating(tmp_path, ollama.url) as generator:
            generator.until(lambda: generator.count("calls", "valid > 0") >= 1, what="a good reply")
            ollama.apply(Fault(FaultKind.OOM, times=1))
            generator.until(lambda: failures(generator), what="the failure")
            [failed] = failures(generator)
            assert failed["status"] == 200
            generator.until(
                lambda: any(row["started"] > failed["ended"] for row in generator.signals()),
                what="a next call",
            )
        after = [row for row in generator.signals() if row["started"] > failed["ended"]]
        assert after[0]["started"] - failed["ended"] > 4.9
        assert "ran out of GPU memory; next try in 5s" in generator.told

    def test_an_answer_that_stops_coming_is_cut(self, tmp_path: Path, ollama: StandinOllama) -> None:
        clock = SystemClock()
        caller = Caller(
            Ollama(ollama.url), Assignment(MODEL), clock=clock, keep_alive=60.0, first_token=30.0, stall=0.5
        )
        prompt = build_prompt(load_catalogue(), Feedback(), count=2, window=Window(4096), seed=1)
        ollama.apply(Fault(FaultKind.STALL_STREAM, times=1))
        cut = caller.call(prompt, CallInFlight(clock.time(), clock.monotonic()))
        again = caller.call(prompt, CallInFlight(clock.time(), clock.monotonic()))
        assert cut is not None
        assert again is not None
        assert "did not answer in time" in str(cut.error)
        assert (cut.status, again.status, again.error) == (0, 200, None)

    def test_an_answer_cut_off_by_its_limit_keeps_the_whole_expressions(
        self, tmp_path: Path, ollama: StandinOllama
    ) -> None:
        state = {"current_model": MODEL, "current_model_index": 3, "current_options": {"num_predict": 40}}
        (tmp_path / "model_fleet_state.json").write_text(json.dumps(state))
        with generating(tmp_path, ollama.url) as generator:
            generator.until(
                lambda: generator.count("calls", "done_reason = 'length' AND valid > 0") >= 1,
                what="an alpha of an answer that was cut",
            )
            assert generator.count("calls", "error IS NOT NULL") == 0
            assert "Traceback" not in generator.log

    def test_a_missing_model_is_reported_once_and_never_pulled(
        self, tmp_path: Path, ollama: StandinOllama
    ) -> None:
        ollama.apply(RemoveModel(MODEL))
        with generating(tmp_path, ollama.url) as generator:
            generator.until(lambda: len(generator.signals()) >= 3, what="failures")
            assert {row["status"] for row in generator.signals()} == {404}
            assert generator.told.count("is not in Ollama") == 1
            assert "pull" not in generator.log

    def test_ollama_away_is_waited_for(self, tmp_path: Path, ollama: StandinOllama) -> None:
        with generating(tmp_path, ollama.url) as generator:
            generator.until(lambda: generator.count("calls", "valid > 0") >= 1, what="a good reply")
            ollama.apply(Fault(FaultKind.AWAY, seconds=8.0))
            generator.until(lambda: "answers again" in generator.told, what="an answer")
            assert {row["status"] for row in failures(generator)} == {0}
            assert generator.told.count("; trying again") == 1

    def test_a_rubbish_reply_costs_only_itself(self, tmp_path: Path, ollama: StandinOllama) -> None:
        with generating(tmp_path, ollama.url) as generator:
            for number, what in enumerate(("text", "schema", "nested", "html"), start=1):
                ollama.apply(Fault(FaultKind.RUBBISH, what=what, times=1, path="/api/generate"))
                # Finished calls queue up while the kernels are compiled: the rubbish comes in behind them.
                generator.until(
                    lambda number=number: generator.count("calls", "valid = 0") == number,  # type: ignore[misc]
                    what=f"the rubbish ({what})",
                )
            ollama.apply(Fault(FaultKind.RUBBISH, what="cut", times=1, path="/api/generate"))
            cut = "error IS NULL AND reply NOT LIKE '%}'"
            generator.until(lambda: generator.count("calls", cut) == 3, what="text, nested and cut")
            good = generator.count("calls", "valid > 0")
            generator.until(
                lambda: generator.count("calls", "valid > 0") > good, what="a good reply after it"
            )
            generator.end()
            assert "Traceback" not in generator.log
            assert generator.count("calls", "valid = 0") - 4 in {0, 1}  # the cut one may hold an alpha

    def test_a_failed_call_is_reported_to_the_monitor_and_repeated(
        self, tmp_path: Path, ollama: StandinOllama
    ) -> None:
        path = "/api/generate"
        faults = [
            (Fault(FaultKind.BREAK, times=1), 0),
            (Fault(FaultKind.DIE, times=1), 200),
            (Fault(FaultKind.ERROR, times=1, status=503, path=path), 503),
            (Fault(FaultKind.REFUSE, times=1, path=path), 0),
        ]
        with generating(tmp_path, ollama.url) as generator:
            for number, (fault, status) in enumerate(faults, start=1):
                ollama.apply(fault)
                generator.until(
                    lambda number=number: len(failures(generator)) >= number,  # type: ignore[misc]
                    what=f"failure {number}",
                )
                assert failures(generator)[-1]["status"] == status
                generator.until(lambda: generator.signals()[-1]["error"] is None, what="an answer after it")

    def test_a_stall_is_cut_by_the_time_out(self, tmp_path: Path, ollama: StandinOllama) -> None:
        ollama.apply(Fault(FaultKind.STALL, times=1, path="/api/generate"))
        with generating(tmp_path, ollama.url, FLEET_OLLAMA_FIRST_TOKEN_TIMEOUT="1s") as generator:
            generator.until(lambda: generator.count("calls", "valid > 0") >= 1, what="a good reply")
            failed = failures(generator)
        assert "did not answer in time" in failed[0]["error"]
        assert failed[0]["ended"] - failed[0]["started"] >= 0.95

    def test_a_call_in_flight_does_not_hold_up_the_end(self, tmp_path: Path, ollama: StandinOllama) -> None:
        ollama.apply(Fault(FaultKind.STALL))
        with generating(tmp_path, ollama.url) as generator:
            generator.until(lambda: generator.heartbeat().get("request_since"), what="a call")
            code, seconds = generator.end()
        assert code == 0
        assert seconds < 2.0
        assert generator.signals() == []


@pytest.mark.slow
def test_a_pause_lets_a_running_call_end_unless_it_asks_for_the_cut(
    tmp_path: Path, ollama: StandinOllama
) -> None:
    """A call that is cut is neither a failure nor a signal for the monitor; its row says so."""
    home = Home(tmp_path)
    ollama.apply(Fault(FaultKind.HANG_LOAD))
    with generating(tmp_path, ollama.url) as generator:
        generator.until(lambda: generator.heartbeat().get("request_since"), what="a call that hangs")
        until = time.time() + 120
        pause(home, since=0.0, until=until, why="a probe")
        generator.until(lambda: generator.heartbeat()["paused"], what="the pause")
        assert generator.heartbeat()["request_since"] is not None
        pause(home, since=0.0, until=until, why="by hand", cut=True)
        generator.until(lambda: generator.heartbeat()["request_since"] is None, what="the call's end")
        row = "SELECT status, done_reason, error, valid, invalid FROM calls"
        generator.until(lambda: generator.query(row) == [(0, "cut", None, 0, 0)], what="its row")
        assert generator.signals() == []
        assert generator.heartbeat()["totals"]["failed"] == 0
        ollama.clear()
        resume(home)
        generator.until(generator.signals, what="an answer")
        assert failures(generator) == []
