"""Access to the page: rules by Host, Origin and token (pure), and the ASGI layer that applies them.

A page of another site must neither read nor act: a browser names that site in `Origin`. A name that resolves to this
machine (DNS rebinding) shows in `Host`. Both are checked for HTTP and for websockets alike.
"""

import base64
import binascii
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from fleet.config.network import is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
    b"base-uri 'self'; form-action 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request: HTTP status and reason."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The listening address, this machine's name, and the token."""

    host: str
    port: int
    machine: str
    token: str

    @property
    def loopback(self) -> bool:
        """Return True if only this machine reaches the page."""
        return is_loopback(self.host)

    def refusal(self, headers: Mapping[str, list[str]]) -> Refusal | None:
        """Return why a request with these headers (lower-case names) is refused, None if it is answered."""
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not self.knows(host_name(hosts[0])):
            name = hosts[0][:80] if hosts else "no name"
            return Refusal(403, f"This page is not served as {name!r}; open it by its address.")
        if any(origin.lower().partition("://")[2] != hosts[0].lower() for origin in origins):
            return Refusal(403, "A page of another origin must not use this one.")
        if not self.loopback and not self.holds_token(headers):
            return Refusal(401, "This page needs its token: any user name, and the token as the password.")
        return None

    def knows(self, name: str) -> bool:
        """Return True if the page is served under this name of a `Host` header.

        A name that an attacker's DNS may resolve to this machine is unknown. An IP address is known; a page on loopback
        knows only loopback's addresses.
        """
        if name in {"localhost", self.host.lower()} or (name == self.machine.lower() and not self.loopback):
            return bool(name)
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.loopback

    def holds_token(self, headers: Mapping[str, list[str]]) -> bool:
        """Return True if the request bears the token, as a bearer or as a password."""
        return any(self.is_token(_credential(one)) for one in headers.get("authorization", []))

    def is_token(self, text: str) -> bool:
        """Return True if this is the token; the time does not depend on the text."""
        return bool(self.token) and hmac.compare_digest(text.encode(), self.token.encode())


def access_rules(host: str, port: int, token: str) -> AccessRules:
    """Return the rules of this machine."""
    return AccessRules(host, port, socket.gethostname(), token)


def host_name(header: str) -> str:
    """Return the name or address of a `Host` header without port and brackets, in lower case."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _credential(header: str) -> str:
    kind, _, value = header.strip().partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def headers_of(scope: Scope) -> dict[str, list[str]]:
    """Return the headers of an ASGI scope by lower-case name."""
    found: dict[str, list[str]] = {}
    for name, value in scope.get("headers", []):
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


class Guard:
    """The outermost ASGI layer: refuses requests by the rules, and adds the headers that shut out other pages."""

    def __init__(self, app: AsgiApp, rules: AccessRules) -> None:
        self.app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, websocket or lifespan."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        refused = self._rules.refusal(headers_of(scope))
        if refused is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refused.reason})
        else:
            await _refuse(send, refused)


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return sending


async def _refuse(send: Send, refused: Refusal) -> None:
    body = (refused.reason + "\n").encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if refused.status == 401:  # noqa: PLR2004  # HTTP's own number
        headers.append((b"www-authenticate", b'Basic realm="Model Fleet", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": refused.status, "headers": [*headers, *_HEADERS]})
    await send({"type": "http.response.body", "body": body})
