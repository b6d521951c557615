"""What the stand-in can be told to do wrong, seen through a real socket, and what its log says of it."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from fleet.runtime.units import parse_size
from standin.dialects.base import DIED
from standin.ollama import StandinOllama, standin
from standin.settings import Era, StandinSettings
from tests.processes.standin_client import Answer, Client, client_of, failing

BRISK = StandinSettings(pace=0, seed=1)
EXPRESSIONS = {
    "type": "object",
    "properties": {
        "expressions": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 2}
    },
    "required": ["expressions"],
}  # fmt: skip
FAULTS = "/standin/faults"


class Bench:
    """A stand-in with a client and its log."""

    def __init__(self, server: StandinOllama, client: Client, lines: list[str]) -> None:
        self.server = server
        self.client = client
        self.lines = lines

    def fault(self, kind: str, **keys: object) -> Answer:
        answer = self.client.ask("POST", FAULTS, {"kind": kind, **keys})
        assert answer.status == 200, answer.text
        return answer

    def said(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]

    def loaded(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.client.ask("GET", "/api/ps").body["models"]}


@contextmanager
def bench(settings: StandinSettings = BRISK, timeout: float = 20.0) -> Iterator[Bench]:
    lines: list[str] = []
    with standin(settings=settings, log=lines.append) as server, client_of(server, timeout) as client:
        yield Bench(server, client, lines)


def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def test_the_default_budget_fails_the_first_two_rungs_and_fits_the_last_two() -> None:
    with bench() as it:
        statuses = [
            it.client.generate(model).status
            for model in ("llama3.2:3b", "phi3:mini", "tinyllama:1.1b", "qwen2.5:0.5b")
        ]
        assert statuses == [500, 500, 200, 200]
        assert set(it.loaded()) == {"tinyllama:1.1b", "qwen2.5:0.5b"}


def test_a_load_that_fails_beside_other_models_is_tried_again_without_them() -> None:
    with bench() as it:
        it.client.generate("tinyllama:1.1b")
        del it.lines[:]
        assert it.client.generate("llama3.2:3b").status == 500
        assert len(it.said("Load failed")) == 2
        assert len(it.said("evicting all other models and retrying once")) == 1
        assert it.said("evicting all other loaded models for OOM retry")[0].endswith("count=1")
        assert not it.loaded()
        until(lambda: len(it.said("| 500 |")) == 1)


def test_a_second_try_that_works_is_a_success() -> None:
    with bench() as it:
        it.client.generate("tinyllama:1.1b")
        it.fault("fail_load", times=1)
        assert it.client.generate("qwen2.5:0.5b").status == 200
        assert len(it.said("Load failed")) == 1
        assert set(it.loaded()) == {"qwen2.5:0.5b"}


def test_host_memory_is_not_tried_again() -> None:
    with bench() as it:
        it.client.generate("tinyllama:1.1b")
        it.fault("fail_load", cause="host", times=1)
        answer = it.client.generate("qwen2.5:0.5b")
        assert answer.body["error"].endswith("mmap failed: Cannot allocate memory")
        assert set(it.loaded()) == {"tinyllama:1.1b"}


def test_the_cache_may_be_what_does_not_fit() -> None:
    with bench() as it:
        error = it.client.generate("qwen2.5:0.5b", options={"num_ctx": 32768, "num_gpu": 99})
        assert error.status == 200
        it.client.ask("POST", "/api/generate", {"model": "qwen2.5:0.5b", "keep_alive": 0})
        it.fault("vram", size="450 MB")
        error = it.client.generate("qwen2.5:0.5b", options={"num_ctx": 32768})
        assert "failed to allocate buffer for kv cache" in error.body["error"]
        assert it.client.generate("qwen2.5:0.5b", options={"num_ctx": 512}).status == 200


def test_on_the_cpu_nothing_fails() -> None:
    with bench() as it:
        assert it.client.generate("phi3:mini", options={"num_gpu": 0}).status == 200
        row = it.loaded()["phi3:mini"]
        assert row["size_vram"] == 0
        assert row["size"] > parse_size("2200 MB")
        assert it.said("offloaded 0/33 layers to GPU")


def test_fewer_layers_need_less() -> None:
    with bench() as it:
        assert it.client.generate("llama3.2:3b", options={"num_gpu": 10}).status == 200
        row = it.loaded()["llama3.2:3b"]
        assert 0 < row["size_vram"] < row["size"]


def test_a_small_card_spills_and_says_so_only_in_ps_and_in_the_layers() -> None:
    with bench(replace(BRISK, spill=True)) as it:
        assert it.client.generate("llama3.2:3b").status == 200
        row = it.loaded()["llama3.2:3b"]
        assert 0 < row["size_vram"] <= parse_size("1.2 GB") < row["size"]
        layers = it.said("offloaded ")[0].split()[2].split("/")
        assert 0 < int(layers[0]) < int(layers[1]) == 29
        assert not it.said("rror")


def test_on_a_small_card_forced_layers_fail() -> None:
    with bench(replace(BRISK, spill=True)) as it:
        assert it.client.generate("llama3.2:3b", options={"num_gpu": 29}).status == 500


def test_a_small_card_evicts_before_it_loads() -> None:
    with bench(replace(BRISK, spill=True)) as it:
        it.client.generate("tinyllama:1.1b")
        it.client.generate("llama3.2:3b")
        assert it.said("predicted to exceed available memory, evicting")
        assert set(it.loaded()) == {"llama3.2:3b"}


def test_other_options_reload_the_model_and_automatic_layers_do_not() -> None:
    with bench() as it:
        for options in ({"num_gpu": 5}, {"num_gpu": -1}, {}):
            it.client.generate(options=options)
        assert len(it.said("starting llama-server")) == 1
        it.client.generate(options={"num_ctx": 1024})
        assert len(it.said("starting llama-server")) == 2
        assert it.loaded()["qwen2.5:0.5b"]["context_length"] == 1024


def test_keep_alive_expires_stays_and_unloads() -> None:
    with bench() as it:
        it.client.generate(keep_alive=-1)
        assert it.loaded()["qwen2.5:0.5b"]["expires_at"] > "2200"
        it.client.generate(keep_alive="50ms")
        until(lambda: not it.loaded())
        it.client.generate(keep_alive=0)
        assert not it.loaded()


def test_old_ollama_speaks_its_own_words_and_complains_afterwards() -> None:
    with bench(replace(BRISK, era=Era.OLD, recovery=0.05)) as it:
        error = it.client.generate("llama3.2:3b").body["error"]
        assert error == (
            "llama runner process has terminated: error loading model: unable to allocate CUDA0 buffer"
        )
        assert it.said("cudaMalloc failed: out of memory")
        assert it.said('level=ERROR source=sched.go:489 msg="error loading llama server" error=')
        until(lambda: it.said("gpu VRAM usage didn't recover within timeout"))
        assert it.client.ask("GET", "/api/version").body["version"].startswith("0.9")
    complaints = len(it.said("didn't recover"))
    assert 1 <= complaints <= 3


def test_old_ollama_evicts_quietly_and_does_not_try_twice() -> None:
    with bench(replace(BRISK, era=Era.OLD)) as it:
        it.client.generate("tinyllama:1.1b")
        it.client.generate("qwen2.5:0.5b", options={"num_ctx": 32768})
        assert set(it.loaded()) == {"qwen2.5:0.5b"}
        assert not it.said("evicting")
        assert it.client.generate("llama3.2:3b").status == 500
        assert len(it.said("error loading llama server")) == 1


def test_a_runner_that_died_is_told_of_at_the_next_request() -> None:
    with bench() as it:
        it.fault("die", times=1, after=2)
        rows = it.client.generate(stream=True).rows
        assert rows[-1] == {"error": DIED}
        assert len(rows) == 3
        assert "qwen2.5:0.5b" in it.loaded()
        assert not it.said("no longer running")
        assert it.client.generate().status == 200
        assert it.said('msg="llama-server process no longer running" sys=9 string="signal: killed"')


def test_running_out_while_it_answers_clears_all_models() -> None:
    with bench() as it:
        it.client.generate("tinyllama:1.1b")
        it.fault("oom", times=1)
        answer = it.client.generate()
        assert answer.status == 500
        assert "failed to allocate Vulkan0 buffer" in answer.body["error"]
        assert it.said("runtime OOM detected; expiring loaded models")[0].startswith("time=")
        assert not it.loaded()


@pytest.mark.parametrize("what", ["text", "cut", "schema", "nested"])
def test_rubbish_is_a_reply_that_does_not_match(what: str) -> None:
    with bench() as it:
        it.fault("rubbish", what=what, times=1)
        text = it.client.generate(format=EXPRESSIONS).body["response"]
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        assert value is None or not isinstance(value["expressions"], list)
        good = json.loads(it.client.generate(format=EXPRESSIONS).body["response"])
        assert len(good["expressions"]) == 2


def test_rubbish_may_be_no_json_at_all() -> None:
    with bench() as it:
        it.fault("rubbish", what="html")
        assert it.client.generate().content_type == "text/html"


def test_a_refused_request_ends_without_an_answer() -> None:
    with bench() as it:
        it.fault("refuse", times=1, path="/api/tags")
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            it.client.ask("GET", "/api/tags")
        it.client.close()
        assert it.client.ask("GET", "/api/tags").status == 200


def test_away_refuses_connections_and_comes_back_on_the_same_port() -> None:
    with bench() as it:
        it.fault("away", seconds=1.5)
        it.client.close()
        host, port = it.server.url.removeprefix("http://").split(":")

        def listens() -> bool:
            try:
                socket.create_connection((host, int(port)), 1.0).close()
            except ConnectionRefusedError:
                return False
            return True

        assert not listens()
        until(listens)
        assert it.client.ask("GET", "/").text == "Ollama is running"


def test_an_error_is_answered_as_told() -> None:
    with bench() as it:
        it.fault("error", status=503, times=1, path="/api/generate")
        answer = it.client.generate()
        assert (answer.status, answer.body) == (
            503,
            {"error": "server busy, please try again.  maximum pending requests exceeded"},
        )


def test_a_break_cuts_the_stream() -> None:
    with bench() as it:
        it.fault("break", after=2, times=1)
        response = it.client.begin("POST", "/api/generate", {"model": "qwen2.5:0.5b", "prompt": "x"})
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            response.read()


@pytest.mark.parametrize(
    ("kind", "path"), [("stall", "/api/generate"), ("stall_stream", ""), ("hang_load", "")]
)
def test_what_stalls_leaves_the_rest_alone_and_goes_on_when_cleared(kind: str, path: str) -> None:
    with bench() as it, client_of(it.server) as other:
        it.fault(kind, path=path)
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(it.client.generate()), daemon=True)
        asking.start()
        assert other.ask("GET", "/api/tags").status == 200
        asking.join(0.2)
        assert not answers
        assert other.ask("DELETE", FAULTS).status == 200
        asking.join(10.0)
        assert answers[0].status == 200


def test_a_client_that_leaves_a_hanging_load_is_logged_as_gone() -> None:
    with bench(timeout=0.2) as it, client_of(it.server) as other:
        it.fault("hang_load", times=1)
        with pytest.raises(TimeoutError):
            it.client.generate()
        it.client.close()
        until(lambda: it.said("| 499 |"))
        assert it.said("client connection closed before llama-server finished loading, aborting load")
        assert other.generate().status == 200


def test_slow_answers_take_their_time() -> None:
    with bench() as it:
        it.client.generate()
        it.fault("slow", first=0.2, each=0.001)
        row = it.client.generate().body
        assert row["prompt_eval_duration"] >= 0.2 * 10**9
        assert row["eval_duration"] >= row["eval_count"] * 0.9e6


def test_requests_of_one_model_take_turns() -> None:
    with bench(replace(BRISK, parallel=1)) as it, client_of(it.server) as other:
        it.client.generate()
        it.fault("stall_stream", times=1)
        first = threading.Thread(target=it.client.generate, daemon=True)
        first.start()
        until(lambda: not other.ask("GET", FAULTS).body["faults"])
        second: list[Answer] = []
        waiting = threading.Thread(target=lambda: second.append(other.generate()), daemon=True)
        waiting.start()
        waiting.join(0.2)
        assert not second
        it.server.clear()
        waiting.join(10.0)
        first.join(10.0)
        assert second[0].status == 200


def test_models_come_and_go_at_run_time() -> None:
    with bench(replace(BRISK, missing=frozenset({"phi3:mini"}))) as it:
        assert it.client.generate("phi3:mini").body == {"error": "model 'phi3:mini' not found"}
        assert it.client.ask("POST", "/api/pull", {"model": "phi3:mini"}).rows[-1] == {"status": "success"}
        assert it.client.ask("POST", "/api/show", {"model": "phi3:mini"}).status == 200
        it.fault("add_model", model="own:7b", size="4 GB")
        it.fault("remove_model", model="llama3.2:3b")
        assert it.client.ask("DELETE", "/api/delete", {"model": "tinyllama:1.1b"}).status == 200
        names = {row["name"] for row in it.client.ask("GET", "/api/tags").body["models"]}
        assert names == {"phi3:mini", "own:7b", "qwen2.5:0.5b"}


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("pull_disk_full", "no space left on device"),
        ("pull_refused", "connection refused"),
        ("pull_no_network", "no such host"),
    ],
)
def test_a_pull_fails_in_mid_stream_with_status_200(kind: str, end: str) -> None:
    with bench(replace(BRISK, missing=frozenset({"phi3:mini"}))) as it:
        it.fault(kind, times=1)
        answer = it.client.ask("POST", "/api/pull", {"model": "phi3:mini"})
        assert answer.status == 200
        assert answer.rows[-1]["error"].endswith(end)
        assert it.client.ask("POST", "/api/pull", {"model": "phi3:mini", "stream": False}).status == 200


def test_a_pull_that_stalls_repeats_its_line() -> None:
    with bench(replace(BRISK, missing=frozenset({"phi3:mini"}))) as it, client_of(it.server) as other:
        it.fault("pull_stall", share=0.5)
        response = it.client.begin("POST", "/api/pull", {"model": "phi3:mini"})
        rows: list[dict[str, Any]] = []
        while len(rows) < 3 or len({json.dumps(row) for row in rows[-3:]}) > 1:
            rows.append(json.loads(response.readline()))
        assert 0.4 < rows[-1]["completed"] / rows[-1]["total"] < 0.7
        other.ask("POST", FAULTS, {"clear": True})
        last = [json.loads(line) for line in response.read().splitlines()][-1]
        assert last == {"status": "success"}


def test_a_pull_that_breaks_can_be_resumed() -> None:
    with bench(replace(BRISK, missing=frozenset({"phi3:mini"}))) as it:
        it.fault("pull_breaks", times=1, share=0.6)
        response = it.client.begin("POST", "/api/pull", {"model": "phi3:mini"})
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            response.read()
        it.client.close()
        rows = it.client.ask("POST", "/api/pull", {"model": "phi3:mini"}).rows
        assert rows[1]["completed"] > 0.5 * rows[1]["total"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"kind": ', "Expecting value"),
        ({"kind": "nosuch"}, "'nosuch' is not known"),
        ({"kind": "die", "aftr": 2}, "there is no key 'aftr'"),
        ([{"kind": "die"}, {"kind": "vram"}], "the key size is missing"),
        ({"kind": "add_model", "model": "nosuch:1b"}, "give its size"),
    ],
)
def test_a_bad_fault_is_refused_whole(body: object, words: str) -> None:
    with bench() as it:
        answer = it.client.ask("POST", FAULTS, body)
        assert answer.status == 400
        assert words in answer.body["error"]
        assert it.client.ask("GET", FAULTS).body["faults"] == []


def test_the_control_path_does_not_show_in_the_log() -> None:
    with bench() as it:
        it.client.ask("GET", FAULTS)
        assert not it.said("[GIN] ")


def test_http_1_0_and_chunked_bodies_are_understood() -> None:
    with bench() as it:
        host, port = it.server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 5.0) as raw:
            raw.sendall(
                b"POST /api/show HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
                b'b\r\n{"model": "\r\ne\r\nqwen2.5:0.5b"}\r\n0\r\n\r\n'
            )  # fmt: skip
            content = b"".join(iter(lambda: raw.recv(65536), b""))
    assert content.startswith(b"HTTP/1.1 200 ")
    assert b'"general.architecture":"qwen2"' in content


def failing_and_closed(client: Client) -> None:
    """Close what was opened, too: the server may stop while the client does not yet know its connection."""
    failing(client.generate)
    client.close()


def test_stopping_leaves_no_thread_and_no_port() -> None:
    before = threading.active_count()
    with bench() as it:
        it.fault("stall")
        threading.Thread(target=failing_and_closed, args=(it.client,), daemon=True).start()
        until(lambda: threading.active_count() >= before + 3)
        url = it.server.url
    until(lambda: threading.active_count() == before)
    with client_of(url, 1.0) as client, pytest.raises(ConnectionRefusedError):
        client.ask("GET", "/")
