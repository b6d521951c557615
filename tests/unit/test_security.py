"""What strangers may put into a log, a reply, a name, a configuration or an answer: the claims of docs/security.md.

What a container's neighbours may do is tried on a real Engine, in tests/docker.
"""

import ast
import configparser
import json
import re
import stat
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
from click import unstyle

from cli.render import status_lines
from cli.status import collect_status
from cli.target import find_fleet
from fleet.config.keep_rule import parse_keep
from fleet.config.load import SECTIONS, load_settings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import ROOT, FleetFile, Home
from fleet.runtime.logging import plain_text, show_fields
from generator.brain.credentials import Credentials
from generator.brain.errors import BrainError
from generator.brain.http import BrainHttp
from generator.brain.responses import BrainAnswer, messages, retry_after
from generator.catalogue import load_catalogue
from generator.language.ast import MAX_DEPTH
from generator.language.errors import ExpressionError
from generator.launcher import assignment
from generator.llm.reply import MAX_EXPRESSIONS, decode_reply
from monitor.detection.detector import Detector
from monitor.sources.lines import MAX_LINE, LineBuffer
from state.codec import StateFormatError, decode_state

PACKAGES = ("fleet", "state", "monitor", "generator", "standin", "cli")
ESCAPE = "\x1b]0;owned\x07\x1b[31m\r\nforged line"


def sources() -> list[Path]:
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))] + [
        ROOT / "fleet_cli.py"
    ]


# A log line


def test_a_log_line_cannot_steer_a_terminal_or_forge_a_second_line() -> None:
    for text in (plain_text(ESCAPE), show_fields({"reason": ESCAPE, "model": ESCAPE})):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)


def test_an_endless_line_is_bounded_in_memory() -> None:
    buffer = LineBuffer()
    for _ in range(64):
        assert buffer.feed(b"x" * 65536) is None
    region = buffer.feed(b"\nnext\n")
    assert region is not None
    assert len(region.data) <= MAX_LINE + len(b"\nnext\n")
    assert region.count == 2


@pytest.mark.parametrize(
    "line",
    [
        "a" * 200_000,
        "level=WARN " + 'msg="' * 20_000,
        "time=" * 40_000,
        '{"msg":' * 20_000,
        "[GIN] " + "|" * 100_000,
        "cudaMalloc failed: out of memory " * 5_000,
        "ggml_" + "_" * 100_000 + "alloc",
        "\\x" * 50_000,
        'error="' + "\\" * 100_000,
    ],
)
def test_no_line_takes_the_detector_more_than_it_is_long(line: str) -> None:
    """A pattern that tries again from everywhere would take minutes for these; the suite's time limit would tell."""
    detector = Detector()
    detector.read(line)
    list(detector.candidates(line.encode() + b"\n"))


def test_words_in_a_request_line_are_no_failure() -> None:
    """A client chooses its path, and Ollama prints it."""
    line = '[GIN] 2026/11/23 - 22:24:52 | 404 | 1.2ms | 10.0.0.9 | GET "/CUDA%20out%20of%20memory CUDA out of memory"'
    assert Detector().detect(line) is None


# A model's reply


@pytest.mark.parametrize(
    "reply",
    [
        "__import__('os').system('touch owned')",
        '{"expressions": ["__import__(\\"os\\").system(\\"touch owned\\")"]}',
        '{"expressions": [["system", "touch owned"]]}',
        "$(touch owned); `touch owned`",
        '{"expressions": ["../../etc/passwd"]}',
        '{"expressions": [["rank", "__class__"]]}',
        "rank(close); import os",
    ],
)
def test_a_reply_is_never_run(reply: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = decode_reply(reply, load_catalogue())
    assert all(isinstance(one, ExpressionError) for one in found) or reply.startswith("rank(close)")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "reply",
    [
        "[" * 500_000,
        '{"expressions": [' + '["rank",' * 100_000,
        "rank(" * 100_000,
        '{"expressions": [' + '"close",' * 100_000 + '"close"]}',
        "(" * (MAX_DEPTH * 1000) + "close",
        "1" * 1_000_000,
        "\x00" * 100_000,
        '{"expressions": ["\\ud800"]}',
    ],
)
def test_a_reply_of_any_size_or_depth_is_survived(reply: str) -> None:
    assert len(decode_reply(reply, load_catalogue())) <= MAX_EXPRESSIONS


def test_nothing_of_ours_runs_text_or_a_shell() -> None:
    """No eval, exec, compile, os.system, shell=True or pickle stands anywhere in what is shipped."""
    names = {"eval", "exec", "__import__"}
    attributes = {
        ("os", "system"),
        ("os", "popen"),
        ("pickle", "loads"),
        ("pickle", "load"),
        ("marshal", "loads"),
    }
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            where = f"{path}:{node.lineno}"
            if isinstance(called, ast.Name):
                assert called.id not in names or path.name in ALLOWED, where
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                assert (called.value.id, called.attr) not in attributes, where
            assert not any(word.arg == "shell" for word in node.keywords), where


ALLOWED: frozenset[str] = frozenset()


# A model's name


@pytest.mark.parametrize(
    "model", ["x\nFLEET_HOME=/tmp", "x\x00y", "\x1b[31m", "", "m" * 10_000, 7, ["x"], None]
)
def test_a_name_that_is_none_never_reaches_the_environment(model: object, tmp_path: Path) -> None:
    state = {"current_model": model, "current_model_index": 0, "switches": 1}
    (tmp_path / "model_fleet_state.json").write_text(json.dumps(state))
    chosen = assignment({"FLEET_HOME": str(tmp_path)})
    assert chosen["FLEET_MODEL"] == "llama3.2:3b"


@pytest.mark.parametrize("model", ["$(touch x)", "a; touch x", "../../etc/passwd", "%(ENV_HOME)s", "a b"])
def test_a_strange_name_is_passed_on_as_it_is(model: str, tmp_path: Path) -> None:
    """It is a value in an environment and in JSON, and in no shell, path or configuration of supervisord."""
    state = {"current_model": model, "current_model_index": 0, "current_options": {}, "switches": 1}
    (tmp_path / "model_fleet_state.json").write_text(json.dumps(state))
    assert assignment({"FLEET_HOME": str(tmp_path)})["FLEET_MODEL"] == model
    conf = (ROOT / "supervisord.conf").read_text()
    assert "FLEET_MODEL" not in conf


def test_a_name_cannot_steer_the_terminal_of_who_asks_for_the_status(tmp_path: Path) -> None:
    home, now = Home(tmp_path / "home"), time.time()
    home.create()
    url = "http://127.0.0.1:9"
    FleetFile("native", url, f"file:{ESCAPE}", "", str(home.socket), now).write(home)
    past = {"kind": "downgrade", "from": ESCAPE, "to": ESCAPE, "time": now, "why": ESCAPE}
    away = {"since": now, "reason": ESCAPE, "hint": ESCAPE}
    state = {
        "current_model_index": 1,
        "current_model": ESCAPE,
        "timestamp": now,
        "hold": {"until": now + 600, "step": 1, "why": ESCAPE},
        "last_switch": past,
        "watch": {"source_away": away},
    }
    home.state.write_text(json.dumps(state))
    home.generator_file.write_text(
        json.dumps({"heartbeat": now, "model": ESCAPE, "alphas": [{"expression": ESCAPE}]})
    )
    row = collect_status(find_fleet(None, {"FLEET_HOME": str(home.path), "FLEET_OLLAMA_URL": url}))
    text = unstyle("\n".join(status_lines(row, now)))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "\nforged" not in text
    assert "owned" in text


# A configuration


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("FLEET_OLLAMA_LOG", "docker:../../info"),
        ("FLEET_OLLAMA_LOG", "docker:a/json?x="),
        ("FLEET_OLLAMA_LOG", "docker:-v"),
        ("FLEET_OLLAMA_LOG", "journal:--output=x"),
        ("FLEET_OLLAMA_URL", "file:///etc/passwd"),
        ("FLEET_OLLAMA_URL", "http://user:secret@host"),
        ("FLEET_OLLAMA_URL", "ftp://\x1b]0;owned\x07"),
    ],
)
def test_an_address_or_a_name_of_another_kind_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {key: value})
    assert "secret" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "rule",
    [
        "__import__('os').system('touch x')",
        "fitness > (lambda: 1)()",
        "fitness.__class__ > 0",
        "(" * 10_000,
        "1 > 0; x",
    ],
)
def test_the_rule_of_what_is_kept_is_no_program(rule: str) -> None:
    with pytest.raises(ValueError, match=r"comparison|metric|expected|longer|nested|end"):
        parse_keep(rule)


def test_a_problem_shows_no_credential() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"FLEET_GENERATOR_DATABASE": "postgresql://me:hidden-word@host/db?x=\x00"})
    assert "hidden-word" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50_000, "NaN", '{"current_model_index": 1e999}', "\x00"]
)
def test_a_state_of_any_kind_is_told_from_a_state(text: str) -> None:
    with pytest.raises(StateFormatError):
        decode_state(text)


# BRAIN's answers


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/simulations/1",
        "//evil.example/simulations/1",
        "https://api.example.org@evil.example/",
        "https://api.example.org.evil.example/",
    ],
)
def test_nothing_is_sent_to_another_server_that_an_answer_names(location: str) -> None:
    """It is refused, or its path alone is taken, over the scheme and the port that are ours."""
    try:
        address = BrainHttp("https://api.example.org").absolute(location)
    except BrainError:
        return
    assert address.startswith("https://api.example.org/")


@pytest.mark.parametrize("location", ["http://api.example.org/x", "https://api.example.org:444/x", "/x"])
def test_an_answer_cannot_choose_how_brain_is_spoken_to(location: str) -> None:
    assert BrainHttp("https://api.example.org").absolute(location) == "https://api.example.org/x"


def test_an_answer_cannot_make_us_wait_for_ever_or_say_more_than_a_line() -> None:
    for text in ("1e300", "99999999999", "Fri, 31 Dec 9999 23:59:59 GMT"):
        wait = retry_after(BrainAnswer(429, {"retry-after": text}), time.time())
        assert wait is None or wait <= 3600
    told = messages({"detail": "x\n" * 100_000 + ESCAPE})
    assert all("\n" not in text and len(text) <= 500 for text in told.values())


def test_an_account_does_not_show_in_what_is_printed() -> None:
    account = Credentials("me@example.org", "hidden-word", "1")
    assert "hidden-word" not in f"{account!r} {account} {replace(account, version='2')!r}"


# A neighbour


def test_the_socket_that_commands_the_fleet_is_its_users_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    assert stat.S_IMODE(home.run.stat().st_mode) == 0o700
    assert "inet_http_server" not in (ROOT / "supervisord.conf").read_text()
    assert "chmod=0700" in (ROOT / "supervisord.conf").read_text()


def test_settings_are_read_whole_or_not_at_all() -> None:
    """Every problem is reported; nothing starts on half of a configuration."""
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"FLEET_POLICY_THRESHOLD": "0", "FLEET_POLICY_WINDOW": "soon"})
    assert "FLEET_POLICY_THRESHOLD" in str(caught.value)
    assert "FLEET_POLICY_WINDOW" in str(caught.value)


def test_each_claim_names_tests_that_are_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(tests/[\w/.]+)`", page))
    assert len(named) >= 5
    for name in named:
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`(test_\w+(?:\.py)?)`", page):
        assert list((ROOT / "tests").rglob(f"{name.removesuffix('.py')}.py")), name


OF_BRAIN = {"FLEET_BRAIN_EMAIL", "FLEET_BRAIN_PASSWORD"}
OF_NOTICES = {"FLEET_NOTIFY_URLS", "FLEET_NOTIFY_COMMAND", "FLEET_NOTIFY_PING_URL"}
OF_DATABASE = {"FLEET_GENERATOR_DATABASE"}


@pytest.mark.parametrize(
    ("file", "program", "uses"),
    [
        ("supervisord.conf", "program:monitor", set()),
        ("supervisord.conf", "program:generator", OF_BRAIN | OF_DATABASE),
        ("standin/program.conf", "program:standin", set()),
        ("notifier/program.conf", "eventlistener:notifier", OF_NOTICES | OF_DATABASE),
        ("web/program.conf", "program:web", OF_DATABASE),
    ],
)
def test_a_program_gets_no_secret_that_it_does_not_use(file: str, program: str, uses: set[str]) -> None:
    secrets = OF_BRAIN | {
        f"FLEET_{name}_{part.name}".upper()
        for name, section in SECTIONS.items()
        for part in fields(section)
        if part.metadata["secret"]
    }
    conf = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    conf.read(ROOT / file)
    emptied = set(re.findall(r'(\w+)=""', conf[program]["environment"]))
    assert emptied == secrets - uses
