import re

import pytest

from standin.dialects.base import Answered, Dialect, LoadFacts
from standin.dialects.new import NewDialect
from standin.dialects.old import OldDialect
from standin.forms.log_text import Line, Log, access, render, slog
from standin.models import memory
from standin.models.memory import LoadStep, Shortage
from standin.models.specs import SEED_MODELS

NOW = 1_795_472_692_254_000_000
DIALECTS = [NewDialect(), OldDialect()]
both = pytest.mark.parametrize("dialect", DIALECTS, ids=["new", "old"])


def load(num_gpu: int = -1, free: int = 8 * 1024**3) -> LoadFacts:
    spec = SEED_MODELS[0]
    need = memory.need(spec, num_ctx=4096, parallel=1, num_gpu=num_gpu)
    return LoadFacts(spec, need, 4096, 1, 40741, 8 * 1024**3, free)


def all_lines(dialect: Dialect, facts: LoadFacts) -> list[Line]:
    return [
        *dialect.server_starts("http://127.0.0.1:1", models=4, total=8 * 1024**3),
        *dialect.load_begins(facts),
        *dialect.load_works(facts),
        *dialect.load_ends(facts, 0.2),
        *(line for step in LoadStep for line in dialect.gpu_failure(facts, Shortage(step, 1000, 10)).lines),
        *dialect.host_failure(facts).lines,
        *dialect.load_failed(facts, "why"),
        *dialect.load_abandoned(facts),
        *dialect.evicting_to_fit(facts),
        *dialect.retrying(facts, 'llama "x" {y}\nz', 1),
        *dialect.not_recovered(facts, 5.0, 7),
        *dialect.runner_dies(facts),
        *dialect.runner_found_dead(facts),
        *dialect.out_of_memory(facts, 1000).lines,
        *dialect.answered(Answered(3, 4, 10**6, 10**6)),
    ]


@both
@pytest.mark.parametrize(("num_gpu", "free"), [(-1, 8 * 1024**3), (5, 8 * 1024**3), (0, 1024**2)])
def test_every_line_is_one_whole_line(dialect: Dialect, num_gpu: int, free: int) -> None:
    for line in all_lines(dialect, load(num_gpu, free)):
        text = render(line, NOW)
        assert "\n" not in text
        assert not re.search(r"\{[a-z_]+\}", text.replace("{y}", ""))
        if text.startswith("time="):
            assert re.match(r'time=\S+Z level=[A-Z]+ source=\w+\.go:\d+ msg=("|\S)', text)


@both
@pytest.mark.parametrize("step", list(LoadStep))
def test_a_failure_names_the_bytes_and_the_same_buffer_everywhere(dialect: Dialect, step: LoadStep) -> None:
    failure = dialect.gpu_failure(load(), Shortage(step, 123_456_789, 10))
    device = "Vulkan0" if isinstance(dialect, NewDialect) else "CUDA0"
    assert any(f"failed to allocate {device} buffer of size 123456789" in str(line) for line in failure.lines)
    assert failure.error.startswith("llama")
    assert "terminated: " in failure.error


@both
def test_only_the_old_one_complains_of_memory_that_does_not_come_back(dialect: Dialect) -> None:
    lines = [render(line, NOW) for line in dialect.not_recovered(load(), 5.0158618, 7)]
    if isinstance(dialect, NewDialect):
        assert lines == []
    else:
        assert "gpu VRAM usage didn't recover within timeout" in lines[0]
        assert "seconds=5.015861800" in lines[0]
        assert f"runner.model={load().blob}" in lines[0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain-1.0/x:y", "plain-1.0/x:y"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a"b\nc', r'"a\"b\nc"'),
        ("a=b", '"a=b"'),
        (False, "false"),
        (7, "7"),
    ],
)
def test_values_are_quoted_where_slog_does(value: object, shown: str) -> None:
    line = slog("INFO", "sched.go:1", "a message", a__b=value)
    assert render(line, NOW) == (
        f'time=2026-11-23T22:24:52.254Z level=INFO source=sched.go:1 msg="a message" a.b={shown}'
    )


def test_the_access_line_is_gins() -> None:
    line = access(
        NOW, status=500, latency_ns=406_037_554, client="127.0.0.1", method="POST", path="/api/generate"
    )
    assert line == (
        '[GIN] 2026/11/23 - 22:24:52 | 500 |  406.037554ms |       127.0.0.1 | POST     "/api/generate"'
    )


def test_the_log_writes_line_by_line() -> None:
    lines: list[str] = []
    Log(lines.append).say(["a", slog("INFO", "x.go:1", "b"), ""])
    assert [line.partition(" ")[2] or line for line in lines] == ["a", "level=INFO source=x.go:1 msg=b", ""]
