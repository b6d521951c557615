import json
import threading
from pathlib import Path

from generator.domain import CallRecord
from generator.reporting.jsonl import CallLog, JsonLinesFile


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def test_old_files_move_up_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    file = JsonLinesFile(path, most=1, backups=2)
    for number in range(5):
        file.append({"n": number})
    assert numbers(tmp_path / "x.log.1") == [4]
    assert numbers(tmp_path / "x.log.2") == [3]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.log.1", "x.log.2"]


def test_many_threads_mix_no_rows_and_lose_none(tmp_path: Path) -> None:
    file = JsonLinesFile(tmp_path / "x.log", most=2000, backups=1000)

    def work(first: int) -> None:
        for number in range(first, first + 200):
            file.append({"n": number, "text": "é" * 50})

    threads = [threading.Thread(target=work, args=(200 * place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [number for each in tmp_path.iterdir() for number in numbers(each)]
    assert sorted(found) == list(range(800))


def test_a_call_is_kept_with_prompt_and_reply(tmp_path: Path) -> None:
    call = CallRecord(
        "c1", 10.0, 12.5, "m:1b", 2, 5, "Write\nalphas", 200,
        reply='{"expressions":[]}', done_reason="stop", prompt_tokens=7, reply_tokens=3, seed=11,
    )  # fmt: skip
    CallLog(tmp_path / "calls.log").append(call)
    [row] = [json.loads(line) for line in (tmp_path / "calls.log").read_text().splitlines()]
    assert row == {
        "id": "c1", "started": 10.0, "seconds": 2.5, "model": "m:1b", "rung": 2, "switches": 5,
        "prompt": "Write\nalphas", "status": 200, "reply": '{"expressions":[]}', "error": None,
        "done_reason": "stop", "prompt_tokens": 7, "reply_tokens": 3, "seed": 11, "source": "model",
        "thinking": "", "load_seconds": None, "first_token_seconds": None, "rate": None, "version": "",
    }  # fmt: skip
