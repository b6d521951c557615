"""The stand-in is held to what was recorded from a real Ollama, case by case and line by line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.runtime.units import parse_size
from standin.faults import Fault, FaultKind
from standin.models.specs import SEED_MODELS
from standin.ollama import standin
from standin.settings import StandinSettings
from tests.processes.standin_client import Answer, Client, client_of

DATA = Path(__file__).parents[2] / "data" / "ollama"
CASES = [json.loads(line) for line in (DATA / "exchanges.jsonl").read_text().splitlines()]
ROOMY = StandinSettings(vram=parse_size("6 GB"), pace=0, seed=7)
PHI = {"model": "registry.example/fleet/phi3:mini", "insecure": True}
LLAMA = {"model": "registry.example/fleet/llama3.2:3b", "insecure": True}

SETTINGS = {
    "gpu_generate_spills": StandinSettings(vram=parse_size("1 GB"), spill=True, pace=0),
    "gpu_ps_spills": StandinSettings(vram=parse_size("1 GB"), spill=True, pace=0),
    "gpu_out_of_memory_loading": StandinSettings(pace=0),
    "pull_cut_by_client": StandinSettings(pace=0.2),
    "pull_resumed": StandinSettings(pace=0.2),
}
FAULTS = {
    "host_out_of_memory_loading": Fault(FaultKind.FAIL_LOAD, cause="host"),
    "runner_died_stream": Fault(FaultKind.DIE),
    "runner_died_once": Fault(FaultKind.DIE),
    "ps_after_runner_died": Fault(FaultKind.DIE),
    "generate_after_runner_died": Fault(FaultKind.DIE, times=1),
    "pull_no_network_stream": Fault(FaultKind.PULL_NO_NETWORK),
    "pull_no_network_once": Fault(FaultKind.PULL_NO_NETWORK),
    "pull_registry_gone": Fault(FaultKind.PULL_REFUSED),
    "pull_registry_dies": Fault(FaultKind.PULL_DIES, seconds=0.4),
}
# Recorded with long texts left out: the same kind of request in full.
PROMPTS = {"generate_prompt_too_long": "x" * 5000, "generate_exceeds_context": "word " * 3400}


def _loaded(model: str) -> Callable[[Client], object]:
    return lambda client: client.generate(model)


def _left_early(client: Client) -> None:
    response = client.begin("POST", "/api/pull", PHI)
    for _ in range(4):
        response.readline()
    client.close()


BEFORE: dict[str, Callable[[Client], object]] = {
    "ps_loaded": _loaded("qwen2.5:0.5b"),
    "unload": _loaded("qwen2.5:0.5b"),
    "gpu_ps_fits": _loaded("llama3.2:3b"),
    "gpu_ps_spills": _loaded("phi3:mini"),
    "pull_again_stream": lambda client: client.ask("POST", "/api/pull", LLAMA),
    "pull_resumed": _left_early,
    "ps_after_runner_died": _loaded("llama3.2:3b"),
    "generate_after_runner_died": _loaded("llama3.2:3b"),
}


def plain(text: str) -> str:
    """Return text with what differs from machine to machine taken out: digests and longer numbers."""
    text = re.sub(r"/[0-9a-f]{2}/(?=[0-9a-f]{64})", "/DIGEST/", text)
    return re.sub(r"\d{3,}", "N", re.sub(r"\b[0-9a-f]{12,64}\b", "DIGEST", text))


def shape(value: Any, key: str = "") -> Any:
    """Return what the contract holds: keys, types, and the words that programs go by."""
    if isinstance(value, dict):
        family = value.get("general.architecture")
        return {
            name.replace(f"{family}.", "FAMILY."): shape(each, name) for name, each in sorted(value.items())
        }
    if isinstance(value, list):
        return shape(value[0]) if value else "empty"
    if key in {"status", "error", "done_reason", "done", "role", "capabilities", "format"}:
        return plain(value) if isinstance(value, str) else value
    return type(value).__name__


def collapsed(rows: list[Any]) -> list[Any]:
    """Return the shapes of a stream's rows in order, of equal ones in a row only the first."""
    shapes: list[Any] = []
    for row in rows:
        each = shape(row)
        if "..." not in row and (not shapes or shapes[-1] != each):
            shapes.append(each)
    return shapes


def held(body: Any) -> Any:
    if isinstance(body, str):
        return body
    return collapsed(body) if isinstance(body, list) else shape(body)


def replay(case: dict[str, Any], client: Client) -> Answer:
    request = case["request"]
    body = request["body"]
    if case["case"] in PROMPTS:
        body = {**body, "prompt": PROMPTS[case["case"]]}
    if case["case"] == "pull_cut_by_client":
        response = client.begin(request["method"], request["path"], body)
        lines = b"".join(response.readline() for _ in range(6))
        return Answer(response.status, response.headers["Content-Type"], lines.decode())
    return client.ask(request["method"], request["path"], body)


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_answers_as_recorded(case: dict[str, Any]) -> None:
    name = case["case"]
    models = () if name == "tags_empty" else SEED_MODELS
    with standin(models, SETTINGS.get(name, ROOMY)) as server, client_of(server) as client:
        if name in FAULTS:
            server.apply(FAULTS[name])
        if name in BEFORE:
            BEFORE[name](client)
        answer = replay(case, client)
    assert answer.status == case["status"]
    assert answer.content_type == case["content_type"]
    if case["request"]["method"] == "HEAD":
        assert not answer.text
    else:
        assert held(answer.body) == held(case["body"])


def test_every_special_case_is_one_that_was_recorded() -> None:
    recorded = {case["case"] for case in CASES}
    assert {*SETTINGS, *FAULTS, *PROMPTS, *BEFORE} <= recorded


def test_a_pull_goes_on_where_the_client_left_it() -> None:
    with standin(settings=StandinSettings(pace=0.2)) as server, client_of(server) as client:
        response = client.begin("POST", "/api/pull", PHI)
        rows = [json.loads(response.readline()) for _ in range(5)]
        client.close()
        again = client.ask("POST", "/api/pull", PHI).rows
    assert again[1]["completed"] > rows[-1]["completed"] - 1
    assert again[-1] == {"status": "success"}


def signature(line: str) -> str:
    """Return a log line without what differs between two runs of the same thing."""
    if line.startswith("time="):
        head, _, fields = line.partition(" msg=")
        message = re.match(r'"[^"]*"|\S+', fields)
        keys = re.findall(r"(?<= )([A-Za-z_.]+)=", re.sub(r'"(\\.|[^"\\])*"', '""', fields))
        text = f"{head.partition(' ')[2]} {message and message[0]} {keys}"
    else:
        text = line
    text = re.sub(r"[0-9a-f]{64}", "DIGEST", text)
    text = re.sub(r"registry\.[a-z.]+/library/\S+", "MODEL", text)
    text = text.replace("+standin", "")
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?(ms|µs|s)?\b", "#", text)).strip()


def recorded_log(name: str) -> list[str]:
    return [signature(line) for line in (DATA / name).read_text().splitlines()]


def out_of_order(part: list[str], whole: list[str]) -> list[str]:
    """Return the lines of a part that the whole does not have in this order."""
    place, missing = 0, []
    for line in part:
        if line in whole[place:]:
            place = whole.index(line, place) + 1
        else:
            missing.append(line)
    return missing


def test_a_healthy_load_says_only_what_a_real_one_said_in_its_order() -> None:
    lines: list[str] = []
    with standin(settings=ROOMY, log=lines.append) as server, client_of(server) as client:
        assert client.generate("llama3.2:3b").status == 200
    ours = [signature(line) for line in lines if not line.startswith("stand-in:")]
    assert out_of_order(ours, recorded_log("log-healthy.txt")) == []
    assert len(ours) > 50


def test_a_failed_load_says_only_what_a_real_one_said_in_its_order() -> None:
    lines: list[str] = []
    with standin(settings=StandinSettings(pace=0), log=lines.append) as server, client_of(server) as client:
        del lines[:]
        assert client.generate("llama3.2:3b").status == 500
    ours = [signature(line) for line in lines]
    recorded = recorded_log("log-out-of-memory.txt")
    assert out_of_order(ours, recorded) == []
    failing = recorded.index("ggml_vulkan: Device memory allocation of size # failed.")
    assert ours[-len(recorded[failing:]) :] == recorded[failing:]
