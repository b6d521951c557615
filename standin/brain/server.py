"""The stand-in BRAIN over HTTP: in threads of this process for tests, and for `python3 -m standin.brain`."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from standin.brain.faults import Board, BrainFault, BrainFaultKind
from standin.brain.settings import BrainStandinSettings
from standin.brain.world import StandinSimulation, World
from standin.httpd import Exchange, Httpd

_MOST_PAGE = 50
_MULTI = range(2, 11)
_UNIVERSES = frozenset({"TOP3000", "TOP1000", "TOP500", "TOP200", "TOPSP500", "ILLIQUID_MINVOL1M"})
_NEUTRALIZATIONS = frozenset({"NONE", "MARKET", "SECTOR", "INDUSTRY", "SUBINDUSTRY"})
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_SERVER = {"Server": "model-fleet-standin"}


class StandinBrain:
    """A stand-in BRAIN. It listens from its creation on and answers once started; a stop leaves nothing behind.

    `requests` are all requests so far, as method and path.
    """

    def __init__(
        self,
        settings: BrainStandinSettings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = Board()
        self.world = World(settings or BrainStandinSettings(), self.board, clock)
        self.requests: list[tuple[str, str]] = []
        self._httpd = Httpd(host, port, self._answer)

    @property
    def url(self) -> str:
        """Return the server's address."""
        return self._httpd.url

    def start(self) -> "StandinBrain":
        """Begin to answer; return the stand-in itself."""
        self._httpd.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection."""
        self._httpd.close()

    def apply(self, *faults: BrainFault) -> None:
        """Put faults in force."""
        self.board.add(*faults)

    def _answer(self, exchange: Exchange) -> None:
        method, path = exchange.method, exchange.path
        self.requests.append((method, path))
        met = self.board.take(
            BrainFaultKind.REFUSE,
            BrainFaultKind.LOSE,
            BrainFaultKind.STALL,
            BrainFaultKind.ERROR,
            BrainFaultKind.HTML,
            BrainFaultKind.EXPIRE,
            method=method,
            path=path,
        )
        reply = _Reply(exchange)
        if met is not None and _instead(met, exchange, reply):
            return
        if met is not None and met.kind is BrainFaultKind.EXPIRE:
            self.world.end_sessions()
        with self.world.lock:
            self.world.settle()
            self._route(exchange, reply)
        if met is not None and met.kind is BrainFaultKind.LOSE:
            exchange.cut()
        if met is not None and met.kind is BrainFaultKind.STALL:
            exchange.wait(met.seconds)
        reply.send()

    def _route(self, exchange: Exchange, reply: "_Reply") -> None:
        path = exchange.path.rstrip("/")
        if path.startswith("/authentication"):
            self._authentication(exchange, reply)
        elif self.world.session_left(_token(exchange)) is None:
            reply.json({"detail": "Incorrect authentication credentials."}, 401)
        elif path == "/simulations" and exchange.method == "POST":
            self._simulate(exchange, reply)
        elif path.startswith("/simulations/"):
            self._simulation(path.rpartition("/")[2], reply)
        elif path.endswith("/submit"):
            reply.json({"detail": "a stand-in has nothing to submit to"}, 403)
        elif path.startswith("/alphas/"):
            found = self.world.shown_alpha(path.rpartition("/")[2])
            reply.json(found or {"detail": "Not found."}, 200 if found else 404)
        elif path == "/users/self/alphas":
            self._paged(exchange, reply, list(reversed(self.world.alphas.values())), most=100)
        elif path == "/operators":
            reply.json(self.world.operators)
        elif path == "/data-fields":
            self._paged(exchange, reply, self.world.fields, most=_MOST_PAGE)
        else:
            reply.json({"detail": "Not found."}, 404)

    # --- signing in

    def _authentication(self, exchange: Exchange, reply: "_Reply") -> None:
        world, inquiry = self.world, f"inquiry={self.world.inquiry}"
        is_inquiry = exchange.path.endswith("/persona") and exchange.query == inquiry
        if exchange.method == "GET" and is_inquiry:  # a browser opens the address
            world.opened = True
            reply.json({"detail": "stand-in: signed in"})
        elif exchange.method == "GET":
            left = world.session_left(_token(exchange))
            if left is None:
                reply.nothing(204)
            else:
                reply.json(self._session(left))
        elif exchange.method != "POST" or (exchange.path.endswith("/persona") and not is_inquiry):
            reply.json({"detail": "Not found."}, 404)
        elif world.wrong >= world.settings.most_wrong:
            reply.json({"detail": "Too many attempts: reCAPTCHA required"}, 429)
        elif not self._is_account(exchange):
            world.wrong += 1
            reply.json({"detail": "INVALID_CREDENTIALS"}, 401)
        elif not world.opened:
            where = f"/authentication/persona?{inquiry}"
            reply.json({"inquiry": world.inquiry}, 401, {"WWW-Authenticate": "persona", "Location": where})
        else:
            token = world.open_session()
            cookie = f"t={token}; Path=/; HttpOnly; SameSite=None"
            reply.json(self._session(world.settings.session), 201, {"Set-Cookie": cookie})

    def _session(self, left: float) -> dict[str, Any]:
        permissions = ["TUTORIAL", *(["MULTI_SIMULATION"] if self.world.settings.several else [])]
        return {"user": {"id": "STANDIN"}, "token": {"expiry": left}, "permissions": permissions}

    def _is_account(self, exchange: Exchange) -> bool:
        scheme, _, encoded = exchange.headers.get("authorization", "").partition(" ")
        settings = self.world.settings
        try:
            pair = base64.b64decode(encoded).decode()
        except ValueError:
            return False
        return scheme == "Basic" and pair == f"{settings.email}:{settings.password}"

    # --- simulations

    def _simulate(self, exchange: Exchange, reply: "_Reply") -> None:
        world = self.world
        try:
            document = json.loads(exchange.body)
        except ValueError:
            reply.json({"detail": "JSON parse error"}, 400)
            return
        rows = document if isinstance(document, list) else [document]
        wrong = [_problems(row) for row in rows]
        if isinstance(document, list) and not world.settings.several:
            reply.json({"detail": "You do not have permission to perform this action."}, 403)
        elif isinstance(document, list) and len(document) not in _MULTI:
            reply.json({"detail": "From 2 to 10 simulations are allowed."}, 400)
        elif any(wrong):
            reply.json(wrong if isinstance(document, list) else wrong[0], 400)
        elif world.running() >= world.settings.slots:
            reply.json({"detail": "CONCURRENT_SIMULATION_LIMIT_EXCEEDED"}, world.settings.limit_status)
        elif (left := world.quota_left()) is not None and left < len(rows):
            reply.json({"detail": "SIMULATION_LIMIT_EXCEEDED"}, 429, self._quota())
        else:
            one = world.take(rows)
            where = {"Location": f"{self.url}/simulations/{one.id}", **self._quota()}
            reply.nothing(201, {**where, "Retry-After": f"{world.settings.retry_after:g}"})

    def _quota(self) -> dict[str, str]:
        left = self.world.quota_left()
        if left is None:
            return {}
        return {
            "X-Ratelimit-Limit": str(self.world.settings.quota),
            "X-Ratelimit-Remaining": str(left),
            "X-Ratelimit-Reset": f"{self.world.quota_reset():.0f}",
        }

    def _simulation(self, name: str, reply: "_Reply") -> None:
        one = self.world.simulations.get(name)
        if one is None:
            reply.json({"detail": "Not found."}, 404)
            return
        left = one.left(self.world.clock())
        if left > 0:
            done = {"progress": round(1 - left / one.length, 2)}
            reply.json(done, 200, {"Retry-After": f"{self.world.settings.retry_after:g}"})
        else:
            reply.json(self.world.row(one))

    def _paged(self, exchange: Exchange, reply: "_Reply", rows: list[Any], *, most: int) -> None:
        query = {name: values[-1] for name, values in parse_qs(exchange.query).items()}
        limit, offset = int(query.get("limit", most)), int(query.get("offset", 0))
        if not 0 < limit <= most:
            reply.json({"limit": [f"Ensure this value is less than or equal to {most}."]}, 400)
            return
        reply.json({"count": len(rows), "results": rows[offset : offset + limit]})

    def simulation_of(self, code: str) -> StandinSimulation | None:
        """Return the last simulation of an expression."""
        found = [one for one in self.world.simulations.values() if one.code == code]
        return found[-1] if found else None


class _Reply:
    """An answer that is made before the decision whether it is sent."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._status, self._body = 404, b""
        self._headers: dict[str, str] = {}

    def json(self, row: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._status, self._body, self._headers = status, json.dumps(row).encode(), headers or {}

    def nothing(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._status, self._body, self._headers = status, b"", headers or {}

    def send(self) -> None:
        self._exchange.send(self._status, "application/json", self._body, {**_SERVER, **self._headers})


def _instead(fault: BrainFault, exchange: Exchange, reply: _Reply) -> bool:
    """Answer with the fault and return True; return False if the request is still to be answered."""
    if fault.kind is BrainFaultKind.REFUSE:
        exchange.cut()
    if fault.kind is BrainFaultKind.ERROR:
        wait = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        reply.json({"detail": fault.text}, fault.status, wait)
        reply.send()
        return True
    if fault.kind is BrainFaultKind.HTML:
        exchange.send(fault.status, "text/html", _PAGE, _SERVER)
        return True
    return False


def _token(exchange: Exchange) -> str:
    cookies = exchange.headers.get("cookie", "").split(";")
    pairs = (cookie.strip().partition("=") for cookie in cookies)
    return next((value for name, _, value in pairs if name == "t"), "")


def _problems(row: Any) -> dict[str, Any]:
    """Return the faults of a simulation's request by field, in BRAIN's words."""
    if not isinstance(row, dict) or not isinstance(row.get("settings"), dict):
        return {"settings": ["This field is required."]}
    settings, wrong = row["settings"], {}
    for name, allowed in (("universe", _UNIVERSES), ("neutralization", _NEUTRALIZATIONS)):
        if settings.get(name) not in allowed:
            wrong[name] = [f'"{settings.get(name)}" is not a valid choice.']
    if wrong:
        return {"settings": wrong}
    return {} if str(row.get("regular") or "").strip() else {"regular": ["This field may not be blank."]}


@contextmanager
def standin_brain(settings: BrainStandinSettings | None = None) -> Iterator[StandinBrain]:
    """Run a stand-in BRAIN for the length of a `with` block."""
    server = StandinBrain(settings).start()
    try:
        yield server
    finally:
        server.stop()
