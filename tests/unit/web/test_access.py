"""Who may use the page: Host, Origin and token, for HTTP and websockets alike."""

import asyncio
import base64
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from fleet.config.load import Problem, read_settings
from fleet.config.schema import WebSettings
from fleet.runtime.errors import ConfigError
from fleet.runtime.home import Home
from fleet.startup.web_address import make_token, read_token, require_safe_address, split_address
from web.access import AccessRules, Guard, host_name

TOKEN = "t" * 24
LOCAL = AccessRules("127.0.0.1", 9800, "box", TOKEN)
PUBLIC = AccessRules("0.0.0.0", 9800, "box", TOKEN)
BEARER = {"authorization": [f"Bearer {TOKEN}"]}
BASIC = {"authorization": ["Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode()]}


def status(rules: AccessRules, host: str | None, origin: str | None = None, **headers: list[str]) -> int:
    given = dict(headers)
    if host is not None:
        given["host"] = [host]
    if origin is not None:
        given["origin"] = [origin]
    refused = rules.refusal(given)
    return 200 if refused is None else refused.status


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:9800", 200), ("localhost:9800", 200), ("LOCALHOST", 200), ("[::1]:9800", 200), ("127.0.0.9", 200),
        ("evil.example:9800", 403), ("127.0.0.1.nip.io", 403), ("192.168.1.5:9800", 403), ("box", 403), ("", 403),
        ("localhost.evil.example", 403), (None, 403), ("127.0.0.1@evil", 403),
    ],
)  # fmt: skip
def test_on_loopback_only_its_names_are_served(host: str | None, expected: int) -> None:
    assert status(LOCAL, host) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("192.168.1.5:9800", 200), ("box:9800", 200), ("BOX", 200), ("localhost", 200), ("evil.example", 403)],
)
def test_elsewhere_addresses_and_the_machines_name_are_served(host: str, expected: int) -> None:
    assert status(PUBLIC, host, **BEARER) == expected
    assert status(PUBLIC, host, **BASIC) == expected


@pytest.mark.parametrize(
    "header", [None, "Bearer x", f"Bearer {TOKEN}x", "Basic !!", "Basic eDp5", f"Token {TOKEN}", ""]
)
def test_elsewhere_nothing_is_served_without_the_token(header: str | None) -> None:
    headers = {} if header is None else {"authorization": [header]}
    assert status(PUBLIC, "192.168.1.5", **headers) == 401
    assert status(LOCAL, "127.0.0.1", **headers) == 200


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:9800", 200), ("https://127.0.0.1:9800", 200), ("http://127.0.0.1:9801", 403),
        ("http://localhost:9800", 403), ("http://evil.example", 403), ("null", 403), ("", 403),
    ],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(origin: str, expected: int) -> None:
    assert status(LOCAL, "127.0.0.1:9800", origin) == expected


def test_two_hosts_are_none() -> None:
    assert LOCAL.refusal({"host": ["127.0.0.1", "127.0.0.1"]}) is not None


def test_no_token_is_never_held() -> None:
    rules = AccessRules("127.0.0.1", 1, "box", "")
    assert not rules.is_token("")
    assert not rules.holds_token({"authorization": ["Bearer "]})


@pytest.mark.parametrize(
    ("header", "name"),
    [("a:1", "a"), ("[::1]:5", "::1"), ("::1", "::1"), ("A.B", "a.b"), (" x ", "x"), ("[::1", "::1")],
)
def test_the_name_of_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def through_guard(
    kind: str, headers: list[tuple[bytes, bytes]]
) -> tuple[list[MutableMapping[str, Any]], bool]:
    sent: list[MutableMapping[str, Any]] = []
    asked: list[bool] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        asked.append(True)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Guard(inner, LOCAL)({"type": kind, "headers": headers}, receive, send))
    return sent, bool(asked)


EVIL = [(b"Host", b"127.0.0.1:9800"), (b"Origin", b"http://evil.example")]


def test_another_origins_websocket_is_closed_before_it_opens() -> None:
    sent, asked = through_guard("websocket", EVIL)
    assert not asked
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_another_origins_request_never_reaches_the_application() -> None:
    sent, asked = through_guard("http", EVIL)
    assert not asked
    assert sent[0]["status"] == 403


def test_an_answer_shuts_out_frames_and_other_hosts_assets() -> None:
    sent, asked = through_guard("http", [(b"host", b"localhost")])
    assert asked
    headers = dict(sent[0]["headers"])
    assert headers[b"x-frame-options"] == b"DENY"
    assert b"default-src 'self'" in headers[b"content-security-policy"]


def test_a_new_token_is_secret_and_stays(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    token = make_token(home)
    assert len(token) >= 32
    assert home.web_token.stat().st_mode & 0o777 == 0o600
    assert make_token(home) == read_token(home) == token


@pytest.mark.parametrize(("content", "mode"), [("short", 0o600), ("t" * 32, 0o644), ("ä" * 32, 0o600)])
def test_a_weak_token_is_refused(tmp_path: Path, content: str, mode: int) -> None:
    home = Home(tmp_path)
    home.create()
    home.web_token.write_text(content, "utf-8")
    home.web_token.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        read_token(home)
    assert str(home.web_token) in str(caught.value)


@pytest.mark.parametrize("listen", ["0.0.0.0:9800", "192.168.1.5:9800", "[::]:9800", "box:9800"])
def test_an_address_that_others_reach_needs_a_token_first(tmp_path: Path, listen: str) -> None:
    home = Home(tmp_path)
    home.create()
    with pytest.raises(ConfigError, match="other machines reach") as caught:
        require_safe_address(WebSettings(listen), home)
    assert str(home.web_token) in str(caught.value.hint)
    make_token(home)
    require_safe_address(WebSettings(listen), home)


@pytest.mark.parametrize("listen", ["", "127.0.0.1:9800", "localhost:9800", "[::1]:9800"])
def test_loopback_needs_none(tmp_path: Path, listen: str) -> None:
    require_safe_address(WebSettings(listen), Home(tmp_path))


@pytest.mark.parametrize(
    "listen", ["127.0.0.1", "9800", ":9800", "127.0.0.1:0", "127.0.0.1:65536", "a b:1", "http://x:1"]
)
def test_a_wrong_address_is_a_problem_of_the_configuration(listen: str) -> None:
    problems: list[Problem] = []
    read_settings({"web": {"listen": listen}}, {}, "fleet.toml", problems)
    assert len(problems) == 1
    assert str(problems[0]).startswith("web.listen:")


def test_an_address_is_split() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("127.0.0.1:9800") == ("127.0.0.1", 9800)
