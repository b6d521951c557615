"""What is a fault of a fleet, and what is not: one list for `status`, `status --check` and `doctor`."""

from typing import Any

import pytest

from cli.faults import faults

NOW = 10_000.0
RUNS = {"state": "RUNNING", "pid": 5, "description": "", "restarts": 0, "silent": ""}
WELL: dict[str, Any] = {
    "home": "/h",
    "profile": "docker",
    "log_source": "docker:ollama",
    "log_source_away": None,
    "programs": {"monitor": RUNS, "generator": RUNS},
    "switch": None,
    "hold": None,
    "pause": None,
    "reserve": None,
    "brain": None,
    "generator": None,
    "unanswered": None,
    "pull": None,
    "skipped": None,
    "notices": [],
    "state_damaged": "",
    "disk_free_bytes": 2**34,
    "unwritable": None,
    "away": {},
}
ROW = {
    "since": NOW - 90,
    "calls": 14,
    "reason": "unexpected EOF",
    "waited": False,
    "hangs": False,
    "reported": True,
}
STREAK = {
    "since": NOW - 300,
    "calls": 7,
    "kind": "empty",
    "reason": "the replies are empty",
    "mend": "Update Ollama.",
}
AWAY = {"since": NOW - 60, "reason": "no panel", "hint": "Bring one."}
SWITCH = {"kind": "downgrade", "phase": "restart"}


def beat(**values: Any) -> dict[str, Any]:
    return {"generator": {"model": "m:1b", "heartbeat": NOW - 5, "unusable": STREAK, **values}}


def program(name: str, **values: Any) -> dict[str, Any]:
    return {"programs": {**WELL["programs"], name: {**RUNS, **values}}}


def found(**values: Any) -> list[str]:
    return [f"{one.part}: {one.detail}" for one in faults({**WELL, **values}, NOW)]


@pytest.mark.parametrize(
    "values",
    [
        {},
        program("generator", state="STOPPED"),
        {**program("generator", state="STOPPED"), "unanswered": ROW},
        program("generator", state="STARTING"),
        program("monitor", state="STARTING"),
        {**program("generator", state="STOPPED"), "switch": SWITCH},
        {**program("generator", state="EXITED"), "switch": SWITCH},
        program("monitor", restarts=2),
        {"unanswered": {**ROW, "calls": 2, "reported": False}},
        {"brain": {"trouble": None}},
        {"skipped": {"count": 3, "last": NOW - 3601}},
        {"programs": None},
        {"disk_free_bytes": 16 * 2**20},
        {"disk_free_bytes": None},
        {"generator": {}},
        beat(unusable=None),
        beat(unusable=[3]),
        beat(unusable=None, evaluator_away=None),
        beat(unusable=None, evaluator_away=AWAY, heartbeat=NOW - 61),
        beat(heartbeat=NOW - 61),
        beat(heartbeat="x"),
        beat(heartbeat=None),
    ],
)
def test_what_a_person_chose_or_is_being_mended_is_no_fault(values: dict[str, Any]) -> None:
    assert found(**values) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (beat(), "replies: m:1b gives nothing usable for 5m, 7 calls in a row: the replies are empty"),
        (program("monitor", state="STOPPED"), "monitor: it is STOPPED"),
        (program("monitor", state="FATAL"), "monitor: it is FATAL"),
        (program("generator", state="BACKOFF"), "generator: it is BACKOFF"),
        (program("generator", state="EXITED"), "generator: it is EXITED"),
        ({**program("generator", state="FATAL"), "switch": SWITCH}, "generator: it is FATAL"),
        (program("web", state="UNKNOWN"), "web: it is UNKNOWN"),
        (program("monitor", restarts=3), "monitor: it ended by itself 3 times within 10m"),
        (
            program("monitor", restarts=9, state="BACKOFF"),
            "monitor: it ended by itself 9 times within 10m, and is BACKOFF",
        ),
        (
            program("generator", restarts=9, state="STARTING"),
            "generator: it ended by itself 9 times within 10m, and is STARTING",
        ),
        (
            program("monitor", silent="has written no heartbeat for 90 s"),
            "monitor: it has written no heartbeat for 90 s",
        ),
        (
            {"unanswered": ROW},
            "calls: no answer for 1m 30s, 14 calls failed in a row, the last one with: unexpected EOF",
        ),
        (
            {"unanswered": {**ROW, "calls": 1, "hangs": True, "reason": "a\nb\x1b"}},
            r"calls: Ollama hangs: no answer for 1m 30s, 1 call failed in a row, the last one with: a b\x1b",
        ),
        (
            {"log_source_away": {"since": NOW - 60, "reason": "no container", "hint": "start it"}},
            "log source: docker:ollama is away for 1m: no container",
        ),
        (
            {"log_source_away": {"reason": "no container"}},
            "log source: docker:ollama is away: no container",
        ),
        (
            {"skipped": {"count": 1, "last": NOW}},
            "skipped lines: 1 line could not be read; a failure may be missing from the count",
        ),
        (
            {"skipped": {"count": 3, "last": NOW - 3600}},
            "skipped lines: 3 lines could not be read; a failure may be missing from the count",
        ),
        (
            {"hold": {"until": NOW + 60, "step": 0, "why": "nothing fits"}},
            "generator: it is held for 1m more: nothing fits",
        ),
        ({"unwritable": "/h/run"}, "home: /h/run cannot be written"),
        ({"disk_free_bytes": 0}, "disk: 0 B free for /h"),
        ({"disk_free_bytes": 15 * 2**20}, "disk: 15 MB free for /h"),
        ({"state_damaged": "no state"}, "state: its last good copy is used: no state"),
        (
            {"notices": [{"place": "command", "reason": "exit status 3", "given_up": False}]},
            "notices: 1 notice is not delivered to command: exit status 3",
        ),
        ({"brain": {"trouble": "refused"}}, "brain: refused"),
        (
            {
                "programs": None,
                "away": {"supervisord": {"reason": "does not run", "hint": "start", "since": 1.0}},
            },
            "supervisord: does not run",
        ),
    ],
)
def test_what_keeps_a_fleet_from_mining_is_one_fault(values: dict[str, Any], expected: str) -> None:
    assert found(**values) == [expected]


@pytest.mark.parametrize("since", ["x", float("nan"), float("inf"), None, []])
def test_an_odd_heartbeat_of_replies_leaves_out_what_cannot_be_read(since: object) -> None:
    odd = {"since": since, "calls": "many", "reason": "a\x1b[2Jb"}
    [shown] = faults({**WELL, **beat(unusable=odd)}, NOW)
    assert shown.detail.startswith("m:1b gives nothing usable: a")
    assert "\x1b" not in shown.detail
    assert shown.hint == ""


def test_each_fault_names_its_mend_for_this_fleet() -> None:
    hung = {**ROW, "hangs": True}
    assert "`docker restart ollama`" in faults({**WELL, "unanswered": hung}, NOW)[0].hint
    standin = {**WELL, "unanswered": hung, "profile": "embedded", "log_source": "file:/h/log/ollama.log"}
    assert "restart standin" in faults(standin, NOW)[0].hint
    away = {**standin, "unanswered": ROW, "away": {"ollama": {"reason": "no answer", "hint": ""}}}
    assert "restart standin" in faults(away, NOW)[1].hint
    both = {**away["away"], "supervisord": {"reason": "does not run", "hint": "`make run` starts it"}}
    assert faults({**away, "away": both}, NOW)[2].hint == "`make run` starts it", (
        "supervisorctl reaches nothing"
    )
    (ended,) = faults({**WELL, **program("standin", state="EXITED")}, NOW)
    assert ended.hint.endswith("start standin` starts it; /h/log/ollama.log says why it ended.")
    assert "`docker logs --tail 100 ollama`" in faults({**WELL, "unanswered": ROW}, NOW)[0].hint
    (loop,) = faults({**WELL, **program("monitor", restarts=5)}, NOW)
    assert loop.hint == "/h/log/monitor.log and /h/log/supervisord.log say why."


def test_several_faults_are_all_named() -> None:
    many = found(unanswered=ROW, state_damaged="no state", **program("monitor", state="FATAL"))
    assert [one.partition(":")[0] for one in many] == ["state", "monitor", "calls"]


def test_dask_workers_that_are_away_are_a_fault() -> None:
    assert found(**beat(unusable=None, dask_workers=0, dask_away=AWAY)) == [
        "dask: the local engine evaluates instead of dask workers for 1m: no panel"
    ]
    assert found(**beat(unusable=None, dask_workers=2, dask_away=None)) == []


def test_an_evaluator_that_is_away_is_a_fault() -> None:
    assert found(**beat(unusable=None, evaluator_away=AWAY)) == [
        "evaluator: no alpha is evaluated for 1m: no panel"
    ]


@pytest.mark.parametrize(
    ("pulled", "mend"),
    [
        ("llama3.2:3b", "The fleet pulls the model (1.0 GB of 2.0 GB, 5 MB/s, 3m left)"),
        ("library/llama3.2:3b", "The fleet pulls the model"),
        ("qwen2.5:0.5b", "Pull the model with `ollama pull`"),
        (None, "Pull the model with `ollama pull`"),
    ],
)
def test_a_missing_model_that_the_fleet_pulls_is_left_to_it(pulled: str | None, mend: str) -> None:
    pull = pulled and {"model": pulled, "text": "1.0 GB of 2.0 GB, 5 MB/s, 3m left"}
    row = {"unanswered": {**ROW, "reason": "model 'llama3.2:3b' not found"}, "pull": pull}
    [fault] = faults({**WELL, **row, "current_model": {"name": "llama3.2:3b"}}, NOW)
    assert fault.hint.startswith(mend)
